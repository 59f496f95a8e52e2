"""Nothing disturbs an answer while it is read, and it disturbs nothing: leases, collection, builds, threads, memory."""

from __future__ import annotations

import resource
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.querying.reading.connection_pool import allow_open_files
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.query_warehouse import DAY, PLAIN, QueryWarehouse, query_warehouse_in, row

FORMATS = ("parquet", "duckdb")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path)
    yield made
    made.close()


def pins(warehouse: QueryWarehouse) -> int:
    with closing(sqlite3.connect(warehouse.folder / "catalog.sqlite")) as con:
        return int(con.execute("SELECT count(*) FROM leases WHERE resource LIKE 'query:%'").fetchone()[0])


def test_a_version_is_pinned_while_an_answer_is_open_and_by_one_pin_for_all(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0, value=1.0)])
    answer = warehouse.ask()
    warehouse.querier.let_go()
    assert pins(warehouse) == 1, "it is being read"
    answer.close()
    answer.close()
    assert pins(warehouse) == 0
    warehouse.ask().table()
    with pytest.raises(InputError):
        warehouse.ask(columns=("nope",))
    with pytest.raises(InputError):
        warehouse.rows(where="value > 'warm'")
    assert pins(warehouse) == 1, "kept for the next question"
    warehouse.querier.let_go()
    assert pins(warehouse) == 0, "nobody reads it"


def test_an_answer_as_of_a_version_pins_it_exactly_while_it_is_open(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0, value=1.0)])
    with warehouse.ask(as_of=warehouse.record.manifest_version):
        assert pins(warehouse) == 1
    assert pins(warehouse) == 0


@pytest.mark.parametrize("format", FORMATS)
def test_builds_and_collection_do_not_disturb_an_answer_that_is_being_read(tmp_path: Path, format: str) -> None:
    warehouse = query_warehouse_in(tmp_path, format=format)
    for part in range(4):
        warehouse.land([row("a", minute, value=1.0) for minute in range(part, 1000, 4)])
    warehouse.build(1)
    warehouse.land([row("a", 0, value=2.0, rev=2)])
    with warehouse.ask(columns=("ts", "value")) as answer:
        warehouse.build(1)
        collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        assert answer.table().num_rows == 1000
    warehouse.querier.let_go()
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    live = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    assert {found.name for found in warehouse.store.list(warehouse.dataset.name)} == live
    assert len(warehouse.rows()) == 1000
    warehouse.close()


def test_an_answer_that_is_left_half_way_frees_its_connection(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", minute / 100) for minute in range(40_000)])
    for _ in range(3):
        with warehouse.ask() as answer:
            next(answer.batches())
    warehouse.querier.let_go()
    assert pins(warehouse) == 0
    assert len(warehouse.rows(limit=1)) == 1


def test_many_threads_ask_while_another_lands_and_builds(warehouse: QueryWarehouse) -> None:
    """Each answer is one whole version: landings here always come as pairs of rows."""
    warehouse.land([row("a", 0, value=1.0), row("b", 0, value=1.0)])
    stop = threading.Event()

    def write() -> None:
        for minute in range(1, 9):
            warehouse.land([row("a", minute, value=1.0), row("b", minute, value=1.0)])
            if minute % 4 == 0:
                warehouse.build(1, close=False)
        stop.set()

    def read() -> int:
        answers = 0
        while not stop.is_set() or answers == 0:
            (found,) = warehouse.rows(aggregates=parse_aggregates("count"))
            assert found["count"] % 2 == 0
            answers += 1
        return answers

    with ThreadPoolExecutor(5) as pool:
        writer = pool.submit(write)
        readers = [pool.submit(read) for _ in range(4)]
        writer.result(timeout=120)
        assert all(reader.result(timeout=120) for reader in readers)
    assert warehouse.rows(aggregates=parse_aggregates("count")) == [{"count": 18}]


def test_an_answer_that_does_not_fit_with_all_threads_is_computed_with_one(tmp_path: Path) -> None:
    warehouse = query_warehouse_in(tmp_path, PLAIN, memory_bytes=100_000_000)
    warehouse.land_query(
        "SELECT 'a' AS device, TIMESTAMP '2024-01-01' + to_milliseconds((i * 7919) % 86400000) AS ts, i * 1.0::DOUBLE AS value,"
        " i AS n, NULL::DECIMAL(12, 2) AS amount, true AS flag, NULL::DATE AS date, repeat(md5(i::VARCHAR), 6) AS note,"
        " 1::BIGINT AS rev FROM range(250000) t(i)",
    )
    for _ in range(2):  # the connection has its threads back afterwards
        with warehouse.ask() as answer:
            assert sum(batch.num_rows for batch in answer.batches()) == 250_000
    warehouse.close()


def test_memory_is_bounded_while_a_large_answer_streams(tmp_path: Path) -> None:
    """250 MB of rows come, sorted, through a connection that may use 200 MB."""
    warehouse = query_warehouse_in(tmp_path, PLAIN, memory_bytes=200_000_000)
    for day in range(1, 5):
        start = f"TIMESTAMP '2024-01-0{day}'"
        warehouse.land_query(
            f"SELECT 'a' AS device, {start} + to_milliseconds((i * 7919) % 86400000) AS ts, i * 1.0::DOUBLE AS value, i AS n,"
            " NULL::DECIMAL(12, 2) AS amount, true AS flag,"
            " NULL::DATE AS date, repeat(md5(i::VARCHAR), 6) AS note, 1::BIGINT AS rev"
            " FROM range(250000) t(i)",
        )
    most, rows, last = 0, 0, DAY
    with warehouse.ask() as answer:
        for batch in answer.batches():
            rows += batch.num_rows
            most = max(most, pa.total_allocated_bytes())
            assert last <= batch.column(1)[0].as_py() <= batch.column(1)[-1].as_py()
            last = batch.column(1)[-1].as_py()
    assert rows == 1_000_000
    assert most < 50_000_000
    warehouse.close()


def test_a_claim_is_renewed_while_it_is_kept_and_says_when_it_was_lost(warehouse: QueryWarehouse) -> None:
    warehouse.land([row("a", 0)])
    record = warehouse.record
    kept = SnapshotPin(warehouse.catalog, record.id, version=None, holder="test", ttl=timedelta(seconds=0.8))
    lost = SnapshotPin(warehouse.catalog, record.id, version=None, holder="test", ttl=timedelta(seconds=0.8))
    waiting = threading.Event()
    for _ in range(5):
        waiting.wait(0.25)  # the lease runs on the catalog's clock
        kept.renew_if_due()
    with pytest.raises(UnavailableError, match="paused for so long"):
        lost.renew_if_due()
    kept.release()
    lost.release()


def test_more_open_files_are_allowed_when_they_are_needed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 600), hard))
    try:
        allow_open_files(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(soft, 600)
        allow_open_files(700)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == (min(956, hard) if hard != resource.RLIM_INFINITY else 956)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_and_their_files_are_used_again(tmp_path: Path) -> None:
    warehouse = query_warehouse_in(tmp_path, format="duckdb")
    for day in (1, 2):
        warehouse.land([row("a", minute, value=1.0, day=day) for minute in range(3)])
    warehouse.build(1, 2)
    assert len(warehouse.rows()) == 6
    pooled = warehouse.querier._pool.take()
    attached = pooled.con.execute(
        "SELECT count(*) FROM duckdb_databases() WHERE NOT internal AND database_name LIKE 'segment%'"
    ).fetchall()
    assert (attached, len(pooled.files)) == ([(2,)], 2)
    warehouse.querier._pool.give(pooled)
    assert len(warehouse.rows(start=DAY + timedelta(days=1))) == 3
    assert warehouse.querier._pool.take() is pooled
    warehouse.close()

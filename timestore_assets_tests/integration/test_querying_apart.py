"""SQL in a process of its own answers as SQL in this one does, within bounds that hold for single values too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from timestore_assets.model.errors import InputError, TimeLimitError, UnavailableError
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.querying.sql.sql_worker import Workers
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets_tests.support.query_warehouse import QueryWarehouse, query_warehouse_in, row

PATIENCE = 60.0
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = -1"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryWarehouse]:
    """A built day as `.duckdb`, and a day with newer rows for its keys, so that rows have to be deduplicated."""
    made = query_warehouse_in(tmp_path_factory.mktemp("apart"), format="duckdb", memory_bytes=200_000_000)
    made.land([row("a", minute, value=minute / 3, note="x") for minute in range(50)])
    made.build(1)
    made.land([row("a", minute, day=2, n=minute) for minute in range(50)])
    made.land([row("a", minute, day=2, n=-minute, rev=2) for minute in range(0, 50, 5)])
    yield made
    made.close()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM meter ORDER BY ts",
        "SELECT device, sum(n) AS n, max(value) AS v FROM meter GROUP BY device",
        "SELECT n, n AS n, NULL AS nothing, INTERVAL 2 DAY AS i, ts FROM meter ORDER BY ts, n LIMIT 3",
        "SELECT i FROM range(100000) t(i)",
        "SELECT 1 AS a WHERE false",
    ],
)
def test_both_give_the_same(warehouse: QueryWarehouse, workers: Workers, sql: str) -> None:
    datasets = {"meter": (warehouse.dataset, warehouse.record)}
    with run_sql(warehouse.querier, sql, datasets) as here, run_sql(warehouse.querier, sql, datasets, room=workers.room) as apart:
        assert apart.schema == here.schema and apart.manifest_versions == here.manifest_versions
        assert (apart.scanned, apart.pruned) == (here.scanned, here.pruned)
        assert apart.table().equals(here.table())


def test_errors_come_over_in_the_same_words(warehouse: QueryWarehouse, workers: Workers) -> None:
    datasets = {"meter": (warehouse.dataset, warehouse.record)}
    for sql in ("SELECT nope FROM meter", "SELECT note::INTEGER FROM meter", "SELECT note + 1 FROM meter"):
        with pytest.raises(InputError) as here, run_sql(warehouse.querier, sql, datasets) as answer:
            answer.table()
        with pytest.raises(InputError) as apart, run_sql(warehouse.querier, sql, datasets, room=workers.room) as answer:
            answer.table()
        assert str(apart.value) == str(here.value)


def test_a_value_can_not_outgrow_the_memory(warehouse: QueryWarehouse, workers: Workers) -> None:
    doubled = ", ".join(f"t{i} AS (SELECT s || s AS s FROM t{i - 1})" for i in range(1, 40))
    sql = f"WITH t0 AS (SELECT 'xxxxxxxxxxxxxxxx' AS s), {doubled} SELECT length(s) AS n FROM t39"
    with pytest.raises(UnavailableError, match="the memory limit is too small"):
        run_sql(warehouse.querier, sql, {}, room=workers.room)


def test_it_is_stopped_by_the_clock_and_by_hand(warehouse: QueryWarehouse, workers: Workers) -> None:
    with pytest.raises(TimeLimitError, match="the time limit was reached"):
        run_sql(warehouse.querier, ENDLESS, {}, timeout=0.5, room=workers.room).table()

    def stop(stopper: Cancellable) -> None:
        threading.Timer(0.5, stopper.interrupt).start()

    with pytest.raises(TimeLimitError):
        run_sql(warehouse.querier, ENDLESS, {}, began=stop, room=workers.room).table()


def test_an_answer_that_nobody_reads_to_its_end_leaves_no_process(warehouse: QueryWarehouse, own: Workers) -> None:
    answer = run_sql(warehouse.querier, "SELECT i FROM range(100000000) t(i)", {}, room=own.room)
    assert next(answer.batches()).num_rows
    assert len(living(own)) == 1
    answer.close()
    eventually(lambda: not living(own))


def test_no_process_gets_the_settings_and_one_that_died_is_started_again(
    warehouse: QueryWarehouse, own: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESTORE_DATABASE_URL", "postgresql://user:correct-horse@nowhere/x")
    with run_sql(warehouse.querier, "SELECT 1 AS a", {}, room=own.room) as answer:
        assert answer.table().num_rows == 1
    first = nursery(own)
    assert b"correct-horse" not in Path(f"/proc/{first}/environ").read_bytes()
    os.kill(first, signal.SIGKILL)
    with run_sql(warehouse.querier, "SELECT 2 AS a", {}, room=own.room) as answer:
        assert answer.table().to_pylist() == [{"a": 2}]
    assert nursery(own) != first


def test_work_ends_with_the_process_it_was_forked_from(warehouse: QueryWarehouse, own: Workers) -> None:
    answer = run_sql(warehouse.querier, "SELECT i FROM range(100000000) t(i)", {}, room=own.room)
    (worker,) = living(own)
    os.kill(nursery(own), signal.SIGKILL)
    eventually(lambda: not is_alive(worker))
    with pytest.raises(UnavailableError):
        answer.table()
    answer.close()


@pytest.fixture
def own() -> Iterator[Workers]:
    """Workers that no other test uses."""
    made = Workers()
    yield made
    made.close()


def nursery(workers: Workers) -> int:
    assert workers._nursery is not None
    return workers._nursery._process.pid


def living(workers: Workers) -> list[int]:
    """Processes that compute; those that ended wait for the next one to be forgotten."""
    pid = nursery(workers)
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if is_alive(int(one))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)

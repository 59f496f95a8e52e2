"""Questions about a dataset in an S3 server have the answers that local files give, whatever is fetched, cached or moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.errors import MissingObjectError
from timestore_assets.model.question import parse_every
from timestore_assets.model.segment import ObjectName
from timestore_assets.querying.planning import query_plan
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.rendering.frames import duckdb_views, relation
from timestore_assets.querying.rendering.polars_frames import polars_frame
from timestore_assets.querying.rendering.view_file import write_views
from timestore_assets.querying.sql.rooms import Rooms
from timestore_assets.querying.sql.runner import InProcess
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.querying.sql.sql_worker import Workers
from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.remote.remote_store import RemoteStore
from timestore_assets.storage.targets import Storage, open_storage
from timestore_assets_tests.support.bucket_settings import remote_settings
from timestore_assets_tests.support.delta_commits import TTL
from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import S3Server
from timestore_assets_tests.support.query_warehouse import DAY, QueryWarehouse, query_warehouse_in, row

pytestmark = REAL_S3

NUMBERS = count()
TARGETS = '{"archive": {"driver": "s3", "bucket": "%s", "endpoint": "%s", "region": "%s", "root": "archive"}}'
LARGE = """
    SELECT 'd' || (i % 3) AS device, TIMESTAMP '2024-01-04' + INTERVAL 1 SECOND * i AS ts, (hash(i) % 1000003) / 7.0 AS value,
        i % 7 AS n, ((hash(i + 1) % 100000) / 100.0)::DECIMAL(12, 2) AS amount, i % 2 = 0 AS flag, DATE '2024-01-04' AS date,
        md5(i::VARCHAR) AS note, 1 AS rev
    FROM range(40000) numbers(i)"""


@dataclass(kw_only=True)
class Pair:
    """The same rows in a bucket and in a folder: day 1 a `.duckdb` file, 2 and 4 (large) Parquet, 3 unbuilt with duplicates."""

    remote: QueryWarehouse
    local: QueryWarehouse
    storage: Storage

    @property
    def cache(self) -> ReadCache:
        store = self.storage.target("default")
        assert isinstance(store, RemoteStore)
        return store._cache

    def both(self, ask: Callable[[QueryWarehouse], Any]) -> tuple[Any, Any]:
        return ask(self.remote), ask(self.local)

    def forget(self) -> None:
        """Nothing is on this machine any more, and nothing is attached; plans are remembered."""
        before = self.remote.querier
        before.close()
        self.cache.shelf.clear()
        self.remote.querier = Querier(before.catalog, before.storage, before.limits, holder="test")
        self.remote.querier._planner = before._planner

    def fetched(self) -> int:
        return self.cache.counts.objects_fetched


def filled(warehouse: QueryWarehouse) -> None:
    for day in (1, 2, 3):
        warehouse.land(
            [row(device, minute, value=minute / 3, n=day, note="x", day=day) for minute in range(50) for device in "ab"]
        )
    warehouse.land_query(f"SELECT * FROM ({LARGE}) ORDER BY ts")
    warehouse.build(1)
    warehouse.dataset = replace(warehouse.dataset, segments=replace(warehouse.dataset.segments, format="parquet"))
    warehouse.build(2, 4)
    warehouse.land([row("a", 0, value=100.0, n=3, rev=2, day=3)])


@pytest.fixture(scope="module")
def pair(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("remote")
    bucket = s3_server.with_bucket("querying")
    with pytest.MonkeyPatch.context() as environment:
        settings = remote_settings(
            bucket,
            folder,
            environment,
            storage_root="main",
            query_range_bytes=10_000,
            storage_targets=TARGETS % (bucket.bucket, bucket.endpoint, bucket.region),
        )
        storage = open_storage(settings)
        made = Pair(
            remote=query_warehouse_in(folder / "remote", format="duckdb", storage=storage),
            local=query_warehouse_in(folder / "local", format="duckdb"),
            storage=storage,
        )
        filled(made.remote)
        filled(made.local)
        yield made
        made.remote.close()
        made.local.close()


QUESTIONS: list[dict[str, Any]] = [
    {"columns": ("device", "ts", "n")},
    {"columns": ("flag", "date"), "where": "device = 'd1'"},
    {"start": DAY + timedelta(days=2), "end": DAY + timedelta(days=3)},
    {"every": parse_every("1h"), "aggregates": parse_aggregates("count,max:n")},
    {"columns": ("rev",), "where": "n = 3 AND device IN ('a', 'd2')", "limit": 500},
    {"columns": ("note",), "start": DAY + timedelta(days=3, hours=1), "end": DAY + timedelta(days=3, hours=2)},
]


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_questions_have_the_same_answers_cold_and_warm(pair: Pair, number: int) -> None:
    question = QUESTIONS[number]
    pair.forget()
    cold, expected = pair.both(lambda warehouse: warehouse.rows(**question))
    assert cold == expected
    assert len(cold) > 0
    before = pair.fetched()
    assert pair.remote.rows(**question) == expected
    assert pair.fetched() == before


STATEMENTS = [
    "SELECT count(*) AS c FROM meter",
    "SELECT count(*) AS c, max(n) AS n FROM meter WHERE ts >= '2024-01-04'",
    "SELECT m.device, count(DISTINCT flag) AS flags FROM meter AS m GROUP BY ALL ORDER BY device",
    "SELECT a.n, count(*) AS c FROM meter a JOIN meter b USING (device, ts) GROUP BY a.n ORDER BY a.n",
    "WITH x AS (SELECT date_trunc('hour', ts) AS h, n FROM meter) SELECT h, sum(n) AS s FROM x GROUP BY h ORDER BY h",
    "SELECT max(r.n) AS n FROM (SELECT meter AS r FROM meter)",
    "SELECT k FROM (SELECT b AS k FROM meter AS q(a, t, v, b)) ORDER BY k LIMIT 3",
    "SELECT device FROM meter UNION SELECT note[1:1] FROM meter ORDER BY device",
    "SELECT DISTINCT ON (device) device, flag FROM meter ORDER BY device, ts DESC",
    "SELECT * EXCLUDE (value, amount, note) FROM meter ORDER BY ts, device LIMIT 5",
    "SELECT 1 AS one FROM meter WHERE EXISTS (FROM meter z WHERE z.n = 7) LIMIT 1",
]


@pytest.mark.parametrize("number", range(len(STATEMENTS)))
def test_sql_reads_only_what_it_needs_and_answers_alike(pair: Pair, number: int) -> None:
    def asked(warehouse: QueryWarehouse) -> list[dict[str, Any]]:
        datasets = {"meter": (warehouse.dataset, warehouse.record)}
        with run_sql(warehouse.querier, STATEMENTS[number], datasets) as answer:
            found: list[dict[str, Any]] = answer.table().to_pylist()
            return found

    pair.forget()
    found, expected = pair.both(asked)
    assert found == expected


def test_sql_of_few_columns_fetches_few_bytes(pair: Pair) -> None:
    datasets = {"meter": (pair.remote.dataset, pair.remote.record)}
    spent = []
    for asked in ("max(n) AS n", "max(COLUMNS(*))"):
        pair.forget()
        before = pair.cache.counts.fetched_bytes
        with run_sql(pair.remote.querier, f"SELECT {asked} FROM meter WHERE ts >= '2024-01-04'", datasets) as answer:
            answer.table()
        spent.append(pair.cache.counts.fetched_bytes - before)
    assert 0 < spent[0] < spent[1] / 3


def test_a_process_apart_reads_the_fetched_files(pair: Pair) -> None:
    pair.forget()
    datasets = {"meter": (pair.remote.dataset, pair.remote.record)}
    workers = Workers()
    try:
        with run_sql(pair.remote.querier, "SELECT count(*) AS c FROM meter", datasets, room=workers.room) as answer:
            assert answer.table().to_pylist() == [{"c": 40_300}]
    finally:
        workers.close()


def test_statements_of_other_columns_read_what_is_fetched_for_them_in_rooms_that_are_kept(pair: Pair) -> None:
    """A file is there in part: the next statement finds no hole where it reads what was not fetched for the one before."""
    pair.forget()
    with Rooms(pair.remote.limits) as rooms:

        def asked(warehouse: QueryWarehouse, text: str) -> list[dict[str, Any]]:
            datasets = {"meter": (warehouse.dataset, warehouse.record)}
            with run_sql(warehouse.querier, text, datasets, room=partial(InProcess, rooms=rooms)) as answer:
                found: list[dict[str, Any]] = answer.table().to_pylist()
                return found

        for what in ("max(n) AS a", "min(note) AS a, max(note) AS b", "sum(amount) AS a", "max(n) AS a, min(note) AS b"):
            text = f"SELECT {what} FROM meter WHERE ts >= '2024-01-04'"
            remote, local = pair.both(partial(asked, text=text))
            assert remote == local
            pair.cache.shelf.clear()


def test_frames_views_and_relations(pair: Pair) -> None:
    remote = pair.remote
    pair.forget()
    frame = polars_frame(remote.querier, remote.dataset, remote.record, columns=["ts", "n"])
    with duckdb.connect() as con:
        with relation(con, remote.querier, remote.dataset, remote.record) as rows:
            assert rows.aggregate("sum(n) AS s").fetchall() == [(frame.collect()["n"].sum(),)]
        with duckdb_views(con, remote.querier, {"meter": (remote.dataset, remote.record)}):
            assert con.execute("SELECT count(*) FROM meter").fetchone() == (40_300,)


def test_rows_that_stream_are_fetched_ahead_of_what_is_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_plan, "_FIRST_STEP_ROWS", 100)
    monkeypatch.setattr(query_plan, "_LARGEST_STEP_ROWS", 100)
    pair.forget()
    expected = pair.local.rows(columns=("ts", "device"))
    with pair.remote.ask(columns=("ts", "device")) as answer:
        assert answer.table().to_pylist() == expected
    pair.forget()
    with pair.remote.ask(columns=("ts", "device")) as answer:
        next(answer.batches())
    with pair.remote.ask(columns=("ts", "device")) as answer:
        assert answer.table().num_rows == len(expected)


def moved(pair: Pair, target: str) -> None:
    """Every object of the dataset is elsewhere from now on, as a move and a later collection leave it."""
    warehouse, new = pair.remote, pair.storage.target(target)
    files = warehouse.catalog.moving.elsewhere(warehouse.record.id, target, limit=100)
    session = warehouse.catalog.sessions.begin(warehouse.record.id, "land", holder="test", ttl=TTL)
    copies = {file: f"copy-{next(NUMBERS)}/{file.name.rpartition('/')[2]}" for file in files}
    warehouse.catalog.sessions.announce(session, list(copies.values()), storage=target)
    with pair.storage.reading(files) as paths:
        for file, path in zip(files, paths, strict=True):
            staged = new.staging("move") / "file"
            staged.write_bytes(path.read_bytes())
            new.promote([Upload(staged=staged, name=copies[file])])
    switched = warehouse.catalog.moving.switch(session, copies, dataset_id=warehouse.record.id, target=target, actor="test")
    warehouse.catalog.sessions.end(session)
    assert switched == files
    pair.storage.delete(ObjectName(file.storage, file.name) for file in files)


def test_what_was_moved_since_it_was_planned_is_planned_again(pair: Pair) -> None:
    remote, question = pair.remote, {"columns": ("ts", "n")}
    datasets = {"meter": (remote.dataset, remote.record)}
    statement = "SELECT sum(n) AS s FROM meter"
    expected = pair.local.rows(**question)

    def summed() -> Any:
        with run_sql(remote.querier, statement, datasets) as answer:
            return answer.table().to_pylist()[0]["s"]

    def by_relation() -> Any:
        with duckdb.connect() as con, relation(con, remote.querier, remote.dataset, remote.record) as rows:
            return rows.aggregate("sum(n) AS s").fetchall()

    total = summed()
    assert by_relation() == [(total,)]
    assert remote.rows(**question) == expected
    moved(pair, "archive")
    pair.forget()
    assert remote.rows(**question) == expected
    for ask, answer in ((summed, total), (by_relation, [(total,)])):
        moved(pair, "default")
        pair.forget()
        assert ask() == answer
        moved(pair, "archive")
        pair.forget()
        assert ask() == answer
    moved(pair, "default")
    assert remote.rows(**question) == expected


def test_an_object_that_is_nowhere_is_named(pair: Pair, tmp_path: Path) -> None:
    warehouse = query_warehouse_in(tmp_path, storage=pair.storage)
    warehouse.dataset = replace(warehouse.dataset, name="lost")
    warehouse.land([row("a", 0)])
    [segment] = warehouse.catalog.manifest.segments(warehouse.record.id)
    pair.storage.target("default").delete([segment.name])
    with pytest.raises(MissingObjectError, match="timestore verify"):
        warehouse.rows()
    warehouse.close()


def test_a_view_file_leaves_out_what_is_elsewhere_and_says_so(pair: Pair, tmp_path: Path) -> None:
    datasets = {"meter": (pair.remote.dataset, pair.remote.record)}
    (written,) = write_views(tmp_path / "all.duckdb", pair.remote.querier, datasets)
    assert re.search(r"its segments are not on this machine, but in the target .*`timestore sql` reads them", written.left_out)
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as con:
        assert con.sql("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchall() == [(0,)]

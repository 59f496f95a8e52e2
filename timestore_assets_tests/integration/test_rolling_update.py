"""One process has the file of before, another that of after: both go on, and nothing of the new columns is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.catalog.commits import Commits
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import QueueLimits
from timestore_assets.landing.requests.submission import Landed, Submission
from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.dataset import Dataset, FileSource, HttpSource
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import parse_type
from timestore_assets.segments.publishing import utc_now
from timestore_assets.settings import Settings
from timestore_assets.sources.http.body_formats import BodyContext, read_body
from timestore_assets.sources.http.request_body import BodyLimits
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.catalog_dataset import WEATHER, CatalogDataset
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset
from timestore_assets_tests.support.tailing_warehouse import tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import value

NEW = columns(seen="timestamp?", code="int64?", price="decimal(9,2)?")
SOURCES = (FileSource(prefix="inbox"), HttpSource())
OLD_FILE = dataset(sources=SOURCES)
NEW_FILE = dataset(*NEW, sources=SOURCES)
WANTED = ("station", "seen", "code", "price")
SENT = {"seen": "2013-02-03T04:05:06Z", "code": 7, "price": "12.50"}
GOT = (datetime(2013, 2, 3, 4, 5, 6, tzinfo=UTC), 7, 12.5)


def record(station: str, **more: Any) -> dict[str, Any]:
    return {"ts": "2013-03-01T00:00:00Z", "station": station, "temp": 1.5, **more}


@pytest.fixture
def warehouses(tmp_path: Path, catalog_url: str) -> Iterator[tuple[Warehouse, Warehouse]]:
    """Of a process with the old file, and of one with the new file, over the same catalog and store."""
    with open_warehouse(tmp_path, {OLD_FILE.name: OLD_FILE}, catalog_url=catalog_url) as old:
        old.land(OLD_FILE.name, [written(tmp_path, "first", record("first"))])
        with open_warehouse(tmp_path, {NEW_FILE.name: NEW_FILE}, catalog_url=catalog_url) as new:
            yield old, new


def written(folder: Path, name: str, *records: dict[str, Any]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def asked(warehouse: Warehouse) -> dict[str, tuple[Any, ...]]:
    question = Question(dataset=OLD_FILE.name, columns=WANTED)
    with warehouse.ask(question) as answer:
        rows = [tuple(row.values()) for row in answer.table().to_pylist()]
    return {row[0]: (row[1], row[2], None if row[3] is None else float(row[3])) for row in rows}


def test_old_and_new_processes_land_build_and_ask_in_turns(warehouses: tuple[Warehouse, Warehouse], tmp_path: Path) -> None:
    old, new = warehouses
    for number, warehouse in enumerate((old, new, old, new)):
        name = f"s{number}"
        report = warehouse.land(OLD_FILE.name, [written(tmp_path, name, record(name, **SENT), record(f"{name}-without"))])
        assert (report.counters.landed, report.schema_changes) == (2, ())
        partition = OLD_FILE.partition("2013-03-01")
        assert [one.outcome for one in warehouse.build(OLD_FILE.name, [partition], close=True)] == ["built"]
    expected: dict[str, tuple[object, ...]] = {"first": (None, None, None)}
    for number in range(4):
        expected |= {f"s{number}": GOT, f"s{number}-without": (None, None, None)}
    assert asked(old) == asked(new) == expected
    schema = new.resolve(OLD_FILE.name)[1].schema
    assert [(one.name, str(one.type), one.origin) for one in schema][3:] == [
        ("seen", "timestamp", "declared"),
        ("code", "int64", "declared"),
        ("price", "decimal(9,2)", "declared"),
    ]
    assert (schema.version, old.verify(OLD_FILE.name).findings) == (2, ())
    assert old.sql("SELECT code FROM weather WHERE code IS NOT NULL").table().num_rows == 4


def test_being_behind_writes_nothing_and_says_the_newer_columns(warehouses: tuple[Warehouse, Warehouse]) -> None:
    old, new = warehouses
    new.resolve(OLD_FILE.name)
    audited = old.catalog.audit.newest()
    served, found = old.resolve(OLD_FILE.name)
    assert served.is_behind and served.schema.names == NEW_FILE.schema.names
    assert found == new.resolve(OLD_FILE.name)[1]
    assert old.catalog.audit.newest() == audited
    assert old.served(old.declared(OLD_FILE.name)) == served
    assert old.status(OLD_FILE.name).dataset == OLD_FILE.name


def test_a_policy_of_a_file_that_is_behind_is_taken_and_its_columns_are_not(warehouses: tuple[Warehouse, Warehouse]) -> None:
    old, new = warehouses
    new.resolve(OLD_FILE.name)
    changed = replace(OLD_FILE, description="by the old file", sources=(*SOURCES, FileSource(prefix="more")))
    found = old.catalog.datasets.register(changed, actor="test")
    assert (found.definition["description"], found.schema.names) == ("by the old file", NEW_FILE.schema.names)
    assert len(old.catalog.sources.of(found.id)) == 3


def test_a_declaration_that_was_never_known_is_still_refused(warehouses: tuple[Warehouse, Warehouse]) -> None:
    old, _ = warehouses
    fewer = dataset(NEW[0], sources=SOURCES)
    with pytest.raises(RefusedError, match="column 'code' was removed"):
        old.catalog.datasets.register(fewer, actor="test")


def test_who_declares_the_columns_of_before_over_http_is_told_that_one_was_removed(tmp_path: Path) -> None:
    columns: dict[str, object] = {"at": "timestamp", "v": {"type": "double", "nullable": True}}
    attributes: dict[str, object] = {"columns": columns, "time": "at", "start": "2024-01-01", "sources": [{"http": {}}]}
    more = {**attributes, "columns": {**columns, "w": {"type": "double", "nullable": True}}}
    with open_warehouse(tmp_path) as warehouse:
        warehouse.declare("sent", attributes, actor="ada")
        warehouse.land("sent", [written(tmp_path, "sent", {"at": "2024-03-01T00:00:00Z", "v": 1})])
        warehouse.declare("sent", more, actor="ada")
        with pytest.raises(RefusedError, match="column 'w' was removed"):
            warehouse.declare("sent", attributes, actor="ada")
        assert warehouse.resolve("sent")[1].schema.names == ("at", "v", "w")


def test_a_check_can_be_taken_back_and_a_column_declared_twice_over_leaves_both_older_files_behind(
    catalog: Catalog,
) -> None:
    catalog.datasets.register(OLD_FILE, actor="test")
    checked = dataset(replace(NEW[1], checks=Checks(ge=0)), NEW[0], NEW[2], sources=SOURCES)
    unchecked = dataset(NEW[1], NEW[0], NEW[2], sources=SOURCES)
    newest = dataset(NEW[1], NEW[0], NEW[2], Column(name="last", type=parse_type("bool"), nullable=True), sources=SOURCES)
    for one in (checked, unchecked, checked, unchecked):
        assert catalog.datasets.register(one, actor="test").schema.column("code").checks == one.schema.column("code").checks
    catalog.datasets.register(newest, actor="test")
    for one in (OLD_FILE, checked, unchecked):
        assert catalog.datasets.register(one, actor="test").schema.names[-1] == "last"


def test_a_catalog_of_before_learns_what_was_declared_with_the_next_change(catalog_dataset: CatalogDataset) -> None:
    database = catalog_dataset.catalog.database
    catalog_dataset.land()
    database.write(lambda c: c.exec_driver_sql("UPDATE dataset_schemas SET declared = NULL"))
    newer = replace(WEATHER, schema=WEATHER.schema.with_columns(NEW[0]))
    catalog_dataset.catalog.datasets.register(newer, actor="test")
    assert catalog_dataset.catalog.datasets.register(WEATHER, actor="test").schema.names == newer.schema.names


def test_before_there_are_rows_a_type_can_still_be_changed_back(catalog: Catalog) -> None:
    whole = dataset(*columns(n="int64?"))
    text = dataset(*columns(n="string?"))
    for one in (whole, text, whole):
        assert catalog.datasets.register(one, actor="test").schema.column("n").type == one.schema.column("n").type
    assert catalog.datasets.register(dataset(*columns(n="int64?", m="string?")), actor="test").schema.names[-1] == "m"
    assert catalog.datasets.register(whole, actor="test").schema.names[-1] == "m"


def test_a_session_over_http_that_began_before_lands_the_new_columns(tmp_path: Path, catalog_url: str) -> None:
    ground = LandingWarehouse.at(tmp_path, OLD_FILE, url=catalog_url)
    bounds = replace(QueueLimits.of(Settings()), linger_seconds=0.0, patience_seconds=0.0)
    context = replace(ground.context, holder="old", clock=utc_now)
    landers = GroupLanders(context, bounds=bounds, noticed=lambda _: None)
    limits = BodyLimits(bytes=1_000_000, rows=1000, record_bytes=1 << 20)

    def send(*records: dict[str, Any]) -> Landed:
        reading = BodyContext(dataset=OLD_FILE, source=HttpSource(), limits=limits)
        body = read_body(json.dumps(records).encode(), "application/json", reading)
        answer = landers.submit(OLD_FILE, HttpSource(), Submission(id=records[0]["station"], body=body, actor="me")).result(30)
        assert isinstance(answer, Landed)
        return answer

    try:
        send(record("before"))
        ground.catalog.datasets.register(NEW_FILE, actor="another process")
        assert send(record("after", **SENT)).outcome.landed == 1
        assert send(record("odd", **{**SENT, "code": "a word"})).outcome.dead_letters == 1
    finally:
        landers.close()
    found = ground.record.schema
    assert [str(found.column(name).type) for name in WANTED[1:]] == ["timestamp", "int64", "decimal(9,2)"]
    rows = {row[0]: row[1:] for row in ground.rows(*WANTED)}
    assert (rows["before"], [*map(str, rows["after"][1:])]) == ((None, None, None), ["7", "12.50"])
    assert rows["after"][0] is not None
    ground.catalog.close()


@pytest.mark.parametrize("commit_bytes", [1, 1_000_000_000])
def test_a_file_that_is_being_landed_is_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_bytes: int) -> None:
    ground = LandingWarehouse.at(tmp_path, OLD_FILE, bulk=BulkLimits(parallel=1, commit_bytes=commit_bytes, batch_rows=5))
    commit = Commits.land
    declared: list[DatasetRecord] = []

    def racing(commits: Commits, batch: LandingCommit) -> int:
        if not declared:
            declared.append(ground.catalog.datasets.register(NEW_FILE, actor="another process"))
        return commit(commits, batch)

    monkeypatch.setattr(Commits, "land", racing)
    before, after = [record(f"b{n}") for n in range(10)], [record(f"a{n}", **SENT) for n in range(10)]
    report = ground.land_one("whole.jsonl", before + after)
    assert report.counters.landed == 20
    assert ground.record.schema == declared[0].schema
    assert sorted(ground.rows("code"), key=str) == [(7,)] * 10 + [(None,)] * 10


def test_a_topic_session_and_the_hot_buffer_that_began_before_take_the_new_columns_up(tmp_path: Path) -> None:
    with EmbeddedKafka() as cluster:
        ground = tailing_warehouse(tmp_path, cluster)
        newer = replace(ground.dataset, schema=NEW_FILE.schema)
        with ground.hot() as hot, ground.running() as session:
            ground.produce([value(0)])
            session.wait_until_read(1)
            hot.wait_for(1)
            tail = next(iter(hot.buffers._tails.values()))
            ground.catalog.datasets.register(newer, actor="another process")
            ground.produce([value(1, **SENT), value(2, **{**SENT, "code": "a word"})])
            session.wait_until_read(3)
            assert sorted(hot.wait_for(2).values) == ["S0", "S1"]
            assert next(iter(hot.buffers._tails.values())) is tail
        ground.produce([value(3, **SENT)])
        with ground.hot() as hot:
            hot.wait_for(3)
            seen = dict(zip(hot.ask("station").values, hot.ask("code").values, strict=True))
        assert seen == {"S0": None, "S1": 7, "S3": 7}
        assert ground.stream(limits=SessionLimits()).counters.landed == 1
        assert {row[0]: row[1] for row in ground.rows("station", "code")} == seen
        assert str(ground.record.schema.column("seen").type) == "timestamp"


def test_a_replay_by_the_old_file_keeps_the_new_columns(tmp_path: Path) -> None:
    ground = LandingWarehouse.at(tmp_path, OLD_FILE)
    ground.land_one("a.jsonl", [record("warm", temp=999, **SENT)])
    ground.catalog.datasets.register(
        replace(NEW_FILE, schema=NEW_FILE.schema.with_columns(*columns(temp="double?"))), actor="another"
    )
    from timestore_assets.landing.dead_letters.replay import Replayer

    replayed = Replayer(replace(ground.context, holder="old"))
    assert replayed.replay(OLD_FILE, actor="test").landed == 1
    assert ground.rows("station", "code") == [("warm", 7)]


def test_a_model_of_before_neither_refuses_rows_nor_hides_values(tmp_path: Path) -> None:
    model = "timestore_assets_tests.support.landing_models.Observations"
    old = dataset(*columns(n="int64?"), pandera_model=model)
    ground = LandingWarehouse.at(tmp_path, old)
    ground.land_one("a.jsonl", [record("ABC"), record("ABC", temp=13)])
    assert len(ground.rows()) == 1
    ground.catalog.datasets.register(replace(old, schema=old.schema.with_columns(*NEW)), actor="another process")
    ground.land_one("b.jsonl", [record("ABC", temp=13, **SENT), record("DEF", temp=999, **SENT)])
    assert ground.rows("temp", "code") == [(1.5, None), (13.0, 7)]


def test_rows_are_never_written_in_a_schema_that_would_lose_some_of_them(tmp_path: Path) -> None:
    import pyarrow as pa

    from timestore_assets.landing.committing.staged_segments import stored_rows

    declared: Dataset = OLD_FILE
    rows = pa.table({"ts": pa.array([datetime(2013, 3, 1)]), "station": ["a"], "temp": [1.0], "extra": ["x"]})
    with pytest.raises(ConflictError, match=r"the schema lacks \['extra'\]"):
        stored_rows(rows, dataset=declared, schema=declared.schema, without=frozenset())
    with pytest.raises(ConflictError, match=r"the rows lack \['station'\]"):
        stored_rows(rows.select(["ts", "temp"]), dataset=declared, schema=declared.schema, without=frozenset())

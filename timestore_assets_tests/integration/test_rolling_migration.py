"""Columns are renamed, computed and dropped while processes with the file of before land, build and ask: no value is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.catalog.commits import Commits
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import QueueLimits
from timestore_assets.landing.requests.submission import Landed, Submission
from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.dataset import Dataset, Dedupe, FileSource, HttpSource
from timestore_assets.model.errors import BadFileError, InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.record_form import RecordForm, TimeForm
from timestore_assets.segments.publishing import utc_now
from timestore_assets.settings import Settings
from timestore_assets.sources.http.body_formats import BodyContext, read_body
from timestore_assets.sources.http.request_body import BodyLimits
from timestore_assets.verbs.migration_verbs import MigrationVerbs
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset
from timestore_assets_tests.support.migrations import add, drop, manifest, migrate, rename, transform
from timestore_assets_tests.support.tailing_warehouse import tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import value

pytestmark = pytest.mark.slow

SOURCES = (FileSource(prefix="inbox"), HttpSource())
MORE = columns(seen="timestamp?", code="int64?", note="string?")
OLD_FILE = dataset(*MORE, sources=SOURCES)
OPERATIONS = (
    rename("temp", "temperature"),
    rename("code", "code_text", expression="concat('c', code)"),
    drop("note"),
)
DAY = "2013-03-01"


def record(station: str, **more: Any) -> dict[str, Any]:
    return {"ts": f"{DAY}T00:00:00Z", "station": station, "temp": 1.5, "code": 7, "note": "n", **more}


def new_record(station: str, **more: Any) -> dict[str, Any]:
    return {"ts": f"{DAY}T00:00:00Z", "station": station, "temperature": 1.5, "code_text": "c7", **more}


def written(folder: Path, name: str, *records: dict[str, Any]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def csv_written(folder: Path, name: str, *records: dict[str, Any]) -> Path:
    path = folder / f"{name}.csv"
    lines = [",".join(records[0]), *(",".join(map(str, one.values())) for one in records)]
    path.write_text("\n".join(lines) + "\n")
    return path


def migrated_file() -> Dataset:
    """What the file says once it is changed as the migration says."""
    ts, station, temp, seen, _, _ = OLD_FILE.schema.columns
    schema = replace(
        OLD_FILE.schema,
        columns=(ts, station, replace(temp, name="temperature"), seen, *columns(code_text="string?")),
    )
    return replace(OLD_FILE, schema=schema)


@pytest.fixture
def old(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    """Of a process with the file of before."""
    with open_warehouse(tmp_path, {OLD_FILE.name: OLD_FILE}, catalog_url=catalog_url) as warehouse:
        warehouse.land(OLD_FILE.name, [written(tmp_path, "first", record("first"))])
        yield warehouse


def rows(warehouse: Warehouse, *names: str, **asked: Any) -> dict[str, tuple[Any, ...]]:
    with warehouse.ask(Question(dataset=OLD_FILE.name, columns=("station", *names), **asked)) as answer:
        return {row[0]: tuple(row[1:]) for row in (tuple(one.values()) for one in answer.table().to_pylist())}


def build(warehouse: Warehouse) -> str:
    return next(iter(warehouse.build(OLD_FILE.name, [OLD_FILE.partition(DAY)], close=True))).outcome


def test_processes_with_both_files_land_build_and_ask(old: Warehouse, tmp_path: Path, catalog_url: str) -> None:
    assert build(old) == "built"
    old.land(OLD_FILE.name, [written(tmp_path, "second", record("second"))])
    done = old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
    assert done.done.is_new
    expected = {"first": (1.5, "c7"), "second": (1.5, "c7")}
    assert rows(old, "temperature", "code_text") == expected
    served, found = old.resolve(OLD_FILE.name)
    assert served.is_behind and found.schema.names == ("ts", "station", "temperature", "seen", "code_text")
    with open_warehouse(tmp_path, {OLD_FILE.name: migrated_file()}, catalog_url=catalog_url) as new:
        assert new.resolve(OLD_FILE.name)[0].is_behind is False
        for number, warehouse in enumerate((old, new)):
            names = [f"{kind}{number}" for kind in ("json-old", "json-new", "csv-old", "csv-new")]
            files = [
                written(tmp_path, names[0], record(names[0])),
                written(tmp_path, names[1], new_record(names[1])),
                csv_written(tmp_path, names[2], record(names[2])),
                csv_written(tmp_path, names[3], new_record(names[3])),
            ]
            report = warehouse.land(OLD_FILE.name, files)
            assert (report.counters.landed, report.counters.dead_letters, report.schema_changes) == (4, 0, ())
            expected |= dict.fromkeys(names, (1.5, "c7"))
            assert rows(old, "temperature", "code_text") == rows(new, "temperature", "code_text") == expected
            assert build(warehouse) == "built"
            assert rows(old, "temperature", "code_text") == rows(new, "temperature", "code_text") == expected
        assert new.verify(OLD_FILE.name).findings == ()
        assert sum(found["note"] for found in ignored(new)) == 4, "values of a dropped column are counted"
        assert build(new) == "unchanged"


def ignored(warehouse: Warehouse) -> list[dict[str, int]]:
    return [
        one["details"]["ignored_columns"] for one in warehouse.catalog.audit.newest() if one["details"].get("ignored_columns")
    ]


def test_the_same_migration_of_another_process_meanwhile_is_done_once(old: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, tried = manifest(OLD_FILE.name, *OPERATIONS), MigrationVerbs._tried

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        assert old.migrate(wanted, actor="bob").done.is_new
        return tried(*arguments, **options)

    monkeypatch.setattr(MigrationVerbs, "_tried", late)
    done = old.migrate(wanted, actor="ann")
    assert (done.done.is_new, done.tried, done.done.record.actor) == (False, None, "bob")
    assert len(old.migrations(OLD_FILE.name)) == 1
    with pytest.raises(InputError, match="no column 'temp'"):
        old.migrate(manifest(OLD_FILE.name, rename("temp", "other")), actor="ann")


def test_a_version_of_before_is_read_by_the_names_of_then(old: Warehouse) -> None:
    before = old.resolve(OLD_FILE.name)[1].manifest_version
    old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
    assert rows(old, "temp", "code", "note", as_of=before) == {"first": (1.5, 7, "n")}
    assert rows(old, "temperature", "code_text") == {"first": (1.5, "c7")}
    with pytest.raises(InputError, match="has no column 'temp'; it is called 'temperature' now"):
        rows(old, "temp")
    with pytest.raises(InputError, match="has no column 'note'; it was dropped"):
        rows(old, "note")
    assert old.sql("SELECT temperature, code_text FROM weather WHERE temperature > 1").table().num_rows == 1


def test_a_record_with_both_names_is_ambiguous(old: Warehouse, tmp_path: Path) -> None:
    old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
    both = [record("a", temperature=1), record("b", code_text="own"), record("c"), record("d", temp=None, temperature=2)]
    report = old.land(OLD_FILE.name, [written(tmp_path, "both", *both)])
    assert (report.counters.landed, report.dead_letter_reasons) == (3, {"ambiguous_column": 1})
    assert rows(old, "temperature") == {"first": (1.5,), "b": (1.5,), "c": (1.5,), "d": (2.0,)}
    assert rows(old, "code_text")["b"] == ("own",), "what a column would be computed from makes no other value of it"
    report = old.land(OLD_FILE.name, [csv_written(tmp_path, "both", {**record("x"), "temperature": 3})])
    assert [(one.state, "and the file has both" in one.reason) for one in report.files] == [("quarantined", True)]


def test_records_of_before_are_computed_through_several_migrations(old: Warehouse, tmp_path: Path) -> None:
    old.migrate(manifest(OLD_FILE.name, rename("code", "code2", expression="code * 2")), actor="ann")
    old.migrate(manifest(OLD_FILE.name, rename("code2", "code_text", expression="concat('c', code2)")), actor="ann")
    between = {**record("between", code2=5), "code": None}
    new = record("new", code=None, code_text="own")
    report = old.land(OLD_FILE.name, [written(tmp_path, "all", record("old"), between, new)])
    assert (report.counters.landed, report.ignored_columns) == (3, {})
    assert rows(old, "code_text") == {"first": ("c14",), "old": ("c14",), "between": ("c5",), "new": ("own",)}


def test_a_former_name_may_have_an_end(old: Warehouse, tmp_path: Path) -> None:
    until = (utc_now() - timedelta(days=1)).isoformat()
    old.migrate(manifest(OLD_FILE.name, rename("temp", "temperature", aliases_until=until)), actor="ann")
    report = old.land(OLD_FILE.name, [written(tmp_path, "late", record("late"), new_record("good", code=7))])
    assert (report.counters.landed, report.dead_letter_reasons) == (1, {"unknown_column": 1})
    assert "temp" not in old.resolve(OLD_FILE.name)[1].schema.names


def test_a_name_that_got_another_meaning_means_what_it_meant_when_the_record_came(old: Warehouse, tmp_path: Path) -> None:
    """Dead letters of before are of the unit of before, whatever has become of the name since."""
    old.land(OLD_FILE.name, [written(tmp_path, "hot", record("hot", temp=999))])
    wider = transform("temp", "(temp - 32) / 2")
    old.migrate(manifest(OLD_FILE.name, wider), actor="ann")
    old.land(OLD_FILE.name, [written(tmp_path, "new", record("new", temp=20))])
    assert rows(old, "temp") == {"first": ((1.5 - 32) / 2,), "new": (20.0,)}
    replayed = old.replay(OLD_FILE.name, actor="test")
    assert replayed.landed == 1
    assert rows(old, "temp")["hot"] == ((999 - 32) / 2,)
    assert build(old) == "built"
    assert rows(old, "temp") == {"first": ((1.5 - 32) / 2,), "new": (20.0,), "hot": ((999 - 32) / 2,)}


def test_swapped_names_and_a_name_used_again_stay_apart(old: Warehouse, tmp_path: Path) -> None:
    old.migrate(
        manifest(OLD_FILE.name, rename("code", "note", incoming="new"), rename("note", "code", incoming="new")), actor="ann"
    )
    assert rows(old, "code", "note") == {"first": ("n", 7)}
    assert build(old) == "built"
    assert rows(old, "code", "note") == {"first": ("n", 7)}
    old.migrate(manifest(OLD_FILE.name, drop("note"), add("note", "double", incoming="new")), actor="ann")
    assert rows(old, "code", "note") == {"first": ("n", None)}
    old.land(OLD_FILE.name, [written(tmp_path, "again", {"ts": f"{DAY}T01:00:00Z", "station": "s", "code": "x", "note": 2.5})])
    assert build(old) == "built"
    assert rows(old, "code", "note") == {"first": ("n", None), "s": ("x", 2.5)}
    for question in ("note > 2", "note IS NULL", "code = 'x'", "code = 'n'"):
        assert len(rows(old, "code", where=question)) == 1


@pytest.mark.parametrize("commit_bytes", [1, 1_000_000_000])
def test_a_file_that_is_being_landed_is_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_bytes: int) -> None:
    ground = LandingWarehouse.at(tmp_path, OLD_FILE, bulk=BulkLimits(parallel=1, commit_bytes=commit_bytes, batch_rows=5))
    ground.land_one("first.jsonl", [record("first")])
    commit, done = Commits.land, list[bool]()

    def racing(commits: Commits, batch: LandingCommit) -> int:
        if not done:
            done.append(migrate(ground.catalog, OLD_FILE.name, *OPERATIONS).is_new)
        return commit(commits, batch)

    monkeypatch.setattr(Commits, "land", racing)
    assert ground.land_one("whole.jsonl", [record(f"r{n}") for n in range(20)]).counters.landed == 20
    assert done == [True]
    assert set(ground.rows("temperature", "code_text")) == {(1.5, "c7")}


def test_requests_of_a_session_that_began_before(tmp_path: Path, catalog_url: str) -> None:
    with open_warehouse(tmp_path, {OLD_FILE.name: OLD_FILE}, catalog_url=catalog_url) as old:
        bounds = replace(QueueLimits.of(Settings()), linger_seconds=0.0, patience_seconds=0.0)
        landers = GroupLanders(old.writing, bounds=bounds, noticed=lambda _: None)
        limits = BodyLimits(bytes=1_000_000, rows=1000, record_bytes=1 << 20)

        def send(body: bytes, kind: str, name: str) -> Landed:
            declared, _ = old.resolve(OLD_FILE.name)
            found = read_body(body, kind, BodyContext(dataset=declared, source=HttpSource(), limits=limits))
            answer = landers.submit(declared, HttpSource(), Submission(id=name, body=found, actor="me")).result(60)
            assert isinstance(answer, Landed)
            return answer

        def json_of(one: dict[str, Any]) -> tuple[bytes, str]:
            return json.dumps([one]).encode(), "application/json"

        def csv_of(one: dict[str, Any]) -> tuple[bytes, str]:
            return f"{','.join(one)}\n{','.join(map(str, one.values()))}\n".encode(), "text/csv"

        try:
            assert send(*json_of(record("before")), "1").outcome.landed == 1
            assert send(*csv_of(record("before-csv")), "2").outcome.landed == 1
            old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
            for number, (form, one) in enumerate((form, one) for one in (record, new_record) for form in (json_of, csv_of)):
                assert send(*form(one(f"after{number}")), f"after{number}").outcome.landed == 1
            with pytest.raises(BadFileError, match="both"):
                send(*csv_of({**record("both"), "temperature": 2}), "both")
        finally:
            landers.close()
        assert set(rows(old, "temperature", "code_text").values()) == {(1.5, "c7")}
        assert len(rows(old, "temperature")) == 6


def test_a_topic_session_and_the_hot_buffer_that_began_before(tmp_path: Path) -> None:
    with EmbeddedKafka() as cluster:
        ground = tailing_warehouse(tmp_path, cluster)
        with ground.hot() as hot, ground.running() as session:
            ground.produce([value(0)])
            session.wait_until_read(1)
            hot.wait_for(1)
            migrate(ground.catalog, ground.dataset.name, rename("temp", "temperature"))
            ground.produce([value(1), value(2)])
            session.wait_until_read(3)
            assert sorted(hot.wait_for(3).values) == ["S0", "S1", "S2"]
            assert None not in hot.ask("temperature").values
        ground.produce([value(3)])
        with ground.hot() as hot:
            hot.wait_for(4)
            assert None not in hot.ask("temperature").values
        assert ground.stream(limits=SessionLimits()).counters.landed == 1
        assert [row for row in ground.rows("temperature") if row[0] is None] == []


def test_times_that_are_written_in_their_own_way_keep_it_under_another_name(tmp_path: Path, catalog_url: str) -> None:
    form = RecordForm(times=(TimeForm(column="ts", unit="s"), TimeForm(column="seen", format="%d.%m.%Y")))
    source = FileSource(prefix="inbox", form=form)
    declared = dataset(*MORE, sources=(source,), dedupe=Dedupe(keys=("station", "ts")))
    with open_warehouse(tmp_path, {declared.name: declared}, catalog_url=catalog_url) as old:
        one = {"ts": 1362096000, "station": "a", "temp": 1, "seen": "02.03.2013"}
        old.land(declared.name, [written(tmp_path, "inbox-a", one)])
        old.migrate(manifest(declared.name, rename("ts", "at"), rename("seen", "looked")), actor="ann")
        old.land(declared.name, [written(tmp_path, "inbox-b", {**one, "station": "b"})])
        old.land(declared.name, [written(tmp_path, "inbox-c", {"at": 1362096000, "station": "c", "looked": "02.03.2013"})])
        assert len(set(rows(old, "at", "looked").values())) == 1
        assert set(rows(old, "at", "looked")) == {"a", "b", "c"}
        assert build(old) == "built"
        assert len(set(rows(old, "at", "looked").values())) == 1
        assert build(old) == "unchanged"
        assert old.verify(declared.name).findings == ()


def hashes(warehouse: Warehouse) -> dict[str, str | None]:
    return {one.partition.key: one.content_hash for one in warehouse.partitions(OLD_FILE.name)}


def test_a_migration_is_rolled_back_and_forward_again_by_its_content(old: Warehouse, tmp_path: Path) -> None:
    other_day = [record("other", ts="2013-03-02T00:00:00Z"), record("third", ts="2013-03-03T00:00:00Z", code=None)]
    old.land(OLD_FILE.name, [written(tmp_path, "more", *other_day)])
    days = [OLD_FILE.partition(f"2013-03-0{day}") for day in (1, 2, 3)]
    assert [one.outcome for one in old.build(OLD_FILE.name, days, close=True)] == ["built"] * 3
    before, version = hashes(old), old.resolve(OLD_FILE.name)[1].manifest_version
    then = rows(old, "temp", "code", "note")
    old.tag(OLD_FILE.name, "before", actor="ann")
    old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
    assert [one.outcome for one in old.build(OLD_FILE.name, days, close=True)] == ["built"] * 3
    after, migrated = hashes(old), old.resolve(OLD_FILE.name)[1].manifest_version
    now = rows(old, "temperature", "code_text")
    assert after != before
    for _ in range(2):
        planned = old.rollback(OLD_FILE.name, "before", dry_run=True)
        done = old.rollback(OLD_FILE.name, version)
        assert (done.schema_version, planned.schema_version, planned.version) == (1, 1, done.version)
        assert hashes(old) == before
        assert rows(old, "temp", "code", "note") == then
        assert old.resolve(OLD_FILE.name)[1].schema.names == OLD_FILE.schema.names
        assert old.rollback(OLD_FILE.name, migrated).schema_version == 2
        assert hashes(old) == after
        assert rows(old, "temperature", "code_text") == now
    assert old.verify(OLD_FILE.name).findings == ()
    assert rows(old, "temp", as_of=version) == {name: values[:1] for name, values in then.items()}


def test_rows_landed_since_a_migration_decide_whether_it_can_be_taken_back(old: Warehouse, tmp_path: Path) -> None:
    version = old.resolve(OLD_FILE.name)[1].manifest_version
    old.migrate(manifest(OLD_FILE.name, *OPERATIONS), actor="ann")
    old.land(OLD_FILE.name, [written(tmp_path, "since", new_record("since"))])
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match="have no 'code'"):
            old.rollback(OLD_FILE.name, version, dry_run=dry_run)
    assert old.rollback(OLD_FILE.name, version, may_null=True).schema_version == 1
    assert rows(old, "temp", "code", "note") == {"first": (1.5, 7, "n"), "since": (1.5, None, None)}
    old.land(OLD_FILE.name, [written(tmp_path, "later", record("later"), new_record("new", code=8))])
    assert rows(old, "temp", "code")["later"] == (1.5, 7)
    assert rows(old, "temp", "code")["new"] == (1.5, 8)


def again(generation: int) -> dict[str, Any]:
    """From a generation of names and values to the next, and back."""
    following = f"temp_{generation + 1}"
    name = f"temp_{generation}" if generation else "temp"
    return rename(name, following, expression=f"{name} + 1", inverse=f"{following} - 1")


@pytest.mark.parametrize("is_built", [False, True])
def test_values_of_any_generation_are_computed_forwards_and_backwards(old: Warehouse, tmp_path: Path, is_built: bool) -> None:
    """One migration behind the other, each landed into, and gone back over one and over several of them, and forward again."""
    versions: list[int] = []
    stations = {"first": 1.5}

    def shows(generation: int) -> None:
        name = f"temp_{generation}" if generation else "temp"
        expected = {station: (value + generation,) for station, value in stations.items()}
        assert rows(old, name) == expected
        if is_built:
            assert build(old) in ("built", "unchanged")
            assert rows(old, name) == expected

    for generation in range(3):
        shows(generation)
        versions.append(old.resolve(OLD_FILE.name)[1].manifest_version)
        old.migrate(manifest(OLD_FILE.name, again(generation)), actor="ann")
        name, station = f"temp_{generation + 1}", f"s{generation}"
        sent = {key: value for key, value in record(station).items() if key != "temp"} | {name: 10.0 + generation + 1}
        old.land(OLD_FILE.name, [written(tmp_path, station, sent)])
        stations[station] = 10.0
    shows(3)
    newest = old.resolve(OLD_FILE.name)[1].manifest_version
    for generation in (2, 1, 0, 2, 0, 1):
        old.rollback(OLD_FILE.name, versions[generation])
        shows(generation)
        old.rollback(OLD_FILE.name, newest)
        shows(3)
    for generation in (1, 2, 0):
        old.rollback(OLD_FILE.name, versions[generation])
        shows(generation)
    assert old.verify(OLD_FILE.name).findings == ()

"""Rows that landed are taken out by file, request, session, and taken back: on both catalogs, by the warehouse's own verbs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.merge import merge
from timestore_assets.catalog import retractions
from timestore_assets.model.dataset import Dedupe, FileSource, HttpSource
from timestore_assets.model.errors import ConflictError, InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.row_selector import FileRows, RequestRows, RowSelector, SessionRows, TopicRows
from timestore_assets.upkeep.retraction_plan import Retractor
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse, serving
from timestore_assets_tests.support.landing_warehouse import dataset

DATASET = dataset(sources=(FileSource(prefix="inbox"), HttpSource()))
DEDUPED = dataset(sources=(FileSource(prefix="inbox"),), dedupe=Dedupe(keys=("station", "ts")), name="latest")


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    with open_warehouse(tmp_path / "home", {one.name: one for one in (DATASET, DEDUPED)}, catalog_url=catalog_url) as found:
        yield found


def drop(warehouse: Warehouse, name: str, *stations: str, day: int = 1, temp: float = 1.0) -> Path:
    """A file of a record for each station, at minutes of that day."""
    path = warehouse.settings.home_folder / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {"ts": f"2013-01-{day:02}T00:{minute:02}:00Z", "station": station, "temp": temp}
        for minute, station in enumerate(stations)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def land(warehouse: Warehouse, *paths: Path, name: str = "weather") -> list[str]:
    """Land files; their states."""
    return [file.state for file in warehouse.land(name, paths).files]


def stations(warehouse: Warehouse, name: str = "weather", *, as_of: int | None = None) -> list[str]:
    with warehouse.ask(Question(dataset=name, columns=("station",), as_of=as_of)) as answer:
        return sorted(answer.table().column("station").to_pylist())


def build(warehouse: Warehouse, name: str = "weather", *, close: bool = True) -> None:
    list(warehouse.build(name, [one.partition for one in warehouse.partitions(name)], close=close))


def states(warehouse: Warehouse) -> list[str]:
    return [one.state for one in warehouse.partitions("weather")]


def counters(warehouse: Warehouse) -> Any:
    _, record = warehouse.resolve("weather")
    return [one.counters for one in warehouse.catalog.sources.of(record.id) if one.counters.read]


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
def test_a_file_leaves_comes_back_and_lands_again(warehouse: Warehouse, built: bool) -> None:
    good, bad = drop(warehouse, "good.jsonl", "a", "b"), drop(warehouse, "bad.jsonl", "x", "y", day=2)
    land(warehouse, good, bad)
    if built:
        build(warehouse)
    before = warehouse.resolve("weather")[1].manifest_version
    plan, made = warehouse.retract("weather", FileRows(address=str(bad)))
    assert (made.rows, made.partitions, made.state, plan.files) == (2, {"2013-01-02": 2}, "hidden", ("bad.jsonl",))
    assert stations(warehouse) == ["a", "b"] and stations(warehouse, as_of=before) == ["a", "b", "x", "y"]
    assert [one.read for one in counters(warehouse)] == [4], "what landed stays landed"
    undone = warehouse.undo_retraction("weather", made.id)
    assert undone.state == "undone" and stations(warehouse) == ["a", "b", "x", "y"]
    build(warehouse)
    assert states(warehouse) == ["sealed", "sealed"] and stations(warehouse) == ["a", "b", "x", "y"]
    _, again = warehouse.retract("weather", FileRows(address="bad.jsonl"))
    assert land(warehouse, bad) == ["landed"] and stations(warehouse) == ["a", "b", "x", "y"]
    with pytest.raises(RefusedError, match=r"bad.jsonl was landed again since"):
        warehouse.undo_retraction("weather", again.id)
    build(warehouse)
    assert [one.state for one in warehouse.retractions("weather")] == ["dropped", "undone"]
    assert [one.read for one in counters(warehouse)] == [6], "read once more"
    with pytest.raises(RefusedError, match=f"roll back to version {again.manifest_version - 1} instead"):
        warehouse.undo_retraction("weather", again.id)


def test_a_sensor_lets_a_retracted_file_be(warehouse: Warehouse) -> None:
    bad = drop(warehouse, "bad.jsonl", "x")
    land(warehouse, bad)
    warehouse.retract("weather", FileRows(address="bad.jsonl"))
    assert not any(files for _, files in warehouse.unsettled_files("weather", None, None))
    drop(warehouse, "bad.jsonl", "mended")
    assert [len(files) for _, files in warehouse.unsettled_files("weather", None, None)] == [1]


def test_a_file_in_parts_leaves_with_all_of_them_and_lands_again_in_parts(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home", {"weather": DATASET}, chunk_bytes=2_000) as warehouse:
        big = drop(warehouse, "big.jsonl", *(f"S{number}" for number in range(60)))
        assert land(warehouse, big) == ["landed"] and len(stations(warehouse)) == 60
        _, made = warehouse.retract("weather", FileRows(address="big.jsonl"))
        assert made.rows == 60 and stations(warehouse) == []
        assert land(warehouse, big) == ["landed"] and len(stations(warehouse)) == 60


def test_what_is_named_must_have_rows(warehouse: Warehouse) -> None:
    land(warehouse, drop(warehouse, "one.jsonl", "a"))
    drop(warehouse, "copy.jsonl", "a")
    land(warehouse, warehouse.settings.home_folder / "inbox" / "copy.jsonl")
    refused: Sequence[tuple[RowSelector, type[Exception], str]] = (
        (FileRows(address="never"), InputError, "knows no file 'never'"),
        (FileRows(address="copy.jsonl"), RefusedError, r"brought no rows \(same content as one.jsonl"),
        (RequestRows(key="k"), InputError, "no request with the key 'k'"),
        (SessionRows(session=4711), RefusedError, "shows no such rows: session 4711"),
        (TopicRows(topic="t", number=0, start=1), InputError, "has read no topic 't'"),
    )
    for selector, error, words in refused:
        with pytest.raises(error, match=words):
            warehouse.plan_retraction("weather", selector)
    warehouse.retract("weather", FileRows(address="one.jsonl"))
    with pytest.raises(RefusedError, match="has no rows: it is retracted"):
        warehouse.retract("weather", FileRows(address="one.jsonl"))
    with pytest.raises(InputError, match="no retraction 4711"):
        warehouse.undo_retraction("weather", 4711)


def test_a_request_is_named_by_its_key(warehouse: Warehouse) -> None:
    with serving(warehouse) as http:
        for key, station in (("k1", "a"), ("k2", "x"), ("k3", "b")):
            rows = {"records": [{"ts": "2013-01-01T00:00:00Z", "station": station, "temp": n} for n in range(3)]}
            sent = http.client.post("/datasets/weather/ingest", json=rows, headers={"Idempotency-Key": key})
            assert sent.json()["landed"] == 3, sent.text
        build(warehouse)
        wish = {"key": "k2"}
        tried = http.client.post("/admin/datasets/weather/retractions", json={**wish, "dryRun": True}).json()
        assert (tried["id"], tried["rows"], tried["partitions"]) == (None, 3, {"2013-01-01": 3})
        assert stations(warehouse) == ["a"] * 3 + ["b"] * 3 + ["x"] * 3
        made = http.client.post("/admin/datasets/weather/retractions", json=wish).json()
        assert (made["state"], made["rows"]) == ("hidden", 3) and stations(warehouse) == ["a"] * 3 + ["b"] * 3
        (listed,) = http.client.get("/admin/datasets/weather/retractions").json()["retractions"]
        assert listed == made
        undone = http.client.delete(f"/admin/datasets/weather/retractions/{made['id']}")
        assert undone.json()["state"] == "undone" and stations(warehouse) == ["a"] * 3 + ["b"] * 3 + ["x"] * 3
        assert http.client.delete(f"/admin/datasets/weather/retractions/{made['id']}").status_code == 403
        for wrong in ({}, {"key": "k", "file": "f"}, {"file": "f", "from": 1}, {"topic": "t"}, {"topic": "t", "from": "noon"}):
            assert http.client.post("/admin/datasets/weather/retractions", json=wrong).status_code == 422, wrong
        rows = {"records": [{"ts": "2013-01-01T00:00:00Z", "station": "x", "temp": n} for n in range(3)]}
        repeated = http.client.post("/datasets/weather/ingest", json=rows, headers={"Idempotency-Key": "k2"})
        assert repeated.json()["landed"] == 3, "it is answered as before"
        assert len(stations(warehouse)) == 9, "and lands nothing"


def test_all_rows_of_a_session_leave(warehouse: Warehouse) -> None:
    land(warehouse, drop(warehouse, "before.jsonl", "a"))
    land(warehouse, drop(warehouse, "one.jsonl", "x", "y"), drop(warehouse, "two.jsonl", "z", day=2))
    land(warehouse, drop(warehouse, "after.jsonl", "b"))
    build(warehouse, close=False)
    _, record = warehouse.resolve("weather")
    told = [one for one in warehouse.catalog.audit.newest(dataset_ids=[record.id]) if one["action"] == "landed"]
    assert len(told) == 4
    session = _session_of(warehouse, "x")
    assert session in {one["details"]["session"] for one in told}, "people find it in the audit"
    _, made = warehouse.retract("weather", SessionRows(session=session))
    assert made.partitions == {"2013-01-01": 2, "2013-01-02": 1} and stations(warehouse) == ["a", "b"]
    build(warehouse)
    assert stations(warehouse) == ["a", "b"] and [one.state for one in warehouse.retractions("weather")] == ["dropped"]


def _session_of(warehouse: Warehouse, station: str) -> int:
    from timestore_assets.segments.engine import connect
    from timestore_assets.segments.reader import opened

    _, record = warehouse.resolve("weather")
    found = warehouse.catalog.manifest.segments(record.id)
    with (
        connect(warehouse.limits) as con,
        opened(con, found, storage=warehouse.storage, schema=record.schema, schema_of=lambda _: record.schema) as rows,
    ):
        ((session,),) = con.execute(f"SELECT DISTINCT __session FROM {rows} WHERE station = '{station}'").fetchall()
        return int(session)


def test_a_build_that_did_not_know_of_it_plans_again(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: what is retracted while a build merges is not in what it publishes, and not taken for dropped."""
    land(warehouse, drop(warehouse, "good.jsonl", "a"), drop(warehouse, "bad.jsonl", "x"))
    left = ["once"]

    def late(*arguments: Any) -> Any:
        merged = merge(*arguments)
        if left:
            left.pop()
            warehouse.retract("weather", SessionRows(session=_session_of(warehouse, "x")))
        return merged

    land(warehouse, drop(warehouse, "more.jsonl", "b"))
    monkeypatch.setattr("timestore_assets.building.builder.merge", late)
    build(warehouse)
    assert stations(warehouse) == ["b"] and states(warehouse) == ["sealed"]
    assert [one.state for one in warehouse.retractions("weather")] == ["dropped"]


def test_an_undo_while_a_build_merges_loses_nothing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    land(warehouse, drop(warehouse, "good.jsonl", "a"), drop(warehouse, "bad.jsonl", "x"))
    _, made = warehouse.retract("weather", FileRows(address="bad.jsonl"))
    left = ["once"]

    def late(*arguments: Any) -> Any:
        merged = merge(*arguments)
        if left:
            left.pop()
            warehouse.undo_retraction("weather", made.id)
        return merged

    monkeypatch.setattr("timestore_assets.building.builder.merge", late)
    build(warehouse)
    assert stations(warehouse) == ["a", "x"] and states(warehouse) == ["sealed"]


def test_a_build_that_comes_between_keeps_an_undo_from_lying(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    land(warehouse, drop(warehouse, "good.jsonl", "a"), drop(warehouse, "bad.jsonl", "x"))
    _, made = warehouse.retract("weather", FileRows(address="bad.jsonl"))
    hidden, left = Retractor.hidden, ["once"]

    def late(self: Retractor, ranges: Any) -> Any:
        found = hidden(self, ranges)
        if left:
            left.pop()
            build(warehouse)
        return found

    monkeypatch.setattr(Retractor, "hidden", late)
    with pytest.raises(RefusedError, match="dropped 1 of its 1 rows"):
        warehouse.undo_retraction("weather", made.id)
    assert stations(warehouse) == ["a"]


def test_two_at_once_hide_a_file_once(warehouse: Warehouse) -> None:
    land(warehouse, drop(warehouse, "bad.jsonl", "x"))
    plan = warehouse.plan_retraction("weather", FileRows(address="bad.jsonl"))
    _, record = warehouse.resolve("weather")
    warehouse.catalog.retractions.add(record.id, plan.wanted, actor="one")
    with pytest.raises(ConflictError, match="look again"):
        warehouse.catalog.retractions.add(record.id, plan.wanted, actor="another")
    assert len(warehouse.retractions("weather")) == 1


def test_what_a_build_removed_as_superseded_is_told_and_comes_back_with_its_file(warehouse: Warehouse) -> None:
    old = drop(warehouse, "old.jsonl", "a", temp=1.0)
    land(warehouse, old, name="latest")
    new = drop(warehouse, "new.jsonl", "a", temp=2.0)
    land(warehouse, new, name="latest")
    build(warehouse, "latest")
    plan, _ = warehouse.retract("latest", FileRows(address="new.jsonl"))
    assert (plan.superseded_rows, stations(warehouse, "latest")) == (1, []), "the older row is gone for good"
    retracted, _ = warehouse.retract("latest", FileRows(address="old.jsonl"))
    assert retracted.rows == 0
    assert land(warehouse, old, name="latest") == ["landed"] and stations(warehouse, "latest") == ["a"]


def test_it_is_in_the_audit_and_dagster_is_told(warehouse: Warehouse) -> None:
    land(warehouse, drop(warehouse, "bad.jsonl", "x", "y"))
    _, made = warehouse.retract("weather", FileRows(address="bad.jsonl"), actor="somebody")
    _, record = warehouse.resolve("weather")
    (told,) = [one for one in warehouse.catalog.audit.newest(dataset_ids=[record.id]) if one["action"] == "retracted"]
    assert (told["actor"], told["details"]["selector"], told["details"]["rows"]) == ("somebody", {"file": "bad.jsonl"}, 2)
    assert told["manifest_version"] == made.manifest_version
    events = [one for one in warehouse.catalog.outbox.claim(holder="t", limit=99, ttl=_minute()) if one.kind == "retracted"]
    assert [one.payload["reason"] for one in events] == ["2 rows retracted (file bad.jsonl)"]


def test_going_back_to_a_version_of_before_opens_its_files_again_unless_they_have_landed_since(warehouse: Warehouse) -> None:
    kept, again = drop(warehouse, "kept.jsonl", "a"), drop(warehouse, "again.jsonl", "b")
    land(warehouse, kept, again)
    _, record = warehouse.resolve("weather")
    before = record.manifest_version
    made = [warehouse.retract("weather", FileRows(address=name))[1] for name in ("kept.jsonl", "again.jsonl")]
    land(warehouse, again)
    database = warehouse.catalog.database
    by_landing = database.read(lambda c: retractions.made_by_landing(c, record.id))
    assert not any(by_landing(one.manifest_version) for one in made)
    opened = database.timed(lambda c, now: retractions.reopen_since(c, record.id, before, now=now))
    (source,) = [one for one in warehouse.catalog.sources.of(record.id) if one.kind == "files"]
    files = {file.address: file for file in warehouse.catalog.files.of(source.id)}
    assert opened == {files["kept.jsonl"].source_partition_id}
    assert {name: file.state for name, file in files.items()} == {"kept.jsonl": "landed", "again.jsonl": "landed"}
    assert database.timed(lambda c, now: retractions.reopen_since(c, record.id, before, now=now)) == frozenset()


def _minute() -> Any:
    from datetime import timedelta

    return timedelta(minutes=1)

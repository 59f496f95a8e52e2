"""Erased rows are in no version, no file and no audit; everything else is as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.tables import leases, tags
from timestore_assets.model.dataset import Dedupe, FileSource, SegmentPolicy
from timestore_assets.model.errors import ConflictError, InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.segment import SegmentFormat
from timestore_assets.model.window import Partition, Window
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.upkeep.erase import Eraser, EraseReport
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

pytestmark = pytest.mark.slow

DAYS = [f"2013-01-0{day}" for day in range(1, 5)]
SUBJECT = "Q7X-SUBJECT"
WHERE = f"station = '{SUBJECT}'"


def content(days: list[str], stations: list[str], value: int = 1) -> str:
    rows = [f"{day}T0{hour}:00,{station},{value}" for day in days for station in stations for hour in (1, 2)]
    return "\n".join(["ts,station,temp", *rows, ""])


def opened_in(folder: Path, url: str | None = None, **changes: Any) -> LandingWarehouse:
    keyed = {"dedupe": Dedupe(keys=("ts", "station"), keep="last"), "sources": (FileSource(prefix="inbox"),), **changes}
    return LandingWarehouse.at(folder, dataset(**keyed), url=url)


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[LandingWarehouse]:
    """Four days: the first sealed, the second sealed and then changed; the subject is in the first three, twice."""
    made = opened_in(tmp_path, catalog_url)
    made.land_one("a.csv", content(DAYS[:3], [SUBJECT, "JFK"]))
    made.land_one("b.csv", content(DAYS, ["LGA"]))
    made.land_one("c.csv", content(DAYS[:3], [SUBJECT], 2))
    build(made, 1, 2)
    made.land_one("d.csv", content(DAYS[1:2], [SUBJECT, "EWR"], 3))
    yield made
    made.catalog.close()


def day(number: int) -> Partition:
    return Window.DAY.partition(datetime(2013, 1, number, tzinfo=UTC))


def build(warehouse: LandingWarehouse, *days: int) -> None:
    with Builder(warehouse.context) as builder:
        for number in days:
            builder.build(warehouse.dataset, day(number), close=True, actor="test")


def eraser(warehouse: LandingWarehouse, where: str = WHERE) -> Eraser:
    return Eraser(warehouse.context, warehouse.dataset, warehouse.record, where)


def erase(warehouse: LandingWarehouse, where: str = WHERE, **options: bool) -> EraseReport:
    return eraser(warehouse, where).erase(**{"dead_letters": False, "archives": False, **options}, actor="test")


def rows(warehouse: LandingWarehouse) -> list[tuple[Any, ...]]:
    querier = Querier(warehouse.catalog, warehouse.storage, warehouse.limits, holder="test")
    try:
        with querier.ask(warehouse.dataset, warehouse.record, Question(dataset="weather", limit=None)) as answer:
            return sorted(tuple(row.values()) for row in answer.table().to_pylist())
    finally:
        querier.close()


def anywhere(warehouse: LandingWarehouse) -> list[str]:
    """Files of the warehouse whose bytes hold the subject, and tables of the catalog that do."""
    files = [name for name in warehouse.objects() if SUBJECT.encode() in warehouse.store.local_path(name).read_bytes()]
    told = json.dumps(warehouse.catalog.audit.newest(limit=1000))
    return [*files, *(["audit"] if SUBJECT in told else [])]


def holding(warehouse: LandingWarehouse, name: str, *, legal: bool) -> None:
    record, ever = warehouse.record, to_micros(datetime(9000, 1, 1, tzinfo=UTC))
    row = {"dataset_id": record.id, "name": name, "version": record.manifest_version, "note": "", "actor": "t", "at": 0}
    lease = {"resource": f"tag:{record.id}:{name}", "holder": "tag", "expires_at": ever, "dataset_id": record.id}
    warehouse.catalog.database.write(lambda c: c.execute(tags.insert(), {**row, "is_legal_hold": legal}))
    warehouse.catalog.database.write(lambda c: c.execute(leases.insert(), {**lease, "version": record.manifest_version}))


def test_rows_go_from_every_version_and_every_file(warehouse: LandingWarehouse) -> None:
    before, states = (
        rows(warehouse),
        {one.partition.key: one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)},
    )
    assert anywhere(warehouse) != []
    report = erase(warehouse)
    assert [one.partition for one in report.partitions] == DAYS[:3]
    assert (report.passes, report.columns, report.held_files) == (1, ("station",), 0)
    assert rows(warehouse) == [row for row in before if row[1] != SUBJECT]
    assert anywhere(warehouse) == []
    after = {one.partition.key: one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)}
    assert after == {**states, DAYS[1]: "sealed"}, "what was late there is built with it"
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    build(warehouse, 1, 2, 3, 4)
    assert rows(warehouse) == [row for row in before if row[1] != SUBJECT]
    assert erase(warehouse).nothing, "a second one finds nothing"


def test_a_look_changes_nothing(warehouse: LandingWarehouse) -> None:
    version = warehouse.record.manifest_version
    report = eraser(warehouse).look()
    assert (report.dry_run, [one.rows for one in report.partitions]) == (True, [2, 4, 4])
    assert report.old_rows > 0
    assert warehouse.record.manifest_version == version


def test_no_older_version_can_be_read(warehouse: LandingWarehouse) -> None:
    before = warehouse.record.manifest_version
    report = erase(warehouse)
    assert report.floor_version == warehouse.record.manifest_version > before
    with pytest.raises(RefusedError):
        warehouse.catalog.versions.pin(warehouse.record.id, version=before, holder="test", ttl=timedelta(minutes=1))


def test_the_audit_says_what_and_no_value(warehouse: LandingWarehouse) -> None:
    erase(warehouse)
    told = [row for row in warehouse.catalog.audit.newest(limit=100) if row["action"] == "rows_erased"]
    assert [(row["actor"], row["details"]["columns"], row["details"]["partitions"]) for row in told] == [
        ("test", ["station"], DAYS[:3])
    ]
    assert SUBJECT not in json.dumps(warehouse.catalog.audit.newest(limit=1000))


def test_what_only_an_older_version_shows_goes_too(warehouse: LandingWarehouse) -> None:
    """Rows of an expired partition are in no newest version, and in files for as long as old versions are kept."""
    for number in (1, 2, 3):
        warehouse.catalog.expiry.expire(warehouse.record.id, day(number), reason="test", actor="test")
    report = erase(warehouse)
    assert (report.partitions, report.old_rows > 0, report.nothing) == ((), True, False)
    assert anywhere(warehouse) == []


def test_a_condition_that_no_row_meets_costs_no_history(warehouse: LandingWarehouse) -> None:
    before = warehouse.record
    assert erase(warehouse, "station = 'nobody'").nothing
    assert warehouse.record == before
    warehouse.catalog.versions.pin(before.id, version=before.manifest_version - 1, holder="test", ttl=timedelta(minutes=1))


def test_a_legal_hold_refuses_it_by_name(warehouse: LandingWarehouse) -> None:
    holding(warehouse, "lawsuit", legal=True)
    before = rows(warehouse)
    with pytest.raises(RefusedError, match="kept by the legal hold 'lawsuit'"):
        erase(warehouse)
    assert rows(warehouse) == before


def test_tags_on_older_versions_go_and_are_named(warehouse: LandingWarehouse) -> None:
    holding(warehouse, "release", legal=False)
    assert eraser(warehouse).look().tags == ("release",)
    assert erase(warehouse).tags == ("release",)
    assert warehouse.catalog.repairs.tags(warehouse.record.id) == []
    assert anywhere(warehouse) == []


def test_a_reader_finishes_and_its_files_go_afterwards(warehouse: LandingWarehouse) -> None:
    catalog = warehouse.catalog
    version, lease = catalog.versions.pin(warehouse.record.id, version=None, holder="reader", ttl=timedelta(minutes=5))
    report = erase(warehouse)
    assert report.held_files > 0
    held = catalog.manifest.segments(warehouse.record.id, version=version)
    assert all(warehouse.store.local_path(segment.name).exists() for segment in held)
    catalog.leases.release(lease)
    warehouse.collect()
    assert anywhere(warehouse) == []


def test_rows_that_land_meanwhile_are_found_by_the_next_pass(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, landed = Builder.erase, list[int]()

    def erasing(self: Builder, *arguments: Any, **options: Any) -> int:
        if not landed:
            landed.append(1)
            warehouse.land_one("e.csv", content([DAYS[3]], [SUBJECT], 4))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Builder, "erase", erasing)
    report = erase(warehouse)
    assert report.passes == 2
    assert anywhere(warehouse) == []


def test_it_ends_where_rows_keep_coming(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    real, number = Builder.erase, [0]

    def erasing(self: Builder, *arguments: Any, **options: Any) -> int:
        number[0] += 1
        erased = real(self, *arguments, **options)
        warehouse.land_one(f"more{number[0]}.csv", content([DAYS[3]], [SUBJECT], number[0]))
        return erased

    monkeypatch.setattr(Builder, "erase", erasing)
    monkeypatch.setattr("timestore_assets.upkeep.erase.MOST_PASSES", 2)
    with pytest.raises(ConflictError, match="keep landing"):
        erase(warehouse)


def test_dead_letters_are_counted_and_go_when_asked(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("bad.csv", f"ts,station,temp\n2013-01-01,{SUBJECT},much\n")
    counters = warehouse.counters()
    assert (erase(warehouse).dead_letters, len(warehouse.letters())) == (1, 1)
    report = erase(warehouse, dead_letters=True)
    assert (report.removed_dead_letters, warehouse.letters(), warehouse.counters()) == (True, [], counters)
    assert anywhere(warehouse) == []


@pytest.mark.parametrize("format", ["parquet", "duckdb"])
def test_a_column_that_was_found_is_judged_by_its_value(tmp_path: Path, format: SegmentFormat) -> None:
    warehouse = opened_in(tmp_path, segments=SegmentPolicy(format=format))
    warehouse.land_one("a.csv", "ts,station,temp,person\n" + "".join(f"2013-01-01T0{n}:00,JFK,1,{n}0\n" for n in range(1, 6)))
    assert warehouse.record.schema.column("person").origin == "inferred"
    assert [one.rows for one in eraser(warehouse, "person > 20 AND station = 'JFK'").look().partitions] == [3]
    erase(warehouse, "person > 20 AND station = 'JFK'")
    assert len(rows(warehouse)) == 2
    build(warehouse, 1)
    erase(warehouse, "person = 20")
    assert [row[3] for row in rows(warehouse)] == [10]
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    warehouse.catalog.close()


def test_a_sealed_partition_of_which_nothing_stays(tmp_path: Path) -> None:
    warehouse = opened_in(tmp_path)
    warehouse.land_one("a.csv", content(DAYS[:2], [SUBJECT]))
    build(warehouse, 1)
    assert erase(warehouse, "true").erased_rows == 4
    assert rows(warehouse) == []
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    warehouse.catalog.close()


def test_what_an_erased_row_superseded_stays_superseded_where_it_was_sealed(tmp_path: Path) -> None:
    warehouse = opened_in(tmp_path, dedupe=Dedupe(keys=("ts",), keep="last"))
    warehouse.land_one("a.csv", "ts,station,temp\n2013-01-01,old,1\n2013-01-01T01:00,JFK,1\n")
    warehouse.land_one("b.csv", f"ts,station,temp\n2013-01-01,{SUBJECT},2\n")
    build(warehouse, 1)
    warehouse.land_one("c.csv", "ts,station,temp\n2013-01-01T02:00,JFK,1\n")
    erase(warehouse)
    assert [row[1] for row in rows(warehouse)] == ["JFK", "JFK"]
    warehouse.catalog.close()


@pytest.mark.parametrize("where", ["", "nobody = 1", "count(*) > 1", "station = 'a'; DROP TABLE x", "exists (select 1)"])
def test_a_condition_that_is_none(warehouse: LandingWarehouse, where: str) -> None:
    with pytest.raises(InputError):
        eraser(warehouse, where)


def test_a_file_that_is_replacing_another_has_to_land_first(warehouse: LandingWarehouse) -> None:
    from sqlalchemy import update

    from timestore_assets.catalog.tables import segments, source_partitions

    catalog = warehouse.catalog
    source = catalog.database.read(lambda c: c.execute(source_partitions.select()).first())
    assert source is not None
    waiting = update(segments).where(segments.c.partition_start == to_micros(day(4).start))
    catalog.database.write(lambda c: c.execute(waiting.values(added_version=None, added_at=None, waiting_for=source.id)))
    with pytest.raises(RefusedError, match="once it has landed"):
        erase(warehouse)


def test_a_dataset_without_rows(tmp_path: Path) -> None:
    warehouse = opened_in(tmp_path)
    warehouse.catalog.datasets.register(replace(warehouse.dataset), actor="test")
    assert erase(warehouse, "true").nothing
    warehouse.catalog.close()

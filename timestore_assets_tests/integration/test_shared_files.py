"""Many small partitions of a commit share a file: it is written, proved, moved, erased and collected as one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.older_processes import marked
from timestore_assets.catalog.tables import segments as segments_table
from timestore_assets.catalog.tables import sessions
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.model.dataset import Dataset, Dedupe, FileSource
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Window
from timestore_assets.segments import shared_file
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.erase import Eraser
from timestore_assets.upkeep.move_dataset import move
from timestore_assets.upkeep.repair import repair
from timestore_assets.upkeep.verify import VerifyReport, verify
from timestore_assets_tests.support.landing_warehouse import START, LandingWarehouse, columns, dataset

HOURS = 40


def content(hours: range, value: int = 1) -> str:
    times = [(START + timedelta(hours=hour, minutes=minute)).isoformat() for hour in hours for minute in (5, 35)]
    return "\n".join(["ts,station,temp", *(f"{time},JFK,{value}" for time in times), ""])


def keyed(*more: str) -> Dataset:
    return dataset(
        *columns(**dict.fromkeys(more, "string?")),
        window=Window.HOUR,
        dedupe=Dedupe(keys=("ts", "station"), keep="last"),
        sources=(FileSource(prefix="inbox"),),
    )


@pytest.fixture
def warehouse(tmp_path: Path, catalog_url: str) -> Iterator[LandingWarehouse]:
    """Forty hours of two rows, in one file."""
    made = LandingWarehouse.at(tmp_path, keyed(), url=catalog_url)
    made.land_one("a.csv", content(range(HOURS)))
    yield made
    made.catalog.close()


def segments(warehouse: LandingWarehouse) -> list[Segment]:
    return warehouse.catalog.manifest.segments(warehouse.record.id)


def build(warehouse: LandingWarehouse, hours: range) -> None:
    partitions = [Window.HOUR.partition(START + timedelta(hours=hour)) for hour in hours]
    with Builder(warehouse.context) as builder:
        list(builder.build_each(warehouse.dataset, partitions, close=True, actor="test"))


def verified(warehouse: LandingWarehouse) -> VerifyReport:
    return verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record)


def stored_temps(warehouse: LandingWarehouse) -> set[float]:
    """All temperatures in all files of the store, whether anybody can ask for them or not."""
    paths = [str(warehouse.store.path(name)) for name in warehouse.objects() if name.endswith(".parquet")]
    return {row[0] for row in duckdb.execute("SELECT DISTINCT temp FROM read_parquet(?)", [paths]).fetchall()}


def test_each_partition_has_its_rows_and_its_share_of_one_object(warehouse: LandingWarehouse) -> None:
    held, (name,) = segments(warehouse), warehouse.objects()
    assert {one.name for one in held} == {name}
    assert [(one.partition_start, one.first_row, one.rows) for one in held] == [
        (START + timedelta(hours=hour), 2 * hour, 2) for hour in range(HOURS)
    ]
    assert all(one.min_time == one.partition_start + timedelta(minutes=5) for one in held)
    assert all(one.max_time == one.partition_start + timedelta(minutes=35) for one in held)
    size = warehouse.store.size(name)
    assert sum(one.bytes for one in held) == size and {one.object_bytes for one in held} == {size}
    assert len(warehouse.rows()) == 2 * HOURS


def test_few_partitions_have_files_of_their_own(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("b.csv", content(range(3), 2))
    assert len(warehouse.objects()) == 1 + 3


def test_beside_a_process_that_does_not_know_shared_files_each_partition_has_its_own(warehouse: LandingWarehouse) -> None:
    old = warehouse.catalog.sessions.begin(warehouse.record.id, "build", holder="x", ttl=timedelta(hours=1))
    holder = marked("far-away:17@4711.0123456789ab").replace(" r0011", " r0010")
    own = sessions.update().where(sessions.c.id == old).values(holder=holder)
    warehouse.catalog.database.write(lambda c: c.execute(own))
    warehouse.land_one("b.csv", content(range(HOURS), 2))
    assert len(warehouse.objects()) == 1 + HOURS
    warehouse.catalog.sessions.end(old)
    warehouse.land_one("c.csv", content(range(HOURS), 3))
    assert len(warehouse.objects()) == 1 + HOURS + 1


def test_a_dataset_with_a_column_called_as_the_number_of_a_row_has_files_of_their_own(tmp_path: Path) -> None:
    made = LandingWarehouse.at(tmp_path, keyed("file_row_number"))
    header, *rest = content(range(HOURS)).split("\n")
    made.land_one("a.csv", "\n".join([f"{header},file_row_number", *(f"{line},0" for line in rest if line), ""]))
    assert len(made.objects()) == HOURS
    assert len(made.rows()) == 2 * HOURS
    made.catalog.close()


def test_the_object_goes_when_its_last_partition_is_built(warehouse: LandingWarehouse) -> None:
    before, (shared,) = warehouse.content_hash(), warehouse.objects()
    build(warehouse, range(HOURS - 1))
    warehouse.collect()
    assert shared in warehouse.objects()
    build(warehouse, range(HOURS - 1, HOURS))
    warehouse.collect()
    assert shared not in warehouse.objects()
    assert len(warehouse.objects()) == HOURS
    assert warehouse.content_hash() == before
    assert verified(warehouse).ok


def test_an_erased_row_is_in_no_file_though_it_shared_one(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("b.csv", content(range(1), 7) + content(range(1, HOURS), 8).split("\n", 1)[1])
    build(warehouse, range(2))
    report = Eraser(warehouse.context, warehouse.dataset, warehouse.record, "temp = 7").erase(
        dead_letters=False, archives=False, actor="test"
    )
    assert [(one.partition, one.rows) for one in report.partitions][:2] == [("2013-01-01-00:00", 2), ("2013-01-01-02:00", 0)]
    assert 7 not in stored_temps(warehouse)
    assert {row[0] for row in warehouse.rows("temp")} == {1, 8}
    assert verified(warehouse).ok


def test_a_damaged_object_is_found_once(warehouse: LandingWarehouse) -> None:
    (name,) = warehouse.objects()
    path = warehouse.store.path(name)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [(one.object, one.problem) for one in verified(warehouse).findings] == [(name, "digest")]
    path.unlink()
    (finding,) = verified(warehouse).findings
    assert (finding.object, finding.problem, finding.detail) == (name, "missing", "80 rows are gone")


def test_statistics_that_are_wrong_are_mended_by_the_rows_of_the_segment(warehouse: LandingWarehouse) -> None:
    s = segments_table.c
    later = segments_table.update().where(s.first_row == 6).values(max_time=s.max_time + 1)
    warehouse.catalog.database.write(lambda c: c.execute(later))
    report = verified(warehouse)
    assert [one.problem for one in report.findings] == ["times"]
    repair(
        warehouse.catalog,
        warehouse.storage,
        warehouse.limits,
        warehouse.record,
        report,
        grace=timedelta(days=1),
        execute=True,
        actor="test",
    )
    assert verified(warehouse).ok


def test_a_move_copies_the_object_once(warehouse: LandingWarehouse, tmp_path: Path) -> None:
    there = LocalStore(tmp_path / "there", staging_root=tmp_path / "there" / ".staging")
    storage = Storage({"default": lambda: warehouse.store, "there": lambda: there})
    size = sum(one.bytes for one in segments(warehouse))
    assert warehouse.catalog.moving.held(warehouse.record.id)["default"].objects == 1
    report = move(warehouse.catalog, storage, warehouse.record, "there", holder="test", actor="test")
    assert (report.objects, report.bytes) == (1, size)
    assert {one.storage for one in segments(warehouse)} == {"there"}
    assert verify(warehouse.catalog, storage, warehouse.limits, warehouse.record).ok


@pytest.mark.parametrize("batch_rows", [None, 7], ids=["one-batch", "gathered"])
def test_a_large_partition_among_small_ones_has_its_own_file(
    batch_rows: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SMALL_ROWS", 4)
    bulk = None if batch_rows is None else BulkLimits(batch_rows=batch_rows)
    made = LandingWarehouse.at(tmp_path, keyed(), bulk=bulk)
    more = [f"{(START + timedelta(hours=20, minutes=minute)).isoformat()},LGA,2" for minute in range(9)]
    header, *rest = content(range(HOURS)).strip().split("\n")
    mixed = rest[::-1] + more  # in no order of time, so that each batch has rows of many hours
    made.land_one("a.csv", "\n".join([header, *mixed, ""]))
    sizes = {len([one for one in segments(made) if one.name == name]) for name in made.objects()}
    assert sizes == {1, HOURS - 1}
    assert [(one.partition_start, one.rows) for one in segments(made)] == [
        (START + timedelta(hours=hour), 2 if hour != 20 else 11) for hour in range(HOURS)
    ]
    assert len(made.rows()) == len(mixed)
    assert made.catalog.manifest.version(made.record.id) == 1
    assert verified(made).ok
    made.catalog.close()

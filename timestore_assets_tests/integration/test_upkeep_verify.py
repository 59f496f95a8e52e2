"""Verification finds every way in which files can differ from the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DeadLetterFile
from timestore_assets.model.segment import ColumnStats, SegmentFormat
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.verify import VerifyReport, verify
from timestore_assets_tests.support.segment_store import segment_store
from timestore_assets_tests.support.upkeep_warehouse import UpkeepWarehouse

FORMATS: list[SegmentFormat] = ["parquet", "duckdb"]


@pytest.fixture
def warehouse(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[UpkeepWarehouse]:
    catalog = Catalog.open(sqlite_catalog_url)
    with segment_store(tmp_path) as storage:
        yield UpkeepWarehouse(catalog, storage)
    catalog.close()


def run(warehouse: UpkeepWarehouse) -> VerifyReport:
    record = warehouse.catalog.datasets.find("weather")
    assert record is not None
    return verify(warehouse.catalog, warehouse.storage, warehouse.limits, record)


def problems(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.object, finding.problem) for finding in report.findings]


@pytest.mark.parametrize("format", FORMATS)
def test_a_good_dataset_has_no_findings(warehouse: UpkeepWarehouse, format: SegmentFormat) -> None:
    warehouse.land(0, 100)
    warehouse.land(1, 50)
    warehouse.seal(0, format=format)
    report = run(warehouse)
    assert report.ok
    assert (report.segments, report.rows, report.hashed_partitions, report.orphans) == (2, 150, 1, ())
    assert report.bytes == sum(segment.bytes for segment in warehouse.ground.live())
    assert report.manifest_version == warehouse.catalog.manifest.version(warehouse.ground.id)


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_file(warehouse: UpkeepWarehouse, format: SegmentFormat) -> None:
    warehouse.land(0)
    name = warehouse.seal(0, format=format).name
    warehouse.damage(name, None)
    report = run(warehouse)
    assert problems(report) == [(name, "missing")]
    assert "10 rows are gone" in report.findings[0].detail


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content", [b"", b"x" * 50_000])
def test_a_file_of_rubbish(warehouse: UpkeepWarehouse, format: SegmentFormat, content: bytes) -> None:
    warehouse.land(0)
    name = warehouse.seal(0, format=format).name
    warehouse.damage(name, content)
    assert problems(run(warehouse)) == [(name, "bytes"), (name, "unreadable")]


def test_damage_inside_a_file(warehouse: UpkeepWarehouse) -> None:
    name = warehouse.land(0, 100_000).name
    content = warehouse.store.local_path(name).read_bytes()
    size = len(content)
    warehouse.damage(name, content[: size // 4] + bytes(size // 2) + content[size // 4 + size // 2 :])
    found = problems(run(warehouse))
    assert found
    assert set(found) <= {(name, "unreadable"), (name, "statistics"), (name, "times")}


def test_bounds_that_would_mislead_pruning(warehouse: UpkeepWarehouse) -> None:
    segment = warehouse.segment(0, 10, stats={"temp": ColumnStats(min=0.0, max=8.0), "origin": ColumnStats(min="JFK", max="JFK")})
    warehouse.ground.land("a", segment)
    report = run(warehouse)
    assert problems(report) == [(segment.name, "statistics")]
    assert report.findings[0].detail == "bounds or nulls of temp are not as catalogued"


def test_unknown_bounds_are_no_finding(warehouse: UpkeepWarehouse) -> None:
    warehouse.ground.land("a", warehouse.segment(0, 10, stats={"temp": ColumnStats(), "origin": ColumnStats(max="JFK")}))
    assert run(warehouse).ok


@pytest.mark.parametrize("format", FORMATS)
def test_another_number_of_rows(warehouse: UpkeepWarehouse, format: SegmentFormat) -> None:
    segment = warehouse.segment(0, 10, format=format)
    warehouse.ground.land("a", replace(segment, rows=11))
    assert problems(run(warehouse)) == [(segment.name, "rows")]


def test_times_that_would_mislead_pruning(warehouse: UpkeepWarehouse) -> None:
    segment = warehouse.segment(0, 10)
    warehouse.ground.land("a", replace(segment, max_time=segment.max_time - timedelta(minutes=1)))
    report = run(warehouse)
    assert problems(report) == [(segment.name, "times")]
    assert report.findings[0].detail == (
        "the file spans 2013-01-01T00:00:00Z to 2013-01-01T00:09:00Z,"
        " the catalog says 2013-01-01T00:00:00Z to 2013-01-01T00:08:00Z"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_one_changed_value_in_a_sealed_partition(warehouse: UpkeepWarehouse, format: SegmentFormat) -> None:
    warehouse.land(0, 1000)
    sealed = warehouse.seal(0, format=format)
    warehouse.store.delete([sealed.name])
    changed = f"SELECT * REPLACE (CASE WHEN __position = 500 THEN 1.5 ELSE temp END AS temp) FROM ({warehouse.rows(0, 1000)})"
    warehouse.write(sealed.name, changed, format=format)
    found = problems(run(warehouse))
    assert ("2013-01-01", "content") in found
    assert set(found) <= {("2013-01-01", "content"), (sealed.name, "bytes")}


def test_files_nobody_knows_are_listed_but_no_finding(warehouse: UpkeepWarehouse) -> None:
    warehouse.land(0)
    warehouse.write("weather/stray.parquet", warehouse.rows(0, 1))
    warehouse.write("other/stray.parquet", warehouse.rows(0, 1))
    unfinished = warehouse.segment(0, 1)
    report = run(warehouse)
    assert report.ok
    assert report.orphans == ("weather/stray.parquet",)
    assert unfinished.name in warehouse.names()


def test_missing_dead_letters(warehouse: UpkeepWarehouse) -> None:
    name = "weather/_deadletters/1.parquet"
    warehouse.catalog.sessions.announce(warehouse.ground.session, [name])
    segment = warehouse.segment(0, 10)
    letters = DeadLetterFile(name=name, rows=3, bytes=10, reasons={"bad_value": 3})
    warehouse.ground.land("a", segment, rows=13, dead_letter_files=(letters,))
    assert problems(run(warehouse)) == [(name, "missing")]


def test_the_version_is_pinned_while_it_is_read(warehouse: UpkeepWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build and a collection in the middle of it are no findings."""
    from timestore_assets.upkeep import inspect

    warehouse.land(0)
    read = inspect.SegmentReader.facts

    def facts(self: inspect.SegmentReader, segment: object) -> object:
        warehouse.seal(0)
        warehouse.catalog.sessions.end(warehouse.ground.session)
        collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        return read(self, segment)

    monkeypatch.setattr(inspect.SegmentReader, "facts", facts)
    assert run(warehouse).ok
    collected = collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    assert collected.superseded_segments == 1

"""Verification finds every way in which files can differ from the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.records import DeadLetterFile
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.model.segment import ColumnStats, SegmentFormat
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.verify import VerifyReport, verify
from timestore_assets_tests.storage_ground import storage_ground
from timestore_assets_tests.upkeep_ground import UpkeepGround

FORMATS: list[SegmentFormat] = ["parquet", "duckdb"]


@pytest.fixture
def ground(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[UpkeepGround]:
    catalog = SqlCatalog.open(sqlite_catalog_url)
    with storage_ground(tmp_path) as storage:
        yield UpkeepGround(catalog, storage)
    catalog.close()


def run(ground: UpkeepGround) -> VerifyReport:
    record = ground.catalog.dataset("weather")
    assert record is not None
    return verify(ground.catalog, ground.storage, ground.limits, record)


def problems(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.object, finding.problem) for finding in report.findings]


@pytest.mark.parametrize("format", FORMATS)
def test_a_good_dataset_has_no_findings(ground: UpkeepGround, format: SegmentFormat) -> None:
    ground.land(0, 100)
    ground.land(1, 50)
    ground.seal(0, format=format)
    report = run(ground)
    assert report.ok
    assert (report.segments, report.rows, report.hashed_partitions, report.orphans) == (2, 150, 1, ())
    assert report.bytes == sum(segment.bytes for segment in ground.ground.live())
    assert report.manifest_version == ground.catalog.manifest_version(ground.ground.id)


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_file(ground: UpkeepGround, format: SegmentFormat) -> None:
    ground.land(0)
    name = ground.seal(0, format=format).name
    ground.damage(name, None)
    report = run(ground)
    assert problems(report) == [(name, "missing")]
    assert "10 rows are gone" in report.findings[0].detail


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content", [b"", b"x" * 50_000])
def test_a_file_of_rubbish(ground: UpkeepGround, format: SegmentFormat, content: bytes) -> None:
    ground.land(0)
    name = ground.seal(0, format=format).name
    ground.damage(name, content)
    assert problems(run(ground)) == [(name, "bytes"), (name, "unreadable")]


def test_damage_inside_a_file(ground: UpkeepGround) -> None:
    name = ground.land(0, 100_000).name
    content = ground.store.local_path(name).read_bytes()
    size = len(content)
    ground.damage(name, content[: size // 4] + bytes(size // 2) + content[size // 4 + size // 2 :])
    found = problems(run(ground))
    assert found
    assert set(found) <= {(name, "unreadable"), (name, "statistics"), (name, "times")}


def test_bounds_that_would_mislead_pruning(ground: UpkeepGround) -> None:
    segment = ground.segment(0, 10, stats={"temp": ColumnStats(min=0.0, max=8.0), "origin": ColumnStats(min="JFK", max="JFK")})
    ground.ground.land("a", segment)
    report = run(ground)
    assert problems(report) == [(segment.name, "statistics")]
    assert report.findings[0].detail == "bounds or nulls of temp are not as catalogued"


def test_unknown_bounds_are_no_finding(ground: UpkeepGround) -> None:
    ground.ground.land("a", ground.segment(0, 10, stats={"temp": ColumnStats(), "origin": ColumnStats(max="JFK")}))
    assert run(ground).ok


@pytest.mark.parametrize("format", FORMATS)
def test_another_number_of_rows(ground: UpkeepGround, format: SegmentFormat) -> None:
    segment = ground.segment(0, 10, format=format)
    ground.ground.land("a", replace(segment, rows=11))
    assert problems(run(ground)) == [(segment.name, "rows")]


def test_times_that_would_mislead_pruning(ground: UpkeepGround) -> None:
    segment = ground.segment(0, 10)
    ground.ground.land("a", replace(segment, max_time=segment.max_time - timedelta(minutes=1)))
    report = run(ground)
    assert problems(report) == [(segment.name, "times")]
    assert report.findings[0].detail == (
        "the file spans 2013-01-01T00:00:00Z to 2013-01-01T00:09:00Z,"
        " the catalog says 2013-01-01T00:00:00Z to 2013-01-01T00:08:00Z"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_one_changed_value_in_a_sealed_partition(ground: UpkeepGround, format: SegmentFormat) -> None:
    ground.land(0, 1000)
    sealed = ground.seal(0, format=format)
    ground.store.delete([sealed.name])
    changed = f"SELECT * REPLACE (CASE WHEN __position = 500 THEN 1.5 ELSE temp END AS temp) FROM ({ground.rows(0, 1000)})"
    ground.write(sealed.name, changed, format=format)
    found = problems(run(ground))
    assert ("2013-01-01", "content") in found
    assert set(found) <= {("2013-01-01", "content"), (sealed.name, "bytes")}


def test_files_nobody_knows_are_listed_but_no_finding(ground: UpkeepGround) -> None:
    ground.land(0)
    ground.write("weather/stray.parquet", ground.rows(0, 1))
    ground.write("other/stray.parquet", ground.rows(0, 1))
    unfinished = ground.segment(0, 1)
    report = run(ground)
    assert report.ok
    assert report.orphans == ("weather/stray.parquet",)
    assert unfinished.name in ground.names()


def test_missing_dead_letters(ground: UpkeepGround) -> None:
    name = "weather/_deadletters/1.parquet"
    ground.catalog.announce(ground.ground.session, [name])
    segment = ground.segment(0, 10)
    letters = DeadLetterFile(name=name, rows=3, bytes=10, reasons={"bad_value": 3})
    ground.ground.land("a", segment, rows=13, dead_letter_files=(letters,), intents=(segment.name, name))
    assert problems(run(ground)) == [(name, "missing")]


def test_the_version_is_pinned_while_it_is_read(ground: UpkeepGround, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build and a collection in the middle of it are no findings."""
    from timestore_assets.upkeep import inspect

    ground.land(0)
    read = inspect.SegmentReader.facts

    def facts(self: inspect.SegmentReader, segment: object) -> object:
        ground.seal(0)
        ground.catalog.end_session(ground.ground.session)
        collect(ground.catalog, ground.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        return read(self, segment)  # type: ignore[arg-type]

    monkeypatch.setattr(inspect.SegmentReader, "facts", facts)
    assert run(ground).ok
    collected = collect(ground.catalog, ground.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    assert collected.superseded_segments == 1

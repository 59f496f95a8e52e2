"""Landing sessions: what a file's content, address, lease and position decide, on both catalogs where that may differ."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from timestore_assets.catalog.records import Counters
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.landing.batch_landing import BatchLanding
from timestore_assets.landing.report import FileReport
from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import ConflictError, RefusedError, UnavailableError, UnknownOutcomeError
from timestore_assets.model.schema import PROVENANCE_COLUMNS
from timestore_assets.model.window import Window
from timestore_assets_tests.landing_ground import Ground, columns, dataset

HEADER = "ts,station,temp\n"
FIRST = HEADER + "2013-01-05T06:00:00,JFK,1\n2013-01-06T06:00:00,JFK,2\n"
SECOND = HEADER + "2013-01-06T06:00:00,EWR,3\n"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground.at(tmp_path, dataset())
    yield made
    made.catalog.close()


def with_source(ground: Ground, **changes: Any) -> Ground:
    return replace(ground, source=replace(ground.source, **changes))


def numbered(rows: int) -> str:
    """A CSV file of so many different records over January, some of them bad."""
    lines = (f"2013-01-{number % 31 + 1:02}T00:00:00,S{number},{number % 250}.5\n" for number in range(rows))
    return HEADER + "".join(lines)


# --- what is stored


def test_rows_carry_where_they_came_from(ground: Ground) -> None:
    ground.land_one("a.csv", FIRST)
    ground.land_one("b.csv", SECOND)
    names = ", ".join(PROVENANCE_COLUMNS)
    paths = [str(ground.store.local_path(segment.name)) for segment in ground.catalog.segments(ground.record.id)]
    found = duckdb.sql(f"SELECT station, {names} FROM read_parquet({paths}) ORDER BY ALL").fetchall()
    assert found == [("EWR", 2, 16, 2), ("JFK", 1, 16, 1), ("JFK", 1, 42, 1)]
    assert FIRST.encode()[42:].startswith(b"2013-01-06")


def test_segments_say_what_is_in_them(ground: Ground) -> None:
    ground.land_one("a.csv", FIRST)
    first, second = ground.catalog.segments(ground.record.id)
    assert first.name.startswith("weather/2013-01-05/delta-1-0-68-")
    assert (first.rows, first.kind, first.format, first.source_ids) == (1, "delta", "parquet", (1,))
    assert first.min_time == first.max_time == datetime(2013, 1, 5, 6, tzinfo=UTC)
    assert first.bytes == ground.store.local_path(first.name).stat().st_size
    assert (second.stats["station"].min, second.stats["temp"].max, second.stats["temp"].nulls) == ("JFK", 2.0, 0)


@pytest.mark.parametrize("window", list(Window))
def test_every_window_routes_like_the_model(tmp_path: Path, window: Window) -> None:
    ground = Ground.at(tmp_path, dataset(window=window, start=datetime(1960, 1, 1, tzinfo=UTC)))
    times = np.random.default_rng(7).integers(-(10**8), 10**9, 500) * 1_000_000
    table = pa.table({"ts": pa.array(times, pa.timestamp("us")), "station": ["JFK"] * 500})
    ground.land_one("a.parquet", table)
    expected: dict[datetime, int] = {}
    for micros in times:
        start = window.start_of(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros)))
        expected[start] = expected.get(start, 0) + 1
    found = {segment.partition_start: segment.rows for segment in ground.catalog.segments(ground.record.id)}
    assert found == expected
    assert len(ground.rows("ts")) == 500


def test_one_batch_over_very_many_partitions(tmp_path: Path) -> None:
    ground = Ground.at(tmp_path, dataset(window=Window.HOUR, start=datetime(2000, 1, 1, tzinfo=UTC)))
    hours = np.random.default_rng(3).permutation(800)
    times = pa.array(hours * 3_600_000_000 + 1_000_000_000_000_000, pa.timestamp("us"))
    report = ground.land(ground.drop("a.parquet", pa.table({"ts": times, "station": ["JFK"] * 800})))
    assert len(report.partitions) == 800
    assert report.partitions == tuple(sorted(report.partitions))
    assert len(ground.rows("ts")) == 800


# --- what a file is


def test_landing_again_changes_nothing(ground: Ground) -> None:
    path = ground.drop("a.csv", FIRST)
    ground.land(path)
    version, objects = ground.catalog.manifest_version(ground.record.id), ground.objects()
    report = ground.land(path)
    assert report.files[0].state == "duplicate"
    assert report.counters == Counters(read=2, duplicates=2)
    assert (ground.catalog.manifest_version(ground.record.id), ground.objects()) == (version, objects)
    assert ground.counters() == Counters(read=2, landed=2)


def test_same_content_under_another_name_counts_as_duplicates_once(ground: Ground) -> None:
    ground.land_one("a.csv", FIRST)
    copied = ground.drop("b.csv", FIRST)
    report = ground.land(copied).files[0]
    assert (report.state, report.counters) == ("duplicate", Counters(read=2, duplicates=2))
    assert "a.csv" in report.reason
    assert ground.land(copied).counters == Counters()
    assert ground.counters() == Counters(read=4, landed=2, duplicates=2)


def test_changed_content_is_rejected_by_default(ground: Ground) -> None:
    ground.land_one("a.csv", FIRST)
    report = ground.land_one("a.csv", SECOND)
    assert report.state == "rejected"
    assert "on_change: replace" in report.reason
    assert len(ground.rows("ts")) == 2


def test_changed_content_replaces_all_at_once(ground: Ground) -> None:
    ground = with_source(ground, on_change="replace")
    path = ground.drop("a.csv", numbered(100))
    ground.land(path)
    seen: list[int] = []

    class Watch:
        def file_started(self, address: str, size_bytes: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...
        def advanced(self, address: str, bytes_read: int, rows: int) -> None:
            seen.append(len(ground.rows("ts")))

    before = len(ground.rows("ts"))
    path.write_text(numbered(40).replace("S", "T"))
    report = ground.land(path, chunk_rows=10, progress=Watch())
    assert report.files[0].state == "landed"
    assert seen == [before] * 3 + [40]
    assert {row[0][0] for row in ground.rows("station")} == {"T"}
    assert ground.counters().balanced


def test_replacement_cut_short_by_a_crash_goes_on(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = with_source(ground, on_change="replace")
    path = ground.drop("a.csv", numbered(50))
    ground.land(path)
    before = len(ground.rows("ts"))
    path.write_text(numbered(40).replace("S", "T"))
    crash_after(monkeypatch, batches=2)
    with pytest.raises(Crash):
        ground.land(path, chunk_rows=10)
    monkeypatch.undo()
    assert len(ground.rows("ts")) == before
    report = ground.land(path, chunk_rows=7)  # waits for the lease of the session that ended
    assert report.counters.read == 20
    assert len(ground.rows("ts")) == 40
    assert {row[0][0] for row in ground.rows("station")} == {"T"}


def test_quarantined_file_is_taken_when_its_content_changes(ground: Ground) -> None:
    path = ground.drop("a.csv", "x,y\n1,2\n")
    assert ground.land(path).files[0].state == "quarantined"
    path.write_text(FIRST)
    assert ground.land(path).files[0].state == "landed"


def test_quarantined_file_is_taken_when_the_declaration_fits_now(ground: Ground) -> None:
    path = ground.drop("a.csv", "ts,station,temp,v\n2013-01-05,JFK,1,2\n")
    stricter = ground.with_dataset(dataset(*columns(w="int64")))
    assert stricter.land(path).files[0].state == "quarantined"
    # nothing had landed, so the declaration may change in any way
    assert ground.land(path).files[0].state == "landed"


def test_bad_part_of_a_file_keeps_what_was_landed_before_it(ground: Ground) -> None:
    content = numbered(60).encode()
    import gzip

    packed = gzip.compress(content[: len(content) // 2]) + b"\x1f\x8b\x08\x00garbage"
    report = ground.land_one("a.csv.gz", packed, chunk_rows=5)
    assert report.state == "quarantined"
    assert report.counters.balanced
    assert len(ground.rows("ts")) == report.counters.landed
    assert ground.counters() == report.counters


def test_file_that_changes_while_it_is_read_is_left_for_later(ground: Ground) -> None:
    path = ground.drop("a.csv", numbered(100))

    class Meddler:
        def file_started(self, address: str, size_bytes: int) -> None:
            path.write_text(FIRST)

        def advanced(self, address: str, bytes_read: int, rows: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...

    report = ground.land(path, progress=Meddler()).files[0]
    assert report.state == "pending"
    assert "changed" in report.reason
    assert ground.counters() == Counters()
    assert ground.land(path).files[0].state == "landed"
    assert len(ground.rows("ts")) == 2


@pytest.mark.parametrize(("after", "left"), [("keep", ["a.csv"]), ("delete", []), ("rename", ["a.csv.processed"])])
def test_after_landing(ground: Ground, after: Any, left: list[str]) -> None:
    ground = with_source(ground, after=after)
    ground.land_one("a.csv", FIRST)
    assert sorted(path.name for path in ground.inbox.iterdir()) == left
    # dropped again: known, and put away again
    ground.land_one("a.csv", FIRST)
    assert len(ground.rows("ts")) == 2
    if after == "rename":
        assert sorted(path.name for path in ground.inbox.iterdir()) == ["a.csv.1.processed", "a.csv.processed"]


def test_bad_file_is_never_put_away(ground: Ground) -> None:
    ground = with_source(ground, after="delete")
    ground.land_one("a.csv", "x\n1\n")
    assert (ground.inbox / "a.csv").exists()


def test_addresses_are_relative_to_the_source_or_absolute(ground: Ground, tmp_path: Path) -> None:
    (ground.inbox / "deep").mkdir()
    outside = tmp_path / "elsewhere.csv"
    outside.write_text(SECOND)
    report = ground.land(ground.drop("deep/a.csv", FIRST), outside)
    assert [file.address for file in report.files] == ["deep/a.csv", outside.as_posix()]


def test_strict_order_is_refused_for_files(ground: Ground) -> None:
    strict = ground.with_dataset(replace(ground.dataset, order="strict"))
    with pytest.raises(RefusedError, match="order: any"):
        strict.land_one("a.csv", FIRST)


# --- formats


def test_envelopes_land_once_by_their_key(ground: Ground) -> None:
    def envelope(key: str | None, *stations: str) -> str:
        records = [{"ts": "2013-01-05T06:00:00Z", "station": station} for station in stations]
        return json.dumps({"offset": 1, **({"idempotencyKey": key} if key else {}), "ingestion": {"records": records}}) + "\n"

    first = envelope("k1", "A", "B") + envelope("k2", "C") + envelope("k1", "A", "B") + envelope("k2", "D") + envelope(None, "E")
    ground.land_one("a.jsonl", first, format="envelopes")
    assert [row[0] for row in ground.rows("station")] == ["A", "B", "C", "E"]
    assert ground.counters() == Counters(read=7, landed=4, duplicates=2, dead_letters=1)
    second = envelope("k1", "A", "B") + envelope("k3", "F") + envelope("k2", "X") + envelope(None, "E")
    ground.land_one("b.jsonl", second, format="envelopes", chunk_rows=1)
    assert [row[0] for row in ground.rows("station")] == ["A", "B", "C", "E", "F", "E"]
    assert ground.codes() == ["key_reused", "key_reused"]
    assert ground.counters() == Counters(read=12, landed=6, duplicates=4, dead_letters=2)


# --- races and faults


class Crash(BaseException):
    """Ends a landing the way a kill does: nothing that handles errors sees it."""


def crash_after(monkeypatch: pytest.MonkeyPatch, *, batches: int) -> None:
    landed = 0
    whole = BatchLanding.land

    def land(self: BatchLanding, batch: Any, effects: Any) -> Counters:
        nonlocal landed
        if landed == batches:
            raise Crash
        landed += 1
        return whole(self, batch, effects)

    monkeypatch.setattr(BatchLanding, "land", land)


def test_resumes_at_the_last_commit(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ground.drop("a.csv", numbered(100))
    crash_after(monkeypatch, batches=3)
    with pytest.raises(Crash):
        ground.land(path, chunk_rows=10)
    monkeypatch.undo()
    assert ground.counters().read == 30
    report = ground.land(path)
    assert report.counters.read == 70
    assert ground.counters() == Counters(read=100, landed=len(ground.rows("ts")), dead_letters=len(ground.letters()))


def test_many_sessions_at_once_land_each_file_once(catalog_url: str, tmp_path: Path) -> None:
    ground = Ground.at(tmp_path, dataset(), url=catalog_url)
    paths = [ground.drop(f"{number}.csv", numbered(20).replace("S", f"F{number}-")) for number in range(6)]
    ground.catalog.register(ground.dataset, actor="test")
    reports: list[FileReport] = []
    failures: list[BaseException] = []

    def work(shift: int) -> None:
        try:
            reports.extend(ground.land(*paths[shift:], *paths[:shift], chunk_rows=5).files)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in (0, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    total = sum((report.counters for report in reports), Counters())
    assert replace(total, read=total.read - total.duplicates, duplicates=0) == Counters(read=120, landed=120)
    assert ground.counters() == Counters(read=120, landed=120)
    assert len(set(ground.rows("station"))) == len(ground.rows("station")) == 120
    ground.catalog.close()


def test_two_sessions_that_evolve_at_once_both_land(catalog_url: str, tmp_path: Path) -> None:
    ground = Ground.at(tmp_path, dataset(), url=catalog_url)
    ground.catalog.register(ground.dataset, actor="test")
    files = [
        ground.drop(f"{name}.csv", f"ts,station,{name},common\n2013-01-05,JFK,1,{value}\n")
        for name, value in (("a", "1"), ("b", "2.5"), ("c", "x"), ("d", "true"))
    ]
    started = threading.Barrier(len(files))
    failures: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            started.wait(30)
            ground.land(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(path,)) for path in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert set(ground.record.schema.names) == {"ts", "station", "temp", "a", "b", "c", "d", "common"}
    assert str(ground.record.schema.column("common").type) == "string"
    assert sorted(row[0] for row in ground.rows("common")) == ["1", "2.5", "true", "x"]
    ground.catalog.close()


class Faulty:
    """A real catalog whose commits fail as told: each plan entry is an error to raise, before or after the commit happens."""

    def __init__(self, catalog: SqlCatalog, plan: list[tuple[str, BaseException]]) -> None:
        self._catalog, self.plan = catalog, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def commit_landing(self, commit: Any) -> int:
        if not self.plan:
            return self._catalog.commit_landing(commit)
        when, error = self.plan.pop(0)
        if when == "after":
            self._catalog.commit_landing(commit)
        raise error


@pytest.mark.parametrize(
    "plan",
    [
        [("before", UnavailableError("away"))],
        [("before", UnavailableError("away")), ("before", UnavailableError("away"))],
        [("before", UnknownOutcomeError("cut"))],
        [("after", UnknownOutcomeError("cut"))],
        [("before", ConflictError("schema"))],
    ],
    ids=["away", "away twice", "unknown, not done", "unknown, done", "conflict"],
)
def test_faults_of_a_commit_neither_lose_nor_repeat_rows(ground: Ground, plan: list[tuple[str, BaseException]]) -> None:
    faulty = replace(ground, catalog=Faulty(ground.catalog, plan))  # type: ignore[arg-type]
    report = faulty.land_one("a.csv", numbered(50), chunk_rows=20)
    assert plan == []
    assert report.state == "landed"
    assert ground.counters() == report.counters
    assert ground.counters().read == 50
    assert len(ground.rows("ts")) == ground.counters().landed
    ground.collect()
    segments = {segment.name for segment in ground.catalog.segments(ground.record.id)}
    letters = {found.name for _, found, _ in ground.catalog.dead_letter_files(ground.record.id)}
    assert ground.objects() == segments | letters


def test_session_that_lost_its_file_stops_without_a_word_too_many(ground: Ground) -> None:
    path = ground.drop("a.csv", numbered(50))

    class Thief:
        def __init__(self) -> None:
            self.stolen = False

        def file_started(self, address: str, size_bytes: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...
        def advanced(self, address: str, bytes_read: int, rows: int) -> None:
            if not self.stolen:
                self.stolen = True
                ground.catalog.acquire = lambda *_, **__: lease  # type: ignore[method-assign]
                ground.land(path)

    # a lease that was lost without notice: both sessions believe to hold the file
    lease = ground.catalog.acquire("other", holder="x", ttl=timedelta(minutes=1))
    report = ground.land(path, chunk_rows=10, progress=Thief()).files[0]
    assert report.state == "landing"
    assert report.counters.read == 10
    assert ground.counters().read == 50
    assert len(ground.rows("ts")) == ground.counters().landed


def test_file_landed_by_another_session_is_skipped(ground: Ground) -> None:
    path = ground.drop("a.csv", numbered(5))
    ground.catalog.register(ground.dataset, actor="test")
    held = ground.catalog.acquire("source_partition:1", holder="somebody else", ttl=timedelta(minutes=1))
    impatient = replace(ground, ttl=timedelta(milliseconds=200))
    report = impatient.land(path).files[0]
    assert (report.state, report.reason) == ("landing", "another session is landing it")
    assert held is not None
    ground.catalog.release(held)
    assert ground.land(path).files[0].state == "landed"


def test_report_of_a_call(ground: Ground) -> None:
    report = ground.land(ground.drop("a.csv", FIRST + "x,JFK,1\n"), ground.drop("b.csv", SECOND), ground.drop("c.csv", FIRST))
    assert report.partitions == ("2013-01-05", "2013-01-06")
    assert report.dead_letter_reasons == {"bad_value": 1}
    assert report.counters == Counters(read=6, landed=5, dead_letters=1)
    assert report.manifest_version == ground.catalog.manifest_version(ground.record.id) == 3
    assert report.seconds > 0


def test_source_is_the_one_that_was_given(ground: Ground) -> None:
    other = replace(ground, source=FileSource(prefix="other"))
    other.land_one("a.csv", FIRST)
    assert [found.address for found in ground.catalog.sources(ground.record.id)] == ["other/**/*"]


def test_columns_a_session_adds_itself_make_no_batch_be_done_twice(ground: Ground) -> None:
    lines = [f"2013-01-0{number % 9 + 1},JFK,{number if number < 8 else number / 2}" for number in range(1, 17)]
    ground.land(ground.drop("a.csv", "\n".join(["ts,station,more", *lines]) + "\n"), chunk_rows=4)
    named = {segment.name for segment in ground.catalog.segments(ground.record.id)}
    assert ground.counters().landed == 16
    assert ground.objects() == named

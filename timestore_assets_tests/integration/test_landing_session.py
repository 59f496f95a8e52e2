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

from timestore_assets.catalog.commits import Commits
from timestore_assets.landing.committing.batch_commit import BatchCommit
from timestore_assets.landing.files.land_report import FileReport
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import ConflictError, UnavailableError, UnknownOutcomeError
from timestore_assets.model.schema import PROVENANCE_COLUMNS
from timestore_assets.model.window import Window
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

HEADER = "ts,station,temp\n"
FIRST = HEADER + "2013-01-05T06:00:00,JFK,1\n2013-01-06T06:00:00,JFK,2\n"
SECOND = HEADER + "2013-01-06T06:00:00,EWR,3\n"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[LandingWarehouse]:
    made = LandingWarehouse.at(tmp_path, dataset())
    yield made
    made.catalog.close()


def with_source(warehouse: LandingWarehouse, **changes: Any) -> LandingWarehouse:
    return replace(warehouse, source=replace(warehouse.source, **changes))


def numbered(rows: int) -> str:
    """A CSV file of so many different records over January, some of them bad."""
    lines = (f"2013-01-{number % 31 + 1:02}T00:00:00,S{number},{number % 250}.5\n" for number in range(rows))
    return HEADER + "".join(lines)


# --- what is stored


def test_rows_carry_where_they_came_from(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", FIRST)
    warehouse.land_one("b.csv", SECOND)
    names = ", ".join(PROVENANCE_COLUMNS)
    paths = [
        str(warehouse.store.local_path(segment.name)) for segment in warehouse.catalog.manifest.segments(warehouse.record.id)
    ]
    found = duckdb.sql(f"SELECT station, {names} FROM read_parquet({paths}) ORDER BY ALL").fetchall()
    assert found == [("EWR", 2, 16, 2), ("JFK", 1, 16, 1), ("JFK", 1, 42, 1)]
    assert FIRST.encode()[42:].startswith(b"2013-01-06")


def test_segments_say_what_is_in_them(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", FIRST)
    first, second = warehouse.catalog.manifest.segments(warehouse.record.id)
    assert first.name.startswith("weather/2013-01-05/delta-1-0-68-")
    assert (first.rows, first.kind, first.format, first.source_ids) == (1, "delta", "parquet", (1,))
    assert first.min_time == first.max_time == datetime(2013, 1, 5, 6, tzinfo=UTC)
    assert first.bytes == warehouse.store.local_path(first.name).stat().st_size
    assert (second.stats["station"].min, second.stats["temp"].max, second.stats["temp"].nulls) == ("JFK", 2.0, 0)


@pytest.mark.parametrize("window", list(Window))
def test_every_window_routes_like_the_model(tmp_path: Path, window: Window) -> None:
    warehouse = LandingWarehouse.at(tmp_path, dataset(window=window, start=datetime(1960, 1, 1, tzinfo=UTC)))
    times = np.random.default_rng(7).integers(-(10**8), 10**9, 500) * 1_000_000
    table = pa.table({"ts": pa.array(times, pa.timestamp("us")), "station": ["JFK"] * 500})
    warehouse.land_one("a.parquet", table)
    expected: dict[datetime, int] = {}
    for micros in times:
        start = window.start_of(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros)))
        expected[start] = expected.get(start, 0) + 1
    found = {segment.partition_start: segment.rows for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    assert found == expected
    assert len(warehouse.rows("ts")) == 500


def test_one_batch_over_very_many_partitions(tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, dataset(window=Window.HOUR, start=datetime(2000, 1, 1, tzinfo=UTC)))
    hours = np.random.default_rng(3).permutation(800)
    times = pa.array(hours * 3_600_000_000 + 1_000_000_000_000_000, pa.timestamp("us"))
    report = warehouse.land(warehouse.drop("a.parquet", pa.table({"ts": times, "station": ["JFK"] * 800})))
    assert len(report.partitions) == 800
    assert report.partitions == tuple(sorted(report.partitions))
    assert len(warehouse.rows("ts")) == 800


# --- what a file is


def test_landing_again_changes_nothing(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", FIRST)
    warehouse.land(path)
    version, objects = warehouse.catalog.manifest.version(warehouse.record.id), warehouse.objects()
    report = warehouse.land(path)
    assert report.files[0].state == "duplicate"
    assert report.counters == Counters(read=2, duplicates=2)
    assert (warehouse.catalog.manifest.version(warehouse.record.id), warehouse.objects()) == (version, objects)
    assert warehouse.counters() == Counters(read=2, landed=2)


def test_same_content_under_another_name_counts_as_duplicates_once(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", FIRST)
    copied = warehouse.drop("b.csv", FIRST)
    report = warehouse.land(copied).files[0]
    assert (report.state, report.counters) == ("duplicate", Counters(read=2, duplicates=2))
    assert "a.csv" in report.reason
    assert warehouse.land(copied).counters == Counters()
    assert warehouse.counters() == Counters(read=4, landed=2, duplicates=2)


def test_changed_content_is_rejected_by_default(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.csv", FIRST)
    report = warehouse.land_one("a.csv", SECOND)
    assert report.state == "rejected"
    assert "on_change: replace" in report.reason
    assert len(warehouse.rows("ts")) == 2


def test_changed_content_replaces_all_at_once(warehouse: LandingWarehouse) -> None:
    warehouse = with_source(warehouse, on_change="replace")
    path = warehouse.drop("a.csv", numbered(100))
    warehouse.land(path)
    seen: list[int] = []

    class Watch:
        def file_started(self, address: str, size_bytes: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...
        def advanced(self, address: str, bytes_read: int, rows: int) -> None:
            seen.append(len(warehouse.rows("ts")))

    before = len(warehouse.rows("ts"))
    path.write_text(numbered(40).replace("S", "T"))
    report = warehouse.land(path, chunk_rows=10, progress=Watch())
    assert report.files[0].state == "landed"
    assert seen == [before] * 3 + [40]
    assert {row[0][0] for row in warehouse.rows("station")} == {"T"}
    assert warehouse.counters().balanced


def test_replacement_cut_short_by_a_crash_goes_on(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = with_source(warehouse, on_change="replace")
    path = warehouse.drop("a.csv", numbered(50))
    warehouse.land(path)
    before = len(warehouse.rows("ts"))
    path.write_text(numbered(40).replace("S", "T"))
    crash_after(monkeypatch, batches=2)
    with pytest.raises(Crash):
        warehouse.land(path, chunk_rows=10)
    monkeypatch.undo()
    assert len(warehouse.rows("ts")) == before
    report = warehouse.land(path, chunk_rows=7)  # waits for the lease of the session that ended
    assert report.counters.read == 20
    assert len(warehouse.rows("ts")) == 40
    assert {row[0][0] for row in warehouse.rows("station")} == {"T"}


def test_quarantined_file_is_taken_when_its_content_changes(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", "x,y\n1,2\n")
    assert warehouse.land(path).files[0].state == "quarantined"
    path.write_text(FIRST)
    assert warehouse.land(path).files[0].state == "landed"


def test_quarantined_file_is_taken_when_the_declaration_fits_now(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", "ts,station,temp,v\n2013-01-05,JFK,1,2\n")
    stricter = warehouse.with_dataset(dataset(*columns(w="int64")))
    assert stricter.land(path).files[0].state == "quarantined"
    # nothing had landed, so the declaration may change in any way
    assert warehouse.land(path).files[0].state == "landed"


def test_bad_part_of_a_file_keeps_what_was_landed_before_it(warehouse: LandingWarehouse) -> None:
    content = numbered(60).encode()
    import gzip

    packed = gzip.compress(content[: len(content) // 2]) + b"\x1f\x8b\x08\x00garbage"
    report = warehouse.land_one("a.csv.gz", packed, chunk_rows=5)
    assert report.state == "quarantined"
    assert report.counters.balanced
    assert len(warehouse.rows("ts")) == report.counters.landed
    assert warehouse.counters() == report.counters


def test_file_that_changes_while_it_is_read_is_left_for_later(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", numbered(100))

    class Meddler:
        def file_started(self, address: str, size_bytes: int) -> None:
            path.write_text(FIRST)

        def advanced(self, address: str, bytes_read: int, rows: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...

    report = warehouse.land(path, progress=Meddler()).files[0]
    assert report.state == "pending"
    assert "changed" in report.reason
    assert warehouse.counters() == Counters()
    assert warehouse.land(path).files[0].state == "landed"
    assert len(warehouse.rows("ts")) == 2


@pytest.mark.parametrize(("after", "left"), [("keep", ["a.csv"]), ("delete", []), ("rename", ["a.csv.processed"])])
def test_after_landing(warehouse: LandingWarehouse, after: Any, left: list[str]) -> None:
    warehouse = with_source(warehouse, after=after)
    warehouse.land_one("a.csv", FIRST)
    assert sorted(path.name for path in warehouse.inbox.iterdir()) == left
    # dropped again: known, and put away again
    warehouse.land_one("a.csv", FIRST)
    assert len(warehouse.rows("ts")) == 2
    if after == "rename":
        assert sorted(path.name for path in warehouse.inbox.iterdir()) == ["a.csv.1.processed", "a.csv.processed"]


def test_bad_file_is_never_put_away(warehouse: LandingWarehouse) -> None:
    warehouse = with_source(warehouse, after="delete")
    warehouse.land_one("a.csv", "x\n1\n")
    assert (warehouse.inbox / "a.csv").exists()


def test_addresses_are_relative_to_the_source_or_absolute(warehouse: LandingWarehouse, tmp_path: Path) -> None:
    (warehouse.inbox / "deep").mkdir()
    outside = tmp_path / "elsewhere.csv"
    outside.write_text(SECOND)
    report = warehouse.land(warehouse.drop("deep/a.csv", FIRST), outside)
    assert [file.address for file in report.files] == ["deep/a.csv", outside.as_posix()]


# --- formats


def test_envelopes_land_once_by_their_key(warehouse: LandingWarehouse) -> None:
    def envelope(key: str | None, *stations: str) -> str:
        records = [{"ts": "2013-01-05T06:00:00Z", "station": station} for station in stations]
        return json.dumps({"offset": 1, **({"idempotencyKey": key} if key else {}), "ingestion": {"records": records}}) + "\n"

    first = envelope("k1", "A", "B") + envelope("k2", "C") + envelope("k1", "A", "B") + envelope("k2", "D") + envelope(None, "E")
    warehouse.land_one("a.jsonl", first, format="envelopes")
    assert [row[0] for row in warehouse.rows("station")] == ["A", "B", "C", "E"]
    assert warehouse.counters() == Counters(read=7, landed=4, duplicates=2, dead_letters=1)
    second = envelope("k1", "A", "B") + envelope("k3", "F") + envelope("k2", "X") + envelope(None, "E")
    warehouse.land_one("b.jsonl", second, format="envelopes", chunk_rows=1)
    assert [row[0] for row in warehouse.rows("station")] == ["A", "B", "C", "E", "F", "E"]
    assert warehouse.codes() == ["key_reused", "key_reused"]
    assert warehouse.counters() == Counters(read=12, landed=6, duplicates=4, dead_letters=2)


# --- races and faults


class Crash(BaseException):
    """Ends a landing the way a kill does: nothing that handles errors sees it."""


def crash_after(monkeypatch: pytest.MonkeyPatch, *, batches: int) -> None:
    landed = 0
    whole = BatchCommit.land

    def land(self: BatchCommit, batch: Any) -> Counters:
        nonlocal landed
        if landed == batches:
            raise Crash
        landed += 1
        return whole(self, batch)

    monkeypatch.setattr(BatchCommit, "land", land)


def test_resumes_at_the_last_commit(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    path = warehouse.drop("a.csv", numbered(100))
    crash_after(monkeypatch, batches=3)
    with pytest.raises(Crash):
        warehouse.land(path, chunk_rows=10)
    monkeypatch.undo()
    assert warehouse.counters().read == 30
    report = warehouse.land(path)
    assert report.counters.read == 70
    assert warehouse.counters() == Counters(read=100, landed=len(warehouse.rows("ts")), dead_letters=len(warehouse.letters()))


def test_many_sessions_at_once_land_each_file_once(catalog_url: str, tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, dataset(), url=catalog_url)
    paths = [warehouse.drop(f"{number}.csv", numbered(20).replace("S", f"F{number}-")) for number in range(6)]
    warehouse.catalog.datasets.register(warehouse.dataset, actor="test")
    reports: list[FileReport] = []
    failures: list[BaseException] = []

    def work(shift: int) -> None:
        try:
            reports.extend(warehouse.land(*paths[shift:], *paths[:shift], chunk_rows=5).files)
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
    assert warehouse.counters() == Counters(read=120, landed=120)
    assert len(set(warehouse.rows("station"))) == len(warehouse.rows("station")) == 120
    warehouse.catalog.close()


def test_two_sessions_that_evolve_at_once_both_land(catalog_url: str, tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, dataset(), url=catalog_url)
    warehouse.catalog.datasets.register(warehouse.dataset, actor="test")
    files = [
        warehouse.drop(f"{name}.csv", f"ts,station,{name},common\n2013-01-05,JFK,1,{value}\n")
        for name, value in (("a", "1"), ("b", "2.5"), ("c", "x"), ("d", "true"))
    ]
    started = threading.Barrier(len(files))
    failures: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            started.wait(30)
            warehouse.land(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(path,)) for path in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    assert set(warehouse.record.schema.names) == {"ts", "station", "temp", "a", "b", "c", "d", "common"}
    assert str(warehouse.record.schema.column("common").type) == "string"
    assert sorted(row[0] for row in warehouse.rows("common")) == ["1", "2.5", "true", "x"]
    warehouse.catalog.close()


class Faulty:
    """Commits that fail as told: each plan entry is an error to raise, before or after the commit happens."""

    def __init__(self, commits: Commits, plan: list[tuple[str, BaseException]]) -> None:
        self._commits, self.plan = commits, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commits, name)

    def land(self, commit: Any) -> int:
        if not self.plan:
            return self._commits.land(commit)
        when, error = self.plan.pop(0)
        if when == "after":
            self._commits.land(commit)
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
def test_faults_of_a_commit_neither_lose_nor_repeat_rows(
    warehouse: LandingWarehouse, plan: list[tuple[str, BaseException]]
) -> None:
    commits = Faulty(warehouse.catalog.commits, plan)
    faulty = replace(warehouse, catalog=replace(warehouse.catalog, commits=commits))
    report = faulty.land_one("a.csv", numbered(50), chunk_rows=20)
    assert plan == []
    assert report.state == "landed"
    assert warehouse.counters() == report.counters
    assert warehouse.counters().read == 50
    assert len(warehouse.rows("ts")) == warehouse.counters().landed
    warehouse.collect()
    segments = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    letters = {found.name for _, found, _ in warehouse.catalog.dead_letters.of(warehouse.record.id)}
    assert warehouse.objects() == segments | letters


def test_session_that_lost_its_file_stops_without_a_word_too_many(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", numbered(50))

    class Thief:
        def __init__(self) -> None:
            self.stolen = False

        def file_started(self, address: str, size_bytes: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...
        def advanced(self, address: str, bytes_read: int, rows: int) -> None:
            if not self.stolen:
                self.stolen = True
                warehouse.catalog.leases.acquire = lambda *_, **__: lease  # type: ignore[method-assign] # it always gets that one
                warehouse.land(path)

    # a lease that was lost without notice: both sessions believe to hold the file
    lease = warehouse.catalog.leases.acquire("other", holder="x", ttl=timedelta(minutes=1))
    report = warehouse.land(path, chunk_rows=10, progress=Thief()).files[0]
    assert report.state == "landing"
    assert report.counters.read == 10
    assert warehouse.counters().read == 50
    assert len(warehouse.rows("ts")) == warehouse.counters().landed


def test_a_file_is_left_to_who_has_taken_its_lease(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Thief:
        def file_started(self, address: str, size_bytes: int) -> None: ...
        def file_done(self, report: FileReport) -> None: ...
        def advanced(self, address: str, bytes_read: int, rows: int) -> None:
            warehouse.catalog.leases.acquire("source_partition:1", holder="thief", ttl=timedelta(minutes=1))

    # a session whose heart does not beat
    monkeypatch.setattr("timestore_assets.catalog.lease_keeper.LeaseKeeper.keep", lambda _, held: held)
    zombie = replace(warehouse, ttl=timedelta(microseconds=1))
    report = zombie.land(warehouse.drop("a.csv", numbered(50)), chunk_rows=10, progress=Thief()).files[0]
    assert (report.state, report.reason) == ("landing", "another session has gone on with it")
    assert report.counters.read == warehouse.counters().read == 10


def test_file_landed_by_another_session_is_skipped(warehouse: LandingWarehouse) -> None:
    path = warehouse.drop("a.csv", numbered(5))
    warehouse.catalog.datasets.register(warehouse.dataset, actor="test")
    held = warehouse.catalog.leases.acquire("source_partition:1", holder="somebody else", ttl=timedelta(minutes=1))
    impatient = replace(warehouse, ttl=timedelta(milliseconds=200))
    report = impatient.land(path).files[0]
    assert (report.state, report.reason) == ("landing", "another session is landing it")
    assert held is not None
    warehouse.catalog.leases.release(held)
    assert warehouse.land(path).files[0].state == "landed"


def test_report_of_a_call(warehouse: LandingWarehouse) -> None:
    report = warehouse.land(
        warehouse.drop("a.csv", FIRST + "x,JFK,1\n"), warehouse.drop("b.csv", SECOND), warehouse.drop("c.csv", FIRST)
    )
    assert report.partitions == ("2013-01-05", "2013-01-06")
    assert report.dead_letter_reasons == {"bad_value": 1}
    assert report.counters == Counters(read=6, landed=5, dead_letters=1)
    assert report.manifest_version == warehouse.catalog.manifest.version(warehouse.record.id) == 3
    assert report.seconds > 0


def test_source_is_the_one_that_was_given(warehouse: LandingWarehouse) -> None:
    other = replace(warehouse, source=FileSource(prefix="other"))
    other.land_one("a.csv", FIRST)
    assert [found.address for found in warehouse.catalog.sources.of(warehouse.record.id)] == ["other/**/*"]


def test_columns_a_session_adds_itself_make_no_batch_be_done_twice(warehouse: LandingWarehouse) -> None:
    lines = [f"2013-01-0{number % 9 + 1},JFK,{number if number < 8 else number / 2}" for number in range(1, 17)]
    warehouse.land(warehouse.drop("a.csv", "\n".join(["ts,station,more", *lines]) + "\n"), chunk_rows=4)
    named = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    assert warehouse.counters().landed == 16
    assert warehouse.objects() == named

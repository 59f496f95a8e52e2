"""Large files: wide commits, parts with checkpoints of their own, several at a time, and runs that share a list."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.catalog.commits import Commits
from timestore_assets.landing.files.context import BulkLimits, Share
from timestore_assets.landing.files.land_report import FileReport
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

DAYS = 5
START = datetime(2013, 1, 1)
CUT = BulkLimits(chunk_bytes=1, commit_bytes=10**9, batch_rows=10)
"""Every row group, or record of a text file, becomes a part of its own."""
WIDE = BulkLimits(batch_rows=10)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[LandingWarehouse]:
    made = LandingWarehouse.at(tmp_path, dataset(), bulk=WIDE)
    yield made
    made.catalog.close()


def table(rows: int, *, first: int = 0, **more: Any) -> pa.Table:
    """Rows over a few days in no order; every seventh has a temperature that is refused."""
    numbers = range(first, first + rows)
    return pa.table(
        {
            "ts": pa.array([START + timedelta(days=n * 7 % DAYS, seconds=n) for n in numbers], pa.timestamp("us")),
            "station": [f"S{n}" for n in numbers],
            "temp": [200.0 if n % 7 == 0 else float(n % 50) for n in numbers],
            **more,
        }
    )


def drop(warehouse: LandingWarehouse, name: str, content: pa.Table, *, group: int = 20) -> Path:
    path = warehouse.inbox / name
    pq.write_table(content, path, row_group_size=group)
    return path


def expected(rows: int) -> Counters:
    refused = len(range(0, rows, 7))
    return Counters(read=rows, landed=rows - refused, dead_letters=refused)


def parts_of(warehouse: LandingWarehouse) -> list[tuple[int, int, bool]]:
    """Number, end and whether it is landed of each part of the newest file."""
    file = warehouse.catalog.files.of(1)[-1]
    assert file.source_partition_id is not None
    return [(one.number, one.end.offset, one.done) for one in warehouse.catalog.chunks.of(file.source_partition_id)]


# --- wide commits


def test_many_batches_make_one_segment_for_each_partition(warehouse: LandingWarehouse) -> None:
    report = warehouse.land(drop(warehouse, "a.parquet", table(100)))
    assert report.counters == expected(100)
    segments = warehouse.catalog.manifest.segments(warehouse.record.id)
    assert [segment.rows for segment in segments] == [17, 17, 17, 17, 17]
    assert (report.segments, report.parts, report.manifest_version) == (DAYS, 1, 1)
    assert len(warehouse.rows()) == 85
    assert warehouse.codes() == ["failed_check"] * 15


def test_a_commit_is_made_when_enough_is_gathered(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=replace(WIDE, commit_bytes=2000))
    report = warehouse.land(drop(warehouse, "a.parquet", table(100)))
    assert report.counters == expected(100)
    assert 1 < report.manifest_version < 10


def test_a_column_found_on_the_way_ends_a_commit(warehouse: LandingWarehouse) -> None:
    extra = pa.array([None if n < 50 else n for n in range(100)], pa.int64())
    report = warehouse.land(drop(warehouse, "a.parquet", table(100, extra=extra)))
    assert report.counters == expected(100)
    assert [change.column for change in report.schema_changes] == ["extra"]
    # what was gathered before it, the batch that brought it, and the rest
    assert report.manifest_version == 3
    assert sorted(value for (value,) in warehouse.rows("extra") if value is not None) == [n for n in range(50, 100) if n % 7]


def test_an_evolved_schema_makes_the_gathered_rows_judged_again(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = warehouse.drop("b.csv", "ts,station,temp,late\n2013-01-05T06:00:00,JFK,1,7\n")
    commit = Commits.land
    raced: list[int] = []

    def racing(commits: Commits, batch: Any) -> int:
        if not raced:
            raced.append(1)
            warehouse.land(other)
        return commit(commits, batch)

    monkeypatch.setattr(Commits, "land", racing)
    report = warehouse.land(drop(warehouse, "a.parquet", table(60)))
    assert report.counters == expected(60)
    assert len(warehouse.rows()) == report.counters.landed + 1
    assert [segment.schema_version for segment in warehouse.catalog.manifest.segments(warehouse.record.id)].count(2) == DAYS + 1
    warehouse.collect()
    assert warehouse.catalog.objects.known() == warehouse.objects()


def test_an_outage_while_committing_is_waited_for(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Commits.land
    failures = iter([True, True])

    def flaky(commits: Commits, batch: Any) -> int:
        if next(failures, False):
            raise UnavailableError("the catalog is away")
        return commit(commits, batch)

    monkeypatch.setattr(Commits, "land", flaky)
    report = warehouse.land(drop(warehouse, "a.parquet", table(60)))
    assert report.counters == expected(60) == warehouse.counters()
    assert len(warehouse.letters()) == report.counters.dead_letters


def test_more_partitions_than_files_could_be_open(tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(
        tmp_path, dataset(start=datetime.fromisoformat("2000-01-01T00:00Z")), bulk=replace(WIDE, batch_rows=700)
    )
    days = [datetime(2000, 1, 1) + timedelta(days=n * 997 % 1500) for n in range(3000)]
    content = pa.table({"ts": pa.array(days, pa.timestamp("us")), "station": ["JFK"] * 3000})
    report = warehouse.land(drop(warehouse, "a.parquet", content, group=1000))
    assert (report.segments, report.counters.landed) == (1500, 3000)
    warehouse.catalog.close()


# --- parts


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_file_lands_in_parts(warehouse: LandingWarehouse, parallel: int) -> None:
    warehouse = replace(warehouse, bulk=replace(CUT, parallel=parallel))
    report = warehouse.land(drop(warehouse, "a.parquet", table(100)))
    assert report.files[0].state == "landed"
    assert report.counters == expected(100) == warehouse.counters() == warehouse.catalog.files.of(1)[0].counters
    assert (report.parts, parts_of(warehouse)) == (5, [(n, 20 * n + 20, True) for n in range(5)])
    sources = {source for source, _ in warehouse.places()}
    assert len(sources) == 5
    assert len({position for _, position in warehouse.places()}) == 85
    assert warehouse.land(warehouse.inbox / "a.parquet").files[0].state == "duplicate"


def test_a_compressed_text_stays_whole(warehouse: LandingWarehouse) -> None:
    import gzip

    warehouse = replace(warehouse, bulk=CUT)
    content = "ts,station,temp\n" + "2013-01-05T06:00:00,JFK,1\n" * 50
    report = warehouse.land(warehouse.drop("a.csv.gz", gzip.compress(content.encode())))
    assert (report.counters.landed, report.parts, parts_of(warehouse)) == (50, 1, [])


def test_a_file_that_replaces_stays_whole(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=CUT, source=replace(warehouse.source, on_change="replace"))
    warehouse.land(drop(warehouse, "a.parquet", table(40)))
    report = warehouse.land(drop(warehouse, "a.parquet", table(60, first=100)))
    assert report.files[0].state == "landed"
    assert {station for (station,) in warehouse.rows("station")} == {f"S{n}" for n in range(100, 160) if n % 7}


def test_a_file_whose_order_of_arrival_decides_stays_whole(tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, dataset(dedupe=Dedupe(keys=("ts",), keep="last")), bulk=replace(CUT, parallel=3))
    report = warehouse.land(drop(warehouse, "a.parquet", table(60)), drop(warehouse, "b.parquet", table(60, first=100)))
    assert (report.parts, parts_of(warehouse)) == (2, [])
    warehouse.catalog.close()


def test_all_parts_of_a_replaced_file_leave(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=CUT)
    warehouse.land(drop(warehouse, "a.parquet", table(60)))
    changing = replace(warehouse, source=replace(warehouse.source, on_change="replace"))
    report = changing.land(drop(warehouse, "a.parquet", table(10, first=100)))
    assert report.files[0].state == "landed"
    assert {station for (station,) in warehouse.rows("station")} == {f"S{n}" for n in range(100, 110) if n % 7}


def damaged(path: Path) -> Path:
    """The file with nonsense in its third row group."""
    third = pq.read_metadata(path).row_group(2).column(1)
    content = bytearray(path.read_bytes())
    at = third.dictionary_page_offset or third.data_page_offset
    content[at : at + third.total_compressed_size] = b"\xff" * third.total_compressed_size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("commit_bytes", [0, 10**9])
def test_what_is_before_the_damage_lands_however_much_a_commit_gathers(warehouse: LandingWarehouse, commit_bytes: int) -> None:
    warehouse = replace(warehouse, bulk=replace(WIDE, commit_bytes=commit_bytes))
    report = warehouse.land(damaged(drop(warehouse, "a.parquet", table(100))))
    assert (report.files[0].state, report.counters.read, len(warehouse.places())) == ("quarantined", 40, 34)


def test_a_full_disk_stops_landing_and_it_goes_on_later(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(warehouse, "a.parquet", table(100))
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr("timestore_assets.landing.files.wide_commit.pa.OSFile", Mock(side_effect=full))
        with pytest.raises(StorageFullError, match="no room left"):
            warehouse.land(path)
    assert warehouse.counters() == Counters()
    assert warehouse.land(path).counters == expected(100)


def test_a_damaged_part_quarantines_the_file_and_the_rest_stays(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=replace(CUT, parallel=2))
    path = damaged(drop(warehouse, "a.parquet", table(100)))
    report = warehouse.land(path)
    assert (report.files[0].state, report.parts) == ("quarantined", 4)
    assert [number for number, _, done in parts_of(warehouse) if not done] == [2]
    assert warehouse.catalog.files.of(1)[0].state == "quarantined"
    assert warehouse.counters() == report.counters
    assert report.counters.read == 80
    assert warehouse.land(path).files[0].state == "quarantined"
    assert warehouse.counters().read == 80


def test_a_copy_of_a_file_in_parts_is_a_duplicate(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=CUT)
    first = warehouse.land(drop(warehouse, "a.parquet", table(60)), drop(warehouse, "b.parquet", table(60)))
    assert sorted(file.state for file in first.files) == ["duplicate", "landed"]
    assert warehouse.counters().landed == expected(60).landed


def test_parts_that_both_bring_new_columns(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=replace(CUT, parallel=2))
    extra = pa.array([n if n % 2 else None for n in range(100)], pa.int64())
    other = pa.array([f"x{n}" if n > 40 else None for n in range(100)], pa.string())
    report = warehouse.land(drop(warehouse, "a.parquet", table(100, extra=extra, other=other)))
    assert report.counters == expected(100)
    assert {change.column for change in report.schema_changes} == {"extra", "other"}
    assert sorted(x for (x,) in warehouse.rows("extra") if x is not None) == [n for n in range(1, 100, 2) if n % 7]


# --- several files, several runs


def test_files_arrive_in_the_order_of_the_list(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=replace(WIDE, parallel=3))
    paths = [warehouse.drop(f"{n}.csv", f"ts,station,temp\n2013-01-05T06:00:00,S{n},1\n") for n in range(9, 0, -1)]
    report = warehouse.land(*paths)
    assert [file.address for file in report.files] == [path.name for path in paths]
    assert [station for (station,) in warehouse.rows("station")] == [f"S{n}" for n in range(9, 0, -1)]


def test_runs_share_a_list(warehouse: LandingWarehouse) -> None:
    warehouse = replace(warehouse, bulk=replace(CUT, parallel=2))
    paths = [drop(warehouse, f"{n}.parquet", table(100, first=1000 * n)) for n in range(3)]
    reports: list[Any] = [None] * 3

    def run(index: int) -> None:
        other = LandingWarehouse.at(warehouse.root, warehouse.dataset, bulk=warehouse.bulk)
        reports[index] = other.land(*paths, share=Share(index=index, of=3))
        other.catalog.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {file.state for file in warehouse.catalog.files.of(1)} == {"landed"}
    assert warehouse.counters().read == 300 == len(warehouse.places()) + warehouse.counters().dead_letters
    # what each of them landed adds up; what another had landed before is a duplicate to a run that sees it whole
    assert sum(report.counters.read - report.counters.duplicates for report in reports) == 300


def test_a_run_that_shares_does_not_wait(warehouse: LandingWarehouse) -> None:
    path = drop(warehouse, "a.parquet", table(100))
    source = warehouse.catalog.sources.ensure(_registered(warehouse), "files", warehouse.source.address)
    held = warehouse.catalog.sources.partition(source.id, _sha256(path))
    lease = warehouse.catalog.leases.acquire(f"source_partition:{held.id}", holder="somebody", ttl=timedelta(minutes=5))
    assert lease is not None
    report = warehouse.land(path, share=Share(index=0, of=2))
    assert (report.files[0].state, report.counters.read) == ("landing", 0)
    assert report.seconds < 20  # much less than the lease
    warehouse.catalog.leases.release(lease)
    assert warehouse.land(path, share=Share(index=0, of=2)).files[0].state == "landed"


def _registered(warehouse: LandingWarehouse) -> int:
    return warehouse.catalog.datasets.register(warehouse.dataset, actor="test").id


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- progress


class Told:
    """Keeps what landing says."""

    def __init__(self) -> None:
        self.advances: list[tuple[str, int, int]] = []
        self.done: list[FileReport] = []
        self.sizes: dict[str, int] = {}

    def file_started(self, address: str, size_bytes: int) -> None:
        self.sizes[address] = size_bytes

    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        self.advances.append((address, bytes_read, rows))

    def file_done(self, report: FileReport) -> None:
        self.done.append(report)


@pytest.mark.parametrize("bulk", [WIDE, CUT, replace(CUT, parallel=3)])
def test_progress_adds_up_to_the_whole_file(warehouse: LandingWarehouse, bulk: BulkLimits) -> None:
    told = Told()
    path = drop(warehouse, "a.parquet", table(100))
    report = replace(warehouse, bulk=bulk).land(path, progress=told)
    size = path.stat().st_size
    assert told.sizes == {"a.parquet": size}
    assert [rows for _, _, rows in told.advances] == sorted(rows for _, _, rows in told.advances)
    assert told.advances[-1][2] == 100
    assert size * 0.95 <= told.advances[-1][1] <= size
    assert told.done == list(report.files)
    assert report.bytes == size

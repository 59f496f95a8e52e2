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

from timestore_assets.catalog.records import Counters
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.landing.bulk_limits import BulkLimits
from timestore_assets.landing.report import FileReport
from timestore_assets.landing.sharing import Share
from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets_tests.landing_ground import Ground, dataset

DAYS = 5
START = datetime(2013, 1, 1)
CUT = BulkLimits(chunk_bytes=1, commit_bytes=10**9, batch_rows=10)
"""Every row group, or record of a text file, becomes a part of its own."""
WIDE = BulkLimits(batch_rows=10)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground.at(tmp_path, dataset(), bulk=WIDE)
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


def drop(ground: Ground, name: str, content: pa.Table, *, group: int = 20) -> Path:
    path = ground.inbox / name
    pq.write_table(content, path, row_group_size=group)
    return path


def expected(rows: int) -> Counters:
    refused = len(range(0, rows, 7))
    return Counters(read=rows, landed=rows - refused, dead_letters=refused)


def parts_of(ground: Ground) -> list[tuple[int, int, bool]]:
    """Number, end and whether it is landed of each part of the newest file."""
    file = ground.catalog.files(1)[-1]
    assert file.source_partition_id is not None
    return [(one.number, one.end.offset, one.done) for one in ground.catalog.chunks.of(file.source_partition_id)]


# --- wide commits


def test_many_batches_make_one_segment_for_each_partition(ground: Ground) -> None:
    report = ground.land(drop(ground, "a.parquet", table(100)))
    assert report.counters == expected(100)
    segments = ground.catalog.segments(ground.record.id)
    assert [segment.rows for segment in segments] == [17, 17, 17, 17, 17]
    assert (report.segments, report.parts, report.manifest_version) == (DAYS, 1, 1)
    assert len(ground.rows()) == 85
    assert ground.codes() == ["failed_check"] * 15


def test_a_commit_is_made_when_enough_is_gathered(ground: Ground) -> None:
    ground = replace(ground, bulk=replace(WIDE, commit_bytes=2000))
    report = ground.land(drop(ground, "a.parquet", table(100)))
    assert report.counters == expected(100)
    assert 1 < report.manifest_version < 10


def test_a_column_found_on_the_way_ends_a_commit(ground: Ground) -> None:
    extra = pa.array([None if n < 50 else n for n in range(100)], pa.int64())
    report = ground.land(drop(ground, "a.parquet", table(100, extra=extra)))
    assert report.counters == expected(100)
    assert [change.column for change in report.schema_changes] == ["extra"]
    # what was gathered before it, the batch that brought it, and the rest
    assert report.manifest_version == 3
    assert sorted(value for (value,) in ground.rows("extra") if value is not None) == [n for n in range(50, 100) if n % 7]


def test_an_evolved_schema_makes_the_gathered_rows_judged_again(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ground.drop("b.csv", "ts,station,temp,late\n2013-01-05T06:00:00,JFK,1,7\n")
    commit = SqlCatalog.commit_landing
    raced: list[int] = []

    def racing(catalog: SqlCatalog, batch: Any) -> int:
        if not raced:
            raced.append(1)
            ground.land(other)
        return commit(catalog, batch)

    monkeypatch.setattr(SqlCatalog, "commit_landing", racing)
    report = ground.land(drop(ground, "a.parquet", table(60)))
    assert report.counters == expected(60)
    assert len(ground.rows()) == report.counters.landed + 1
    assert [segment.schema_version for segment in ground.catalog.segments(ground.record.id)].count(2) == DAYS + 1
    ground.collect()
    assert ground.catalog.known_objects() == ground.objects()


def test_an_outage_while_committing_is_waited_for(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = SqlCatalog.commit_landing
    failures = iter([True, True])

    def flaky(catalog: SqlCatalog, batch: Any) -> int:
        if next(failures, False):
            raise UnavailableError("the catalog is away")
        return commit(catalog, batch)

    monkeypatch.setattr(SqlCatalog, "commit_landing", flaky)
    report = ground.land(drop(ground, "a.parquet", table(60)))
    assert report.counters == expected(60) == ground.counters()
    assert len(ground.letters()) == report.counters.dead_letters


def test_more_partitions_than_files_could_be_open(tmp_path: Path) -> None:
    ground = Ground.at(tmp_path, dataset(start=datetime.fromisoformat("2000-01-01T00:00Z")), bulk=replace(WIDE, batch_rows=700))
    days = [datetime(2000, 1, 1) + timedelta(days=n * 997 % 1500) for n in range(3000)]
    content = pa.table({"ts": pa.array(days, pa.timestamp("us")), "station": ["JFK"] * 3000})
    report = ground.land(drop(ground, "a.parquet", content, group=1000))
    assert (report.segments, report.counters.landed) == (1500, 3000)
    ground.catalog.close()


# --- parts


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_file_lands_in_parts(ground: Ground, parallel: int) -> None:
    ground = replace(ground, bulk=replace(CUT, parallel=parallel))
    report = ground.land(drop(ground, "a.parquet", table(100)))
    assert report.files[0].state == "landed"
    assert report.counters == expected(100) == ground.counters() == ground.catalog.files(1)[0].counters
    assert (report.parts, parts_of(ground)) == (5, [(n, 20 * n + 20, True) for n in range(5)])
    sources = {source for source, _ in ground.places()}
    assert len(sources) == 5
    assert len({position for _, position in ground.places()}) == 85
    assert ground.land(ground.inbox / "a.parquet").files[0].state == "duplicate"


def test_a_compressed_text_stays_whole(ground: Ground) -> None:
    import gzip

    ground = replace(ground, bulk=CUT)
    content = "ts,station,temp\n" + "2013-01-05T06:00:00,JFK,1\n" * 50
    report = ground.land(ground.drop("a.csv.gz", gzip.compress(content.encode())))
    assert (report.counters.landed, report.parts, parts_of(ground)) == (50, 1, [])


def test_a_file_that_replaces_stays_whole(ground: Ground) -> None:
    ground = replace(ground, bulk=CUT, source=replace(ground.source, on_change="replace"))
    ground.land(drop(ground, "a.parquet", table(40)))
    report = ground.land(drop(ground, "a.parquet", table(60, first=100)))
    assert report.files[0].state == "landed"
    assert {station for (station,) in ground.rows("station")} == {f"S{n}" for n in range(100, 160) if n % 7}


def test_a_file_whose_order_of_arrival_decides_stays_whole(tmp_path: Path) -> None:
    ground = Ground.at(tmp_path, dataset(dedupe=Dedupe(keys=("ts",), keep="last")), bulk=replace(CUT, parallel=3))
    report = ground.land(drop(ground, "a.parquet", table(60)), drop(ground, "b.parquet", table(60, first=100)))
    assert (report.parts, parts_of(ground)) == (2, [])
    ground.catalog.close()


def test_all_parts_of_a_replaced_file_leave(ground: Ground) -> None:
    ground = replace(ground, bulk=CUT)
    ground.land(drop(ground, "a.parquet", table(60)))
    changing = replace(ground, source=replace(ground.source, on_change="replace"))
    report = changing.land(drop(ground, "a.parquet", table(10, first=100)))
    assert report.files[0].state == "landed"
    assert {station for (station,) in ground.rows("station")} == {f"S{n}" for n in range(100, 110) if n % 7}


def damaged(path: Path) -> Path:
    """The file with nonsense in its third row group."""
    third = pq.read_metadata(path).row_group(2).column(1)
    content = bytearray(path.read_bytes())
    at = third.dictionary_page_offset or third.data_page_offset
    content[at : at + third.total_compressed_size] = b"\xff" * third.total_compressed_size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("commit_bytes", [0, 10**9])
def test_what_is_before_the_damage_lands_however_much_a_commit_gathers(ground: Ground, commit_bytes: int) -> None:
    ground = replace(ground, bulk=replace(WIDE, commit_bytes=commit_bytes))
    report = ground.land(damaged(drop(ground, "a.parquet", table(100))))
    assert (report.files[0].state, report.counters.read, len(ground.places())) == ("quarantined", 40, 34)


def test_a_full_disk_stops_landing_and_it_goes_on_later(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop(ground, "a.parquet", table(100))
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr("timestore_assets.landing.bulk_spill.pa.OSFile", Mock(side_effect=full))
        with pytest.raises(StorageFullError, match="no room left"):
            ground.land(path)
    assert ground.counters() == Counters()
    assert ground.land(path).counters == expected(100)


def test_a_damaged_part_quarantines_the_file_and_the_rest_stays(ground: Ground) -> None:
    ground = replace(ground, bulk=replace(CUT, parallel=2))
    path = damaged(drop(ground, "a.parquet", table(100)))
    report = ground.land(path)
    assert (report.files[0].state, report.parts) == ("quarantined", 4)
    assert [number for number, _, done in parts_of(ground) if not done] == [2]
    assert ground.catalog.files(1)[0].state == "quarantined"
    assert ground.counters() == report.counters
    assert report.counters.read == 80
    assert ground.land(path).files[0].state == "quarantined"
    assert ground.counters().read == 80


def test_a_copy_of_a_file_in_parts_is_a_duplicate(ground: Ground) -> None:
    ground = replace(ground, bulk=CUT)
    first = ground.land(drop(ground, "a.parquet", table(60)), drop(ground, "b.parquet", table(60)))
    assert sorted(file.state for file in first.files) == ["duplicate", "landed"]
    assert ground.counters().landed == expected(60).landed


def test_parts_that_both_bring_new_columns(ground: Ground) -> None:
    ground = replace(ground, bulk=replace(CUT, parallel=2))
    extra = pa.array([n if n % 2 else None for n in range(100)], pa.int64())
    other = pa.array([f"x{n}" if n > 40 else None for n in range(100)], pa.string())
    report = ground.land(drop(ground, "a.parquet", table(100, extra=extra, other=other)))
    assert report.counters == expected(100)
    assert {change.column for change in report.schema_changes} == {"extra", "other"}
    assert sorted(x for (x,) in ground.rows("extra") if x is not None) == [n for n in range(1, 100, 2) if n % 7]


# --- several files, several runs


def test_files_arrive_in_the_order_of_the_list(ground: Ground) -> None:
    ground = replace(ground, bulk=replace(WIDE, parallel=3))
    paths = [ground.drop(f"{n}.csv", f"ts,station,temp\n2013-01-05T06:00:00,S{n},1\n") for n in range(9, 0, -1)]
    report = ground.land(*paths)
    assert [file.address for file in report.files] == [path.name for path in paths]
    assert [station for (station,) in ground.rows("station")] == [f"S{n}" for n in range(9, 0, -1)]


def test_runs_share_a_list(ground: Ground) -> None:
    ground = replace(ground, bulk=replace(CUT, parallel=2))
    paths = [drop(ground, f"{n}.parquet", table(100, first=1000 * n)) for n in range(3)]
    reports: list[Any] = [None] * 3

    def run(index: int) -> None:
        other = Ground.at(ground.root, ground.dataset, bulk=ground.bulk)
        reports[index] = other.land(*paths, share=Share(index=index, of=3))
        other.catalog.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {file.state for file in ground.catalog.files(1)} == {"landed"}
    assert ground.counters().read == 300 == len(ground.places()) + ground.counters().dead_letters
    # what each of them landed adds up; what another had landed before is a duplicate to a run that sees it whole
    assert sum(report.counters.read - report.counters.duplicates for report in reports) == 300


def test_a_run_that_shares_does_not_wait(ground: Ground) -> None:
    path = drop(ground, "a.parquet", table(100))
    source = ground.catalog.source(_registered(ground), "files", ground.source.address)
    held = ground.catalog.source_partition(source.id, _sha256(path))
    lease = ground.catalog.acquire(f"source_partition:{held.id}", holder="somebody", ttl=timedelta(minutes=5))
    assert lease is not None
    report = ground.land(path, share=Share(index=0, of=2))
    assert (report.files[0].state, report.counters.read) == ("landing", 0)
    assert report.seconds < 20  # much less than the lease
    ground.catalog.release(lease)
    assert ground.land(path, share=Share(index=0, of=2)).files[0].state == "landed"


def _registered(ground: Ground) -> int:
    return ground.catalog.register(ground.dataset, actor="test").id


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
def test_progress_adds_up_to_the_whole_file(ground: Ground, bulk: BulkLimits) -> None:
    told = Told()
    path = drop(ground, "a.parquet", table(100))
    report = replace(ground, bulk=bulk).land(path, progress=told)
    size = path.stat().st_size
    assert told.sizes == {"a.parquet": size}
    assert [rows for _, _, rows in told.advances] == sorted(rows for _, _, rows in told.advances)
    assert told.advances[-1][2] == 100
    assert size * 0.95 <= told.advances[-1][1] <= size
    assert told.done == list(report.files)
    assert report.bytes == size

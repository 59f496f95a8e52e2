"""Segments of a partition into new ones: drop retracted rows, deduplicate, sort, cut, write. Nothing is published here.

A damaged file is found before it is merged, or after a merge failed for it: DuckDB's own words rarely name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from timestore_assets.building.build_plan import BuildPlan
from timestore_assets.building.file_splitting import (
    ROWID,
    FileSplitter,
    fits_one_file,
    is_split,
    sealed_format,
    write_sealed,
)
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import RefusedError, TimestoreError, UnavailableError
from timestore_assets.model.hash_sums import EMPTY, combined
from timestore_assets.model.retraction import Retracted, sources_of, wholly_retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import NewSegment, Segment, SegmentFormat
from timestore_assets.model.stored_columns import needs_rewrite
from timestore_assets.model.types import quote
from timestore_assets.model.window import Partition
from timestore_assets.segments.deduplicate import deduplicated
from timestore_assets.segments.engine import disk_failures, one_row, one_thread, threads_of, unreadable
from timestore_assets.segments.quick_hash import quick_hash
from timestore_assets.segments.reader import opened, rows_in
from timestore_assets.segments.statistics import as_time
from timestore_assets.segments.writer import WrittenFile, write_parquet
from timestore_assets.storage.object_store import ObjectReader, Upload, damaged, digests_of, first_damaged


def require_intact(
    segments: Sequence[Segment], digests: Mapping[int, str], *, storage: ObjectReader, dataset: Dataset, partition: Partition
) -> None:
    """Let only segments be merged whose bytes are those that were committed: what is sealed counts as the truth from then on.

    Raises:
        DamagedError: one of them is not. UnavailableError: one is missing.
    """
    broken = first_damaged(segments, digests, storage=storage)
    if broken is not None:
        where = f"partition {partition.key} of dataset {dataset.name!r} is not built"
        what = f"{where}; restore the object from a copy and build again, `timestore verify` says what else is"
        raise damaged("segment", broken.name, what)


def damaged_segment(
    con: duckdb.DuckDBPyConnection,
    segments: Iterable[Segment],
    *,
    storage: ObjectReader,
    schema: Schema,
    schema_of: Callable[[int], Schema],
) -> TimestoreError | None:
    """The error that names the first of the segments whose rows can't all be read; None when all can."""
    for segment in segments:
        try:
            with opened(con, [segment], storage=storage, schema=schema, schema_of=schema_of, stored=True) as source:
                # a hash over whole rows makes DuckDB decode every page
                con.execute(f"SELECT max(hash(held)) FROM {source} AS held").fetchall()
        except duckdb.Error as error:
            return unreadable(segment.name, error)
        except TimestoreError as error:
            return error
    return None


_MERGED = "timestore_merged"
_NUMBER = "__number"


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeJob:
    """What to merge, of which partition, and where the files go."""

    dataset: Dataset
    partition: Partition
    plan: BuildPlan
    schema: Schema
    """The dataset's current one."""
    schema_of: Callable[[int], Schema]
    """Another version of it."""
    retracted: Retracted
    """Rows that leave."""
    digests: Mapping[int, str]
    """Of the segments' bytes as they were committed, by id."""
    storage: ObjectReader
    folder: Path
    """Empty, for the new files."""
    temp_dir: Path
    """Where DuckDB spills."""
    name: Callable[[int, SegmentFormat], str]
    """Object name for the nth file of that format."""
    erasing: str | None = None
    """SQL condition over the stored columns; rows for which it is true go."""

    def left_of(self, rows: str) -> str:
        """Of a SQL table expression what stays when rows are erased."""
        return f"(SELECT * FROM {rows} WHERE ({self.erasing}) IS NOT TRUE)" if self.erasing else rows

    @property
    def read(self) -> tuple[Segment, ...]:
        """The segments that hold rows to keep: one whose every source was retracted need not be there, or whole, any more."""
        gone = wholly_retracted(self.retracted)
        return tuple(one for one in self.plan.merge if not one.source_ids or not gone.issuperset(one.source_ids))


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """The new segments, their files, and what became of the rows."""

    segments: tuple[NewSegment, ...] = ()
    uploads: tuple[Upload, ...] = ()
    superseded_rows: int = 0
    retracted_rows: int = 0
    erased_rows: int = 0
    content_hash: str | None = None
    """Of all of them, when the plan seals."""
    tickets: tuple[str, ...] = ()
    """Of migrations whose columns the rows are written in from now on, and were not before."""


def merge(con: duckdb.DuckDBPyConnection, job: MergeJob) -> Merged:
    """Write the merged segments of a job into its folder.

    Memory is bounded by the connection's limit: what exceeds it spills to its temporary folder.

    Raises:
        DamagedError: the bytes of a segment are not those that were committed; BadFileError: it can't be read, and has no digest.
        UnavailableError: a segment is missing, or does not hold the rows that the catalog says.
        StorageFullError: no room is left. duckdb.InterruptException: the connection was interrupted.
    """
    try:
        # held while they are merged, so that what was proved and what is read are the same files
        with (
            disk_failures(f"building {job.dataset.name} {job.partition.key}", job.temp_dir),
            job.storage.reading(job.read),
        ):
            require_intact(job.read, job.digests, storage=job.storage, dataset=job.dataset, partition=job.partition)
            return _merge_in_memory(con, job)
    except duckdb.InterruptException:
        raise  # somebody broke it off; no file is to blame
    except duckdb.Error as error:
        damaged = damaged_segment(con, job.read, storage=job.storage, schema=job.schema, schema_of=job.schema_of)
        if damaged is not None:
            raise damaged from error
        if isinstance(error, duckdb.DataError) and _is_rewrite(job):
            raise _not_computed(job, error) from error
        raise


def _is_rewrite(job: MergeJob) -> bool:
    return any(needs_rewrite(job.schema_of(version), job.schema) for version in {one.schema_version for one in job.read})


def _not_computed(job: MergeJob, error: duckdb.Error) -> RefusedError:
    """What to say when a value of a row of before can't be computed; what is stored stays as it is."""
    said = str(error).splitlines()[0]
    return RefusedError(
        f"partition {job.partition.key} of {job.dataset.name!r} is not rewritten: a value can't be computed by the expression "
        f"of its column ({said}); questions read it as null until then. Roll the migration back, or migrate again with an "
        "expression that takes it, or with `on_error: null`"
    )


def _merge_in_memory(con: duckdb.DuckDBPyConnection, job: MergeJob) -> Merged:
    """Merge, and once more with one thread if that does not fit."""
    try:
        return _merge(con, job)
    except duckdb.OutOfMemoryException:
        if threads_of(con) == 1:
            raise
    with one_thread(con):
        return _merge(con, job)


def _merge(con: duckdb.DuckDBPyConnection, job: MergeJob) -> Merged:
    with opened(
        con,
        job.read,
        storage=job.storage,
        schema=job.schema,
        schema_of=job.schema_of,
        retracted=job.retracted,
        stored=True,
        strict=True,
    ) as source:
        retracted = _retracted_rows(con, source, job)
        kept = sum(segment.rows for segment in job.plan.merge) - retracted
        if job.plan.kind == "delta":
            return _merge_open(con, source, job, kept=kept, retracted=retracted)
        return _merge_closed(con, source, job, kept=kept, retracted=retracted)


def _retracted_rows(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob) -> int:
    """How many rows of the segments `source` leaves out."""
    losing = sources_of(job.retracted)
    if not any(losing.intersection(segment.source_ids) for segment in job.plan.merge):
        return 0
    found = con.execute(f"SELECT count(*) FROM {source}").fetchone()
    return sum(segment.rows for segment in job.plan.merge) - (found[0] if found else 0)


def _merge_open(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob, *, kept: int, retracted: int) -> Merged:
    """One sorted delta of the next level.

    It is not deduplicated: a row that another one supersedes has to come back when the file of that one is replaced.
    """
    erased = _erased_rows(con, source, job)
    if kept == erased:
        return Merged(retracted_rows=retracted, erased_rows=erased)
    order = _ordered(job.dataset.sort_columns)
    rows = job.left_of(source)
    file = write_parquet(con, f"SELECT * FROM {rows} {order}", job.folder / "merged.parquet", field_ids=job.schema.ids)
    found = [SegmentFile(written=file, format="parquet")]
    return finished(job, found, expected=kept - erased, retracted=retracted, erased=erased)


def _merge_closed(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob, *, kept: int, retracted: int) -> Merged:
    """Sealed segments: one file if that is sure to do, else as many as the rows and their keys ask for."""
    with deduplicated(con, source, dedupe=job.dataset.dedupe, schema=job.schema, total=kept) as unique:
        # what an erased row has superseded does not come back for it
        superseded, erased = unique.superseded, _erased_rows(con, unique.rows, job)
        left, rows = kept - superseded - erased, job.left_of(unique.rows)
        by_key = _is_split(con, rows, job, left)
        size = _bytes_per_row(job.plan.merge)
        is_one = left and not by_key and fits_one_file(rows=left, bytes_per_row=size, target=job.dataset.segments.target_bytes)
        files = _one_file(con, rows, job, left) if is_one else None
        if files is None:
            files = _several_files(con, rows, job, by_key=by_key, bytes_per_row=size)
    hashed = [replace(file, content_hash=_hash(con, job.schema, file)) for file in files]
    done = finished(job, hashed, expected=left, retracted=retracted, superseded=superseded, erased=erased)
    return replace(done, content_hash=combined(file.content_hash or EMPTY for file in hashed))


def _is_split(con: duckdb.DuckDBPyConnection, rows: str, job: MergeJob, number: int) -> bool:
    """Whether each semantic key gets files of its own."""
    names = ", ".join(quote(name) for name in job.dataset.partition_by)
    if not names or not is_split(rows=number, keys=1):
        return False
    [keys] = one_row(con, f"SELECT count(*) FROM (SELECT 1 FROM {rows} GROUP BY {names})")
    return is_split(rows=number, keys=keys)


def _one_file(con: duckdb.DuckDBPyConnection, rows: str, job: MergeJob, number: int) -> list[SegmentFile] | None:
    """All rows as one file, straight from the sort; None where the memory is too small for sorting and writing at once."""
    format = sealed_format(job.dataset.segments.format, rows=number)
    query = f"SELECT * FROM {rows} {_ordered(job.dataset.sort_columns)}"
    path = job.folder / f"0.{format}"
    try:
        written = write_sealed(con, query, path, format, dataset=job.dataset, schema=job.schema, expected=number)
    except UnavailableError as error:
        if not isinstance(error.__cause__, duckdb.OutOfMemoryException):
            raise
        path.unlink(missing_ok=True)
        return None
    return [SegmentFile(written=written, format=format)]


def _several_files(
    con: duckdb.DuckDBPyConnection, rows: str, job: MergeJob, *, by_key: bool, bytes_per_row: float
) -> list[SegmentFile]:
    """By way of a temporary table of the partition's sorted rows, from which each file is a range."""
    keys = job.dataset.partition_by if by_key else ()
    order = _ordered(tuple(dict.fromkeys((*keys, *job.dataset.sort_columns))))
    number, columns = _numbered(job.schema)
    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {_MERGED} AS SELECT {columns} FROM (FROM {rows} {order})")
        splitter = FileSplitter(con=con, table=_MERGED, number=number, dataset=job.dataset, schema=job.schema, folder=job.folder)
        return [
            SegmentFile(written=splitter.write(piece), semantic_key=piece.semantic_key, format=piece.format)
            for piece in splitter.pieces(bytes_per_row=bytes_per_row, by_key=by_key)
        ]
    finally:
        con.execute(f"DROP TABLE IF EXISTS {_MERGED}")


def _hash(con: duckdb.DuckDBPyConnection, schema: Schema, file: SegmentFile) -> str:
    """The content hash of a file, read from it, so that it stands for what was written."""
    return quick_hash(con, schema, rows_in([file.written.path], file.format))


def _erased_rows(con: duckdb.DuckDBPyConnection, rows: str, job: MergeJob) -> int:
    if job.erasing is None:
        return 0
    found = con.execute(f"SELECT count(*) FROM {rows} WHERE {job.erasing}").fetchone()
    return int(found[0]) if found else 0


def _numbered(schema: Schema) -> tuple[str, str]:
    """Name of the column that numbers the merged rows, and the columns of their table as SQL."""
    if all(name.lower() != ROWID for name in schema.names):
        return ROWID, "*"
    return _NUMBER, f"*, row_number() OVER () - 1 AS {_NUMBER}"


def _ordered(columns: Sequence[str]) -> str:
    return "ORDER BY " + ", ".join(quote(name) for name in columns)


def _bytes_per_row(segments: Sequence[Segment]) -> float:
    return sum(segment.bytes for segment in segments) / max(1, sum(segment.rows for segment in segments))


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFile:
    """A file that becomes a segment. `content_hash`: of its rows, when it is a sealed one's."""

    written: WrittenFile
    format: SegmentFormat
    semantic_key: tuple[str, ...] | None = None
    content_hash: str | None = None


def finished(
    job: MergeJob, files: Sequence[SegmentFile], *, expected: int, retracted: int, superseded: int = 0, erased: int = 0
) -> Merged:
    """The files as segments, once it is sure that they hold every row."""
    written = sum(file.written.rows for file in files)
    if written != expected:
        where = f"{job.dataset.name} {job.partition.key}"
        raise UnavailableError(
            f"segments of {where} gave {written:,} rows where {expected:,} are catalogued; run `timestore verify`"
        )
    digests = [file.written.sha256 or "" for file in files]
    if not all(digests):
        digests = digests_of(file.written.path for file in files)
    named = [
        (job.name(i, file.format), replace(file, written=replace(file.written, sha256=digest)))
        for i, (file, digest) in enumerate(zip(files, digests, strict=True))
    ]
    return Merged(
        segments=tuple(_segment(job, name, file) for name, file in named),
        uploads=tuple(Upload(staged=one.written.path, name=name, sha256=one.written.sha256) for name, one in named),
        superseded_rows=superseded,
        retracted_rows=retracted,
        erased_rows=erased,
    )


def _segment(job: MergeJob, name: str, file: SegmentFile) -> NewSegment:
    sealed, written = job.plan.kind == "sealed", file.written
    times = written.stats[job.dataset.time]
    return NewSegment(
        name=name,
        partition_start=job.partition.start,
        kind=job.plan.kind,
        format=file.format,
        rows=written.rows,
        bytes=written.bytes,
        min_time=as_time(times.min),
        max_time=as_time(times.max),
        schema_version=job.schema.version,
        semantic_key=file.semantic_key,
        level=job.plan.level,
        sorted_by=job.dataset.sort_columns,
        deduplicated=sealed and job.dataset.dedupe is not None,
        source_ids=_source_ids(job),
        stats={column: stats for column, stats in written.stats.items() if column in job.schema.names},
        content_hash=file.content_hash,
        sha256=written.sha256,
    )


def _source_ids(job: MergeJob) -> tuple[int, ...]:
    """Source partitions that rows may have come from; one too many only costs a build after its retraction."""
    held = {source for segment in job.plan.merge for source in segment.source_ids}
    return tuple(sorted(held - wholly_retracted(job.retracted)))

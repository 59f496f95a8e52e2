"""Segments of a partition into new ones: drop retracted rows, deduplicate, sort, cut, write. Nothing is published here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from timestore_assets.building.carve import ROWID, Carver
from timestore_assets.building.damage import damaged_segment
from timestore_assets.building.deduplicate import deduplicated
from timestore_assets.building.plan import BuildPlan
from timestore_assets.model.content_hash import hash_sql
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import UnavailableError
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import NewSegment, Segment, SegmentFormat
from timestore_assets.model.types import quote
from timestore_assets.model.window import Partition
from timestore_assets.storage.engine import disk_failures
from timestore_assets.storage.port import Readable, Upload
from timestore_assets.storage.reading import opened
from timestore_assets.storage.segments import WrittenFile, write_parquet

_MERGED = "timestore_merged"
_NUMBER = "__number"


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeJob:
    """What to merge, of which partition, and where the files go.

    `schema`: the dataset's current one; `schema_of`: that of another version. `folder`: empty, for the new files. `temp_dir`:
    where DuckDB spills. `name`: object name for the nth file of that format.
    """

    dataset: Dataset
    partition: Partition
    plan: BuildPlan
    schema: Schema
    schema_of: Callable[[int], Schema]
    retracted: frozenset[int]
    storage: Readable
    folder: Path
    temp_dir: Path
    name: Callable[[int, SegmentFormat], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """The new segments, their files, and what became of the rows. `content_hash`: of all of them, when the plan seals."""

    segments: tuple[NewSegment, ...] = ()
    uploads: tuple[Upload, ...] = ()
    superseded_rows: int = 0
    retracted_rows: int = 0
    content_hash: str | None = None


def merge(con: duckdb.DuckDBPyConnection, job: MergeJob) -> Merged:
    """Write the merged segments of a job into its folder.

    Memory is bounded by the connection's limit: what exceeds it spills to its temporary folder.

    Raises:
        UnavailableError: a segment is missing, or does not hold the rows that the catalog says. BadFileError: one is damaged.
        StorageFullError: no room is left. duckdb.InterruptException: the connection was interrupted.
    """
    try:
        with disk_failures(f"building {job.dataset.name} {job.partition.key}", job.temp_dir):
            return _merge(con, job)
    except duckdb.InterruptException:
        raise  # somebody broke it off; no file is to blame
    except duckdb.Error as error:
        damaged = damaged_segment(con, job.plan.merge, storage=job.storage, schema=job.schema, schema_of=job.schema_of)
        if damaged is None:
            raise
        raise damaged from error


def _merge(con: duckdb.DuckDBPyConnection, job: MergeJob) -> Merged:
    with opened(
        con,
        job.plan.merge,
        storage=job.storage,
        schema=job.schema,
        schema_of=job.schema_of,
        retracted=job.retracted,
        stored=True,
    ) as source:
        retracted = _retracted_rows(con, source, job)
        kept = sum(segment.rows for segment in job.plan.merge) - retracted
        if job.plan.kind == "delta":
            return _merge_open(con, source, job, kept=kept, retracted=retracted)
        return _merge_closed(con, source, job, kept=kept, retracted=retracted)


def _retracted_rows(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob) -> int:
    """How many rows of the segments `source` leaves out."""
    if not any(job.retracted.intersection(segment.source_ids) for segment in job.plan.merge):
        return 0
    found = con.execute(f"SELECT count(*) FROM {source}").fetchone()
    return sum(segment.rows for segment in job.plan.merge) - (found[0] if found else 0)


def _merge_open(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob, *, kept: int, retracted: int) -> Merged:
    """One sorted delta of the next level.

    It is not deduplicated: a row that another one supersedes has to come back when the file of that one is replaced.
    """
    if not kept:
        return Merged(retracted_rows=retracted)
    order = _ordered(job.dataset.sort_columns)
    file = write_parquet(con, f"SELECT * FROM {source} {order}", job.folder / "merged.parquet")
    return _finished(job, [(file, None, "parquet")], expected=kept, retracted=retracted)


def _merge_closed(con: duckdb.DuckDBPyConnection, source: str, job: MergeJob, *, kept: int, retracted: int) -> Merged:
    """Sealed segments, by way of a temporary table of the partition's sorted rows, from which each file is a range."""
    dataset = job.dataset
    order = _ordered(tuple(dict.fromkeys((*dataset.partition_by, *dataset.sort_columns))))
    try:
        with deduplicated(con, source, dedupe=dataset.dedupe, schema=job.schema, total=kept) as found:
            superseded = found.superseded
            number, columns = _numbered(job.schema)
            con.execute(f"CREATE OR REPLACE TEMP TABLE {_MERGED} AS SELECT {columns} FROM (FROM {found.rows} {order})")
        digest = con.execute(hash_sql(job.schema, _MERGED)).fetchone()
        carver = Carver(con=con, table=_MERGED, number=number, dataset=dataset, schema=job.schema, folder=job.folder)
        pieces = carver.pieces(bytes_per_row=_bytes_per_row(job.plan.merge))
        files = [(carver.write(piece), piece.semantic_key, piece.format) for piece in pieces]
    finally:
        con.execute(f"DROP TABLE IF EXISTS {_MERGED}")
    content_hash = digest[0] if digest else None
    return _finished(
        job, files, expected=kept - superseded, retracted=retracted, superseded=superseded, content_hash=content_hash
    )


def _numbered(schema: Schema) -> tuple[str, str]:
    """Name of the column that numbers the merged rows, and the columns of their table as SQL."""
    if all(name.lower() != ROWID for name in schema.names):
        return ROWID, "*"
    return _NUMBER, f"*, row_number() OVER () - 1 AS {_NUMBER}"


def _ordered(columns: Sequence[str]) -> str:
    return "ORDER BY " + ", ".join(quote(name) for name in columns)


def _bytes_per_row(segments: Sequence[Segment]) -> float:
    return sum(segment.bytes for segment in segments) / max(1, sum(segment.rows for segment in segments))


def _finished(
    job: MergeJob,
    files: Sequence[tuple[WrittenFile, tuple[str, ...] | None, SegmentFormat]],
    *,
    expected: int,
    retracted: int,
    superseded: int = 0,
    content_hash: str | None = None,
) -> Merged:
    """The files as segments, once it is sure that they hold every row."""
    written = sum(file.rows for file, _, _ in files)
    if written != expected:
        where = f"{job.dataset.name} {job.partition.key}"
        raise UnavailableError(
            f"segments of {where} gave {written:,} rows where {expected:,} are catalogued; run `timestore verify`"
        )
    names = [job.name(i, format) for i, (_, _, format) in enumerate(files)]
    return Merged(
        segments=tuple(_segment(job, name, *file) for name, file in zip(names, files, strict=True)),
        uploads=tuple(Upload(staged=file.path, name=name) for name, (file, _, _) in zip(names, files, strict=True)),
        superseded_rows=superseded,
        retracted_rows=retracted,
        content_hash=content_hash,
    )


def _segment(job: MergeJob, name: str, file: WrittenFile, key: tuple[str, ...] | None, format: SegmentFormat) -> NewSegment:
    sealed = job.plan.kind == "sealed"
    times = file.stats[job.dataset.time]
    return NewSegment(
        name=name,
        partition_start=job.partition.start,
        kind=job.plan.kind,
        format=format,
        rows=file.rows,
        bytes=file.bytes,
        min_time=_time(times.min),
        max_time=_time(times.max),
        schema_version=job.schema.version,
        semantic_key=key,
        level=job.plan.level,
        sorted_by=job.dataset.sort_columns,
        deduplicated=sealed and job.dataset.dedupe is not None,
        source_ids=_source_ids(job),
        stats={column: stats for column, stats in file.stats.items() if column in job.schema.names},
    )


def _source_ids(job: MergeJob) -> tuple[int, ...]:
    """Source partitions that rows may have come from; one too many only costs a build after its retraction."""
    held = {source for segment in job.plan.merge for source in segment.source_ids}
    return tuple(sorted(held - job.retracted))


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

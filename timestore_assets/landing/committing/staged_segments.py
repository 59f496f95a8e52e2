"""Good rows to delta segments, rows in arrival order with their provenance: a Parquet file for each partition, or many small."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.commit_values import Span
from timestore_assets.catalog.instants import from_micros
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.schema import POSITION_COLUMN, PROVENANCE_COLUMNS, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.segments.partition_rows import Clusters, cluster
from timestore_assets.segments.shared_file import SharedFile, WindowBlock, runs, times_of, together, write_shared
from timestore_assets.segments.statistics import as_time
from timestore_assets.segments.writer import WrittenFile, write_delta_files
from timestore_assets.storage.object_store import Upload

DEAD_LETTER_FOLDER = "_deadletters"
_FEW_ROWS = 20_000
"""Up to so many are arranged sooner than other threads would begin with them, which all wait for the lock of an event loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a batch's rows come from."""

    source_id: int
    session_id: int
    spans: tuple[Span, ...]
    attempt: str
    """Makes the names of this try differ from those of any other."""

    @property
    def label(self) -> str:
        """The part of an object's name that says which records are in it.

        That of several source partitions says how many, beginning with which, and the sums of their offsets.
        """
        first = min(span.source_partition_id for span in self.spans)
        which = f"{first}" if len(self.spans) == 1 else f"{first}x{len(self.spans)}"
        start, end = (sum(at) for at in zip(*((one.start.offset, one.end.offset) for one in self.spans), strict=True))
        return f"{which}-{start}-{end}-{self.attempt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedSegment:
    """A segment whose file is finished but not yet in the store; several may have one file."""

    segment: NewSegment
    upload: Upload


def uploads_of(segments: Iterable[StagedSegment]) -> list[Upload]:
    """Their files, each once."""
    return list({one.upload.name: one.upload for one in segments}.values())


def write_segments(
    table: pa.Table,
    positions: pa.ChunkedArray,
    *,
    dataset: Dataset,
    schema: Schema,
    provenance: Provenance,
    folder: Path,
    threads: int = 1,
    source_partitions: pa.ChunkedArray | None = None,
    may_share: Callable[[], bool] = lambda: True,
) -> list[StagedSegment]:
    """Write rows into a staging folder, one file for each partition they touch or for many small ones; in order of time.

    `table`: good rows, typed; columns of `schema` that it lacks are stored as nulls. `positions`: the rows' `__position`.
    `source_partitions`: the rows' `__source`, None when all are of the only span's. `may_share`: whether all who read know of
    shared files; asked where there would be one.

    Raises:
        StorageFullError, UnavailableError: as `delta_files.write_delta_files`. ConflictError: as `stored_rows`.
    """
    if not table.num_rows:
        return []
    table = table.append_column(POSITION_COLUMN, positions)
    constants = {SESSION_COLUMN: provenance.session_id}
    if source_partitions is None:
        constants[SOURCE_COLUMN] = provenance.spans[0].source_partition_id
    else:
        table = table.append_column(SOURCE_COLUMN, source_partitions)
    stored, clusters = stored_rows(table, dataset=dataset, schema=schema, without=frozenset(constants), threads=threads)
    stored = with_constants(stored, constants, stored_arrow_schema(schema).names)
    spans = list(clusters.spans())
    groups = together([rows for _, rows in spans], stored.column_names)
    groups = groups if groups and may_share() else []
    shared = {place for group in groups for place in group}
    own = [span for place, span in enumerate(spans) if place not in shared]
    nan, ids = unprunable(schema), schema.ids
    files = write_delta_files(stored, own, folder=folder, threads=threads, unprunable=nan, field_ids=ids)
    staged = [
        staged_segment(file, dataset, schema, provenance, _sources_in(stored, *span))
        for file, span in zip(files, own, strict=True)
    ]
    for number, group in enumerate(groups):
        blocks = [_block(stored, clusters, *run) for run in runs(group)]
        path = folder / f"shared-{number}.parquet"
        file = write_shared(blocks, path, time=dataset.time, unprunable=nan, field_ids=ids)
        staged += staged_shared(file, dataset, schema, provenance, [_sources_in(stored, *spans[place]) for place in group])
    return in_order(staged)


def in_order(segments: Iterable[StagedSegment]) -> list[StagedSegment]:
    """Segments in order of time."""
    return sorted(segments, key=lambda one: one.segment.partition_start)


def _block(stored: pa.Table, clusters: Clusters, first: int, end: int) -> WindowBlock:
    """The rows of clusters that follow one another."""
    starts = clusters.starts[first : end + 1]
    return WindowBlock(table=stored.slice(int(starts[0]), int(starts[-1] - starts[0])), starts=starts - starts[0])


def stored_rows(
    table: pa.Table, *, dataset: Dataset, schema: Schema, without: frozenset[str], threads: int = 1
) -> tuple[pa.Table, Clusters]:
    """Rows as segments hold them, those of each partition together, in order of time.

    `table`: with `__position` and, unless they are among the columns to leave out, the other columns of provenance.

    Raises:
        ConflictError: the table has other columns than the schema, so that values would be left out.
    """
    _require_fit(table, dataset, schema)
    clusters = cluster(times_of(table, dataset.time), dataset.window)
    return _arranged(table, schema, clusters, without, threads), clusters


def _require_fit(table: pa.Table, dataset: Dataset, schema: Schema) -> None:
    """Rows judged by one schema are never written in another: what that lacks would be lost, what these lack would be null."""
    names = set(table.column_names)
    lost = names.difference(schema.names, PROVENANCE_COLUMNS)
    lacking = [column.name for column in schema if not column.nullable and column.name not in names]
    if lost or lacking:
        what = f"the schema lacks {sorted(lost)}" if lost else f"the rows lack {lacking}"
        raise ConflictError(f"rows of {dataset.name!r} were judged by other columns than they would be stored in: {what}")


def with_constants(table: pa.Table, constants: Mapping[str, int], order: Sequence[str]) -> pa.Table:
    """The table with columns of one value each, all in that order."""
    for name, value in constants.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value, pa.int64()), table.num_rows))
    return table.select(list(order))


def unprunable(schema: Schema) -> list[str]:
    """Columns that may hold NaN, which no bounds describe."""
    return [column.name for column in schema if column.allow_nan]


def _sources_in(stored: pa.Table, first: int, rows: int) -> tuple[int, ...]:
    """Source partitions of some rows."""
    return tuple(sorted(pc.unique(stored.column(SOURCE_COLUMN).slice(first, rows)).to_pylist()))


def _arranged(table: pa.Table, schema: Schema, clusters: Clusters, without: frozenset[str], threads: int) -> pa.Table:
    """Columns as segments hold them, rows in the order of the clusters."""
    kinds, rows = stored_arrow_schema(schema), table.num_rows
    names = [name for name in kinds.names if name not in without]

    def stored(name: str) -> pa.ChunkedArray:
        kind = kinds.field(name).type
        if name not in table.column_names:
            return pa.chunked_array([pa.nulls(rows, kind)])
        return clusters.arrange(table.column(name).cast(kind))

    if threads == 1 or rows <= _FEW_ROWS:
        return pa.table({name: stored(name) for name in names})
    with ThreadPoolExecutor(threads) as pool:
        return pa.table(dict(zip(names, pool.map(stored, names), strict=True)))


def staged_file(
    file: WrittenFile | SharedFile, dataset: Dataset, schema: Schema, provenance: Provenance, source_ids: tuple[int, ...]
) -> list[StagedSegment]:
    """A written file as the segments that it is going to be. `source_ids`: source partitions that all of its rows are of."""
    if isinstance(file, SharedFile):
        return staged_shared(file, dataset, schema, provenance, [source_ids] * len(file.windows))
    return [staged_segment(file, dataset, schema, provenance, source_ids)]


def staged_segment(
    file: WrittenFile, dataset: Dataset, schema: Schema, provenance: Provenance, source_ids: tuple[int, ...]
) -> StagedSegment:
    """A written file as the segment it is going to be."""
    times = file.stats[dataset.time]
    first, last = as_time(times.min), as_time(times.max)
    partition = dataset.window.partition(first)
    name = f"{dataset.name}/{partition.path_name}/delta-{provenance.label}.parquet"
    segment = NewSegment(
        name=name,
        partition_start=partition.start,
        kind="delta",
        format="parquet",
        rows=file.rows,
        bytes=file.bytes,
        min_time=first,
        max_time=last,
        schema_version=schema.version,
        source_ids=source_ids,
        stats={column: file.stats[column] for column in schema.names},
    )
    return StagedSegment(segment=segment, upload=Upload(staged=file.path, name=name))


def staged_shared(
    file: SharedFile, dataset: Dataset, schema: Schema, provenance: Provenance, source_ids: Sequence[tuple[int, ...]]
) -> list[StagedSegment]:
    """A written file as the segments that it is going to be, one for each of its windows. `source_ids`: of each of them."""
    partitions = [dataset.window.partition(from_micros(window.min_time)) for window in file.windows]
    name = f"{dataset.name}/{partitions[0].path_name}/delta-{provenance.label}-w{len(partitions)}.parquet"
    upload = Upload(staged=file.written.path, name=name)
    return [
        StagedSegment(
            segment=NewSegment(
                name=name,
                partition_start=partition.start,
                kind="delta",
                format="parquet",
                rows=window.rows,
                bytes=file.share_of(window),
                min_time=from_micros(window.min_time),
                max_time=from_micros(window.max_time),
                schema_version=schema.version,
                source_ids=ids,
                first_row=window.first_row,
                object_bytes=file.written.bytes,
            ),
            upload=upload,
        )
        for window, partition, ids in zip(file.windows, partitions, source_ids, strict=True)
    ]

"""Good rows to delta segments: one Parquet file for each partition, rows in arrival order with their provenance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from timestore_assets.landing.cluster import Clusters, cluster
from timestore_assets.landing.delta_files import write_delta_files
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.position import Position
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.storage.port import Upload
from timestore_assets.storage.segments import WrittenFile

DEAD_LETTER_FOLDER = "_deadletters"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a batch's rows come from. `attempt`: makes the names of this try differ from those of any other."""

    source_id: int
    source_partition_id: int
    session_id: int
    start: Position
    end: Position
    attempt: str

    @property
    def label(self) -> str:
        """The part of an object's name that says which records are in it."""
        return f"{self.source_partition_id}-{self.start.offset}-{self.end.offset}-{self.attempt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedSegment:
    """A segment whose file is finished but not yet in the store."""

    segment: NewSegment
    upload: Upload


def write_segments(
    table: pa.Table,
    positions: pa.ChunkedArray,
    *,
    dataset: Dataset,
    schema: Schema,
    provenance: Provenance,
    folder: Path,
    threads: int = 1,
) -> list[StagedSegment]:
    """Write rows into a staging folder, one file for each partition they touch, in order of time.

    `table`: good rows, typed; columns of `schema` that it lacks are stored as nulls. `positions`: the rows' `__position`.

    Raises:
        StorageFullError, UnavailableError: as `delta_files.write_delta_files`.
    """
    if not table.num_rows:
        return []
    times = table.column(dataset.time).cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)
    clusters = cluster(times, dataset.window)
    stored = _stored_rows(table, positions, schema, provenance, clusters, threads)
    unprunable = [column.name for column in schema if column.allow_nan]
    files = write_delta_files(stored, clusters, folder=folder, unprunable=unprunable, threads=threads)
    return [_staged(file, dataset, schema, provenance) for file in files]


def _stored_rows(
    table: pa.Table, positions: pa.ChunkedArray, schema: Schema, provenance: Provenance, clusters: Clusters, threads: int
) -> pa.Table:
    """Columns as segments hold them, rows in the order of the clusters."""
    kinds, rows = stored_arrow_schema(schema), table.num_rows

    def stored(name: str) -> pa.ChunkedArray:
        kind = kinds.field(name).type
        if name == POSITION_COLUMN:
            return clusters.arrange(positions)
        if name not in table.column_names:
            return pa.chunked_array([pa.nulls(rows, kind)])
        return clusters.arrange(table.column(name).cast(kind))

    names = [*schema.names, POSITION_COLUMN]
    with ThreadPoolExecutor(threads) as pool:
        columns = dict(zip(names, pool.map(stored, names), strict=True))
    for name, value in ((SOURCE_COLUMN, provenance.source_partition_id), (SESSION_COLUMN, provenance.session_id)):
        columns[name] = pa.chunked_array([pa.repeat(pa.scalar(value, pa.int64()), rows)])
    return pa.table({name: columns[name] for name in kinds.names})


def _staged(file: WrittenFile, dataset: Dataset, schema: Schema, provenance: Provenance) -> StagedSegment:
    times = file.stats[dataset.time]
    first, last = _time(times.min), _time(times.max)
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
        source_ids=(provenance.source_partition_id,),
        stats={column: file.stats[column] for column in schema.names},
    )
    return StagedSegment(segment=segment, upload=Upload(staged=file.path, name=name))


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

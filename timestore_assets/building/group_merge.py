"""Small partitions merged together: read by one statement, deduplicated and sorted at once, written as one file each.

What comes out is what `merge` gives for each of them. Nothing is published here, and nobody is blamed: where something is not as
it should be, the partitions are merged one by one, which finds out why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

from timestore_assets.building.merge import Merged, MergeJob, SegmentFile, finished
from timestore_assets.catalog.instants import to_micros
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import literal, quote
from timestore_assets.model.window import Window
from timestore_assets.segments.deduplicate import deduplicated
from timestore_assets.segments.partition_rows import window_numbers
from timestore_assets.segments.quick_hash import quick_hashes
from timestore_assets.segments.reader import opened
from timestore_assets.segments.statistics import by_groups
from timestore_assets.segments.writer import SmallFiles, WrittenFile
from timestore_assets.storage.object_store import first_damaged

_GROUP = "timestore_group"
_FILE = "__file"
_BATCH_ROWS = 100_000


class UngroupedError(Exception):
    """These partitions can't be merged together."""


def merge_group(con: duckdb.DuckDBPyConnection, jobs: Sequence[MergeJob]) -> list[Merged]:
    """Write the merged segments of jobs of one dataset and kind into their folders; returns them in their order.

    Raises:
        UngroupedError: a segment is not what was committed, or does not hold the rows that the catalog says. duckdb.Error,
            TimestoreError: as `merge`.
    """
    first = jobs[0]
    segments = [segment for job in jobs for segment in job.plan.merge]
    # held while they are merged, so that what was proved and what is read are the same files
    with first.storage.reading(segments):
        if first_damaged(segments, first.digests, storage=first.storage) is not None:
            raise UngroupedError("a segment is damaged")
        try:
            with opened(
                con,
                segments,
                storage=first.storage,
                schema=first.schema,
                schema_of=first.schema_of,
                stored=True,
                strict=True,
            ) as source:
                con.execute(f"CREATE OR REPLACE TEMP TABLE {_GROUP} AS SELECT * FROM {source}")
            return _merged(con, jobs)
        finally:
            con.execute(f"DROP TABLE IF EXISTS {_GROUP}")


def _merged(con: duckdb.DuckDBPyConnection, jobs: Sequence[MergeJob]) -> list[Merged]:
    dataset, schema, is_sealed = jobs[0].dataset, jobs[0].schema, jobs[0].plan.kind == "sealed"
    start_of = f"epoch_us({_window_start(dataset)})"
    starts = [to_micros(job.partition.start) for job in jobs]
    read = {start: sum(segment.rows for segment in job.plan.merge) for start, job in zip(starts, jobs, strict=True)}
    if dict(con.execute(f"SELECT {start_of}, count(*) FROM {_GROUP} GROUP BY 1").fetchall()) != read:
        raise UngroupedError("segments do not hold the rows that are catalogued")
    dedupe = dataset.dedupe if is_sealed else None
    with deduplicated(con, _GROUP, dedupe=dedupe, schema=schema, total=sum(read.values())) as unique:
        types = {column.name: column.stored_type for column in schema}
        stats = by_groups(con, unique.rows, types, by=start_of)
        order = ", ".join([_window_start(dataset), *map(quote, dataset.sort_columns)])
        files = _written(con, f"SELECT * FROM {unique.rows} ORDER BY {order}", jobs)
    hashes = _hashes(con, schema, list(files.values())) if is_sealed else {}
    merged = []
    for start, job in zip(starts, jobs, strict=True):
        kept, of_columns = stats[start]
        hashed = hashes.get(str(files[start].path))
        file = SegmentFile(written=replace(files[start], stats=of_columns), format="parquet", content_hash=hashed)
        done = finished(job, [file], expected=kept, retracted=0, superseded=read[start] - kept)
        merged.append(replace(done, content_hash=hashed))
    return merged


def _window_start(dataset: Dataset) -> str:
    """SQL for the start of a row's window."""
    if dataset.window is Window.ALL:
        raise UngroupedError("there is only one partition")
    return f"date_trunc({literal(str(dataset.window))}, {quote(dataset.time)})::TIMESTAMP"


def _written(con: duckdb.DuckDBPyConnection, query: str, jobs: Sequence[MergeJob]) -> dict[int, WrittenFile]:
    """The rows of a query, in its order, in a file for each partition, by its start; without statistics."""
    dataset, schema = jobs[0].dataset, jobs[0].schema
    stored = pa.schema([pa.field(one.name, one.type) for one in stored_arrow_schema(schema)])
    starts = np.array([to_micros(job.partition.start) for job in jobs], dtype=np.int64)
    start_of = dict(zip(window_numbers(starts, dataset.window).tolist(), starts.tolist(), strict=True))
    writer, files = SmallFiles(stored, field_ids=schema.ids), dict[int, WrittenFile]()
    # never more than a batch and a partition of it in memory
    for number, rows in _by_window(streamed(con, query), dataset):
        files[start_of[number]] = writer.write(rows.select(stored.names), jobs[0].folder / f"{len(files)}.parquet")
    return files


def streamed(con: duckdb.DuckDBPyConnection, query: str, *, rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The rows of a query, so many at a time.

    Raises:
        duckdb.InterruptException: the connection was interrupted, which Arrow calls an OSError.
    """
    try:
        yield from con.sql(query).to_arrow_reader(rows)
    except OSError as error:
        if "INTERRUPT Error" in str(error):
            raise duckdb.InterruptException(str(error)) from error
        raise


def _by_window(batches: Iterable[pa.RecordBatch], dataset: Dataset) -> Iterator[tuple[int, pa.Table]]:
    """Rows that come in order of their windows as a table for each window, with its number."""
    waiting: list[pa.Table] = []
    current = 0
    for batch in batches:
        table = pa.Table.from_batches([batch])
        times = table.column(dataset.time).cast(pa.int64()).to_numpy()
        numbers = window_numbers(times, dataset.window)
        borders = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for first, end in pairwise([0, *borders.tolist(), len(numbers)]):
            if waiting and int(numbers[first]) != current:
                yield current, pa.concat_tables(waiting)
                waiting = []
            current = int(numbers[first])
            waiting.append(table.slice(first, end - first))
    if waiting:
        yield current, pa.concat_tables(waiting)


def _hashes(con: duckdb.DuckDBPyConnection, schema: Schema, files: Sequence[WrittenFile]) -> dict[str, str]:
    """The content hash of each file by its path, read from it, so that it stands for what was written."""
    paths = ", ".join(literal(str(file.path)) for file in files)
    rows = f"read_parquet([{paths}], hive_partitioning=false, union_by_name=false, filename={literal(_FILE)})"
    return quick_hashes(con, schema, rows, by=_FILE)

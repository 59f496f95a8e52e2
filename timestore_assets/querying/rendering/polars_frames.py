"""Datasets as Polars lazy frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.question import Question
from timestore_assets.querying.planning.query_plan import Plan
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.rendering.frames import FrameSelection, frame_question


def polars_frame(querier: Querier, dataset: Dataset, record: DatasetRecord, **selection: Unpack[FrameSelection]) -> pl.LazyFrame:
    """The rows of `[start, end)` as a lazy frame, in no particular order; times are `Datetime("us", "UTC")`.

    It answers from the manifest version of this call, however often it is collected; that version stays pinned for an hour.
    When all segments are Parquet files of this machine, built and of one schema, Polars scans them itself; else batches come
    from a query, with the columns that the plan needs.
    """
    question = frame_question(dataset, selection)
    # not released: nobody can tell when the last frame made from this one is gone, so it expires
    version = querier.claim(record, question.as_of).version
    question = replace(question, as_of=version)
    dataset, record = querier.in_force(dataset, record, version)
    chosen = querier.plan(dataset, record, question)
    paths = [querier.storage.path(segment) for segment in chosen.whole.unique]
    here = [path for path in paths if path is not None]
    if question.limit is None and len(here) == len(paths) and _scannable(querier, record, chosen):
        return _scan(here, dataset, record, question, chosen)
    with querier.ask(dataset, record, question) as answer:
        schema = pl.from_arrow(answer.schema.empty_table()).schema  # type: ignore[union-attr] # of a table it is a frame

    def rows(wanted: list[str] | None, predicate: pl.Expr | None, limit: int | None, _: int | None) -> Iterator[pl.DataFrame]:
        names = tuple(wanted or schema.names())
        with querier.ask(dataset, record, replace(question, columns=names)) as found:
            yield from _frames(found.batches(), names, predicate, limit)

    return register_io_source(rows, schema=schema, validate_schema=True, is_pure=True, explain_name=dataset.name)


def _frames(
    batches: Iterator[pa.RecordBatch], names: Sequence[str], predicate: pl.Expr | None, limit: int | None
) -> Iterator[pl.DataFrame]:
    left = limit
    for batch in batches:
        frame = pl.DataFrame(pl.from_arrow(batch)).select(names)
        frame = frame if left is None else frame.head(left)
        left = None if left is None else left - frame.height
        yield frame if predicate is None else frame.filter(predicate)
        if left == 0:
            return


def _scannable(querier: Querier, record: DatasetRecord, chosen: Plan) -> bool:
    """Whether the files hold the answer as it is: nothing to deduplicate, leave out, convert or fill in."""
    whole = chosen.whole
    if whole.overlapping or not whole.unique or any(one.format != "parquet" or one.is_shared for one in whole.unique):
        return False
    if querier.catalog.manifest.retracted(record.id, version=chosen.version):
        return False
    if any(column.origin == "inferred" for column in record.schema):
        return False
    return {segment.schema_version for segment in whole.unique} == {record.schema.version}


def _scan(paths: list[Path], dataset: Dataset, record: DatasetRecord, question: Question, chosen: Plan) -> pl.LazyFrame:
    frame = pl.scan_parquet(paths, hive_partitioning=False, glob=False)
    time = pl.col(dataset.time)
    if chosen.start is not None:
        frame = frame.filter(time >= chosen.start.replace(tzinfo=None))
    if chosen.end is not None:
        frame = frame.filter(time < chosen.end.replace(tzinfo=None))
    times = [column.name for column in record.schema if column.type.kind == "timestamp"]
    names = list(question.columns or record.schema.names)
    return frame.select(pl.col(name).dt.replace_time_zone("UTC") if name in times else pl.col(name) for name in names)

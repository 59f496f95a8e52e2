"""Datasets as the frames that Python users know: Arrow tables, Polars lazy frames, DuckDB relations and views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.types import quote
from timestore_assets.querying.execute import Querier
from timestore_assets.querying.plan import Plan
from timestore_assets.querying.question import Question
from timestore_assets.querying.rows import time_conditions


def arrow_table(
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    columns: Sequence[str] | None = None,
    as_of: int | None = None,
) -> pa.Table:
    """The rows of `[start, end)`, by time, in memory. Timestamps are `timestamp[us, tz=UTC]`. Errors as `Querier.ask`."""
    with querier.ask(dataset, record, _question(dataset, start, end, columns, as_of)) as answer:
        return answer.table()


def _question(
    dataset: Dataset, start: datetime | None, end: datetime | None, columns: Sequence[str] | None, as_of: int | None
) -> Question:
    """The question; an empty range, which a person is told about, is fine here and gives no rows."""
    chosen = None if columns is None else tuple(columns)
    if start is not None and start == end:
        return Question(dataset=dataset.name, start=start, end=start + timedelta(seconds=1), columns=chosen, limit=0, as_of=as_of)
    return Question(dataset=dataset.name, start=start, end=end, columns=chosen, as_of=as_of)


def polars_frame(
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    columns: Sequence[str] | None = None,
    as_of: int | None = None,
) -> pl.LazyFrame:
    """The rows of `[start, end)` as a lazy frame, in no particular order; times are `Datetime("us", "UTC")`.

    It answers from the manifest version of this call, however often it is collected; that version stays pinned for an hour.
    When all segments are Parquet files of this machine, built and of one schema, Polars scans them itself; else batches come
    from a query, with the columns that the plan needs.
    """
    question = _question(dataset, start, end, columns, as_of)
    # not released: nobody can tell when the last frame made from this one is gone, so it expires
    version = querier.claim(record, as_of).version
    question = replace(question, as_of=version)
    chosen = querier.plan(dataset, record, question)
    paths = [querier.storage.path(segment) for segment in chosen.whole.unique]
    here = [path for path in paths if path is not None]
    if question.limit is None and len(here) == len(paths) and _scannable(querier, record, chosen):
        return _scan(here, dataset, record, question, chosen)
    with querier.ask(dataset, record, question) as answer:
        schema = pl.from_arrow(answer.schema.empty_table()).schema  # type: ignore[union-attr]

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
    if whole.overlapping or not whole.unique or any(segment.format != "parquet" for segment in whole.unique):
        return False
    if querier.catalog.retracted(record.id, version=chosen.version):
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


@contextmanager
def relation(
    con: duckdb.DuckDBPyConnection,
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    columns: Sequence[str] | None = None,
    as_of: int | None = None,
) -> Iterator[duckdb.DuckDBPyRelation]:
    """The rows of `[start, end)` as a lazy relation in a connection, usable inside the `with`; times are TIMESTAMP in UTC."""
    with ExitStack() as stack:
        rows = stack.enter_context(_rows(con, querier, dataset, record, start=start, end=end, as_of=as_of))
        names = ", ".join(quote(name) for name in (columns or record.schema.names))
        yield con.sql(f"SELECT {names} FROM {rows}")


@contextmanager
def duckdb_views(
    con: duckdb.DuckDBPyConnection, querier: Querier, datasets: Mapping[str, tuple[Dataset, DatasetRecord]]
) -> Iterator[None]:
    """Each dataset as a temporary view of its newest version in a connection; the views go at the end of the `with`."""
    with ExitStack() as stack:
        for name, (dataset, record) in datasets.items():
            rows = stack.enter_context(_rows(con, querier, dataset, record))
            con.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM {rows}").fetchall()
            stack.callback(_drop, con, name)
        yield


def _drop(con: duckdb.DuckDBPyConnection, name: str) -> None:
    con.execute(f"DROP VIEW IF EXISTS {quote(name)}").fetchall()


@contextmanager
def _rows(
    con: duckdb.DuckDBPyConnection,
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: int | None = None,
) -> Iterator[str]:
    with ExitStack() as stack:
        claim = querier.claim(record, as_of)
        stack.callback(claim.release)
        chosen = querier.planned(dataset, record, version=claim.version, start=start, end=end)
        record = querier.newer(record, chosen) or record
        rows = stack.enter_context(querier.everything(con, dataset, record, chosen))
        conditions = time_conditions(dataset.time, chosen.start, chosen.end)
        yield f"(SELECT * FROM {rows} WHERE {' AND '.join(conditions) or 'true'})"

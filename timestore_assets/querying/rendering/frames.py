"""Datasets as Arrow tables, DuckDB relations and views; as Polars frames in `polars_frames`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

import duckdb
import pyarrow as pa

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.question import Question
from timestore_assets.model.types import quote
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.reading.rows import time_conditions


class FrameSelection(TypedDict, total=False):
    """Which rows a frame has: those of `[start, end)` as of a manifest version, and which columns."""

    start: datetime | None
    end: datetime | None
    columns: Sequence[str] | None
    as_of: int | None


def arrow_table(querier: Querier, dataset: Dataset, record: DatasetRecord, **selection: Unpack[FrameSelection]) -> pa.Table:
    """The rows of `[start, end)`, by time, in memory. Timestamps are `timestamp[us, tz=UTC]`. Errors as `Querier.ask`."""
    with querier.ask(dataset, record, frame_question(dataset, selection)) as answer:
        return answer.table()


def frame_question(dataset: Dataset, selection: FrameSelection) -> Question:
    """The question; an empty range, which a person is told about, is fine here and gives no rows."""
    start, end, columns = selection.get("start"), selection.get("end"), selection.get("columns")
    question = Question(
        dataset=dataset.name,
        start=start,
        end=end,
        columns=None if columns is None else tuple(columns),
        as_of=selection.get("as_of"),
    )
    if start is not None and start == end:
        return replace(question, end=start + timedelta(seconds=1), limit=0)
    return question


@contextmanager
def relation(
    con: duckdb.DuckDBPyConnection,
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    **selection: Unpack[FrameSelection],
) -> Iterator[duckdb.DuckDBPyRelation]:
    """The rows of `[start, end)` as a lazy relation in a connection, usable inside the `with`; times are TIMESTAMP in UTC."""
    with ExitStack() as stack:
        rows = stack.enter_context(_rows(con, querier, dataset, record, selection))
        names = ", ".join(quote(name) for name in selection.get("columns") or ()) or "*"
        yield con.sql(f"SELECT {names} FROM {rows}")


@contextmanager
def duckdb_views(
    con: duckdb.DuckDBPyConnection, querier: Querier, datasets: Mapping[str, tuple[Dataset, DatasetRecord]]
) -> Iterator[None]:
    """Each dataset as a temporary view of its newest version in a connection; the views go at the end of the `with`."""
    with ExitStack() as stack:
        for name, (dataset, record) in datasets.items():
            rows = stack.enter_context(_rows(con, querier, dataset, record, {}))
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
    selection: FrameSelection,
) -> Iterator[str]:
    with ExitStack() as stack:
        claim = querier.claim(record, selection.get("as_of"))
        stack.callback(claim.release)
        start, end = selection.get("start"), selection.get("end")
        dataset, record = querier.in_force(dataset, record, claim.version)
        chosen = querier.planned(dataset, record, version=claim.version, start=start, end=end)
        rows = stack.enter_context(querier.everything(con, dataset, record, chosen))
        conditions = time_conditions(dataset.time, chosen.start, chosen.end)
        yield f"(SELECT * FROM {rows} WHERE {' AND '.join(conditions) or 'true'})"

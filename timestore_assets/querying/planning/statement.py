"""A question checked against a dataset's schema, and the SQL it becomes over any table of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import duckdb_type, quote
from timestore_assets.model.window import utc
from timestore_assets.querying.planning.aggregates import aggregate_sql, is_number, resolve, unit
from timestore_assets.querying.planning.column_names_in_sql import find_column, unique
from timestore_assets.querying.planning.time_buckets import Buckets, Gaps, parse_zone
from timestore_assets.querying.planning.where import Where, parse_where


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputColumn:
    """A column of the answer. `sql`: its value. `grouped`: it names the group that a row is about."""

    name: str
    sql: str
    unit: str = ""
    description: str = ""
    grouped: bool = False
    number: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A checked question as the parts of its SQL."""

    outputs: tuple[OutputColumn, ...]
    #: Columns that are read.
    needed: tuple[str, ...]
    where: Where
    #: SQL terms of ORDER BY.
    order: tuple[str, ...]
    #: A row stands for many.
    aggregated: bool
    #: The latest come first.
    descending: bool
    start: datetime | None
    end: datetime | None
    #: Of time, the first column of the answer.
    buckets: Buckets | None = None
    #: How those without rows are filled.
    gaps: Gaps | None = None

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the columns that say what a row is about."""
        return tuple(output.name for output in self.outputs if output.grouped)

    def over(self, rows: str, *, limit: int | None = None) -> str:
        """The whole SELECT over a table expression of rows that are already filtered."""
        values = ", ".join(f"{output.sql} AS {quote(output.name)}" for output in self.outputs)
        text = f"SELECT {values} FROM {rows}"
        if groups := [str(i + 1) for i, output in enumerate(self.outputs) if output.grouped]:
            text += f" GROUP BY {', '.join(groups)}"
        if self.buckets and self.buckets.zone:
            time = quote(self.series[0])
            text = f"SELECT * REPLACE ({self.buckets.start_of(time)} AS {time}) FROM ({text})"
        if self.gaps:
            figures = {output.name: output.number for output in self.outputs if not output.grouped}
            # the last ones are known when all are made
            most = None if self.descending else limit
            text = self.gaps.filled(text, series=self.series, figures=figures, limit=most)
        if self.order:
            text += f" ORDER BY {', '.join(self.order)}"
        return text if limit is None else f"{text} LIMIT {limit}"


def prepare(con: duckdb.DuckDBPyConnection, question: Question, dataset: Dataset, schema: Schema) -> Statement:
    """Check a question and settle what it reads and gives.

    Raises:
        InputError: a column, function, range, filter or limit that makes no sense; says what would.
    """
    _check_range(question)
    where = parse_where(con, question.where, schema, dataset=dataset.name) if question.where is not None else Where()
    outputs, used = _aggregated(question, dataset, schema) if question.aggregates else _plain(question, dataset, schema)
    _check_names(outputs)
    return Statement(
        outputs=outputs,
        needed=unique(name for name in schema.names if name in {*used, *where.columns, dataset.time}),
        where=where,
        order=_order(question, dataset, outputs),
        aggregated=bool(question.aggregates),
        descending=question.descending,
        start=question.start and utc(question.start),
        end=question.end and utc(question.end),
        buckets=_buckets(question),
        gaps=_gaps(question, outputs),
    )


def _check_range(question: Question) -> None:
    for name, time in (("start", question.start), ("end", question.end)):
        if time is not None and time.tzinfo is None:
            raise InputError(f"the {name} {time} has no time zone; use for instance datetime(2013, 1, 1, tzinfo=UTC)")
    if question.start and question.end and question.start >= question.end:
        raise InputError(f"the range is empty: it starts at {question.start} and ends at {question.end}, which is not part of it")
    if question.limit is not None and question.limit < 0:
        raise InputError(f"the limit {question.limit} is below zero")
    if (question.every or question.group_by) and not question.aggregates:
        what = "every" if question.every else "group_by"
        raise InputError(f"{what} needs aggregates: say what to compute, for instance avg:temp,max:temp or count")
    if question.aggregates and question.columns is not None:
        raise InputError(
            "columns and aggregates exclude each other; the answer holds the buckets, the group_by columns and the aggregates"
        )


def _buckets(question: Question) -> Buckets | None:
    if question.timezone is not None and not question.every:
        raise InputError("a time zone is for buckets of time: say how long they are, for instance 1d; times of rows are in UTC")
    if not question.every:
        return None
    return Buckets(every=question.every, zone=None if question.timezone is None else parse_zone(question.timezone))


def _gaps(question: Question, outputs: Sequence[OutputColumn]) -> Gaps | None:
    if question.fill is None:
        return None
    buckets = _buckets(question)
    if buckets is None:
        raise InputError("fill needs buckets of time: say how long they are, for instance 1h")
    texts = [output.name for output in outputs if not output.grouped and not output.number]
    if texts and question.fill in ("linear", "zero"):
        raise InputError(f"fill {question.fill} is for numbers only, {texts[0]!r} is none; null and previous are for all")
    return Gaps(
        fill=question.fill,
        buckets=buckets,
        start=question.start and utc(question.start),
        end=question.end and utc(question.end),
    )


def _plain(question: Question, dataset: Dataset, schema: Schema) -> tuple[tuple[OutputColumn, ...], set[str]]:
    if question.columns is not None and not question.columns:
        raise InputError("no column is asked for; name some, or leave columns out for all")
    names = schema.names if question.columns is None else question.columns
    columns = [find_column(schema, name, dataset=dataset.name) for name in names]
    used = unique(column.name for column in columns)
    return tuple(_column_output(schema.column(name)) for name in used), set(used)


def _column_output(column: Column, *, grouped: bool = False) -> OutputColumn:
    return OutputColumn(
        name=column.name, sql=quote(column.name), unit=column.unit, description=column.description, grouped=grouped
    )


def _aggregated(question: Question, dataset: Dataset, schema: Schema) -> tuple[tuple[OutputColumn, ...], set[str]]:
    groups = [find_column(schema, name, dataset=dataset.name) for name in unique(question.group_by)]
    outputs = [_column_output(column, grouped=True) for column in groups]
    used = {column.name for column in groups}
    if buckets := _buckets(question):
        outputs.insert(0, OutputColumn(name=dataset.time, sql=buckets.grouped(quote(dataset.time)), grouped=True))
    for aggregate in question.aggregates:
        column = resolve(aggregate, schema, dataset=dataset.name)
        sql = aggregate_sql(aggregate, column, time=dataset.time)
        number = is_number(aggregate, column)
        outputs.append(OutputColumn(name=aggregate.name, sql=sql, unit=unit(aggregate, column), number=number))
        used |= {column.name} if column else set()
    return tuple(outputs), used


def _check_names(outputs: Sequence[OutputColumn]) -> None:
    seen: set[str] = set()
    for output in outputs:
        if output.name.lower() in seen:
            raise InputError(
                f"two columns of the answer would be named {output.name!r}; give one another name, for instance avg:temp as mean"
            )
        seen.add(output.name.lower())


def _order(question: Question, dataset: Dataset, outputs: Sequence[OutputColumn]) -> tuple[str, ...]:
    """Time first. Under a limit every column of the answer decides, so that which rows are in it never depends on storage.

    Descending is the exact reverse of ascending, ties included.
    """
    if question.aggregates:
        terms = [str(i + 1) for i, output in enumerate(outputs) if output.grouped]
    else:
        shown = [output.name for output in outputs]
        is_cut = question.limit is not None
        ties = shown if is_cut else [name for name in _row_keys(dataset) if name in shown]
        terms = [quote(name) for name in unique((dataset.time, *ties))]
    return tuple(f"{term} DESC NULLS FIRST" for term in terms) if question.descending else tuple(terms)


def _row_keys(dataset: Dataset) -> tuple[str, ...]:
    return dataset.dedupe.keys if dataset.dedupe else dataset.partition_by


def no_rows(schema: Schema, names: Sequence[str]) -> str:
    """A table expression with these columns and no rows."""
    columns = (f"CAST(NULL AS {duckdb_type(schema.column(name).type)}) AS {quote(name)}" for name in names)
    return f"(SELECT {', '.join(columns)} WHERE false)"

"""Records that come behind a later one of their key: refused where the dataset's `order` is `strict`.

What is judged by is the newest time of every key in its source partition, a value: a batch is judged by the state that the
batch before it left, and makes the next. So the split into batches doesn't matter, and a batch can be judged again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol, Self, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.model.arrow_schema import stored_arrow_type
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import literal

OUT_OF_ORDER = "out_of_order"
"""Reason code of records older than the newest of their key."""
Column64: TypeAlias = "pa.Array[Any] | pa.ChunkedArray"
_TABLES = count()
_LARGEST = 1 << 62
_ALIKE = 2
"""A table of newest times is joined with the one before it unless that has more than so many times its rows."""


def key_names(count: int) -> list[str]:
    """Columns of newest times that stand for the key, whatever they are called in the dataset."""
    return [f"key{number}" for number in range(count)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    """The good rows of a batch in order of arrival. `rows`: `row`, `source`, `position`, the key's columns, and `instant`."""

    rows: pa.Table
    names: tuple[str, ...]
    """Of the columns that make the key, with its source partition."""

    @classmethod
    def of(
        cls,
        table: pa.Table,
        dataset: Dataset,
        schema: Schema,
        row_mask: RowMask,
        *,
        sources: Column64,
        positions: Column64,
    ) -> Self:
        """`table`, `sources`, `positions`: one row for each of the batch."""
        good = row_mask.good_indices()
        keys = key_columns(dataset, schema)
        columns = {"row": pa.array(good, pa.int64()), "source": _kept(sources, good), "position": _kept(positions, good)}
        for name, column in zip(key_names(len(keys)), keys, strict=True):
            kind = stored_arrow_type(column)
            is_there = column.name in table.column_names
            columns[name] = _kept(table.column(column.name), good).cast(kind) if is_there else pa.nulls(len(good), kind)
        columns["instant"] = _kept(table.column(dataset.time), good).cast(pa.timestamp("us")).cast(pa.int64())
        return cls(rows=pa.table(columns), names=("source", *key_names(len(keys))))

    def by_key(self) -> ByKey:
        """The same rows sorted by key."""
        codes = _codes([self.rows.column(name) for name in self.names])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        instants = self.rows.column("instant").to_numpy()[order]
        newest = np.maximum.reduceat(instants, starts) if len(starts) else instants
        keys = self.rows.select(list(self.names)).take(pa.array(order[starts]))
        return ByKey(
            rows=self.rows.column("row").to_numpy()[order],
            instants=instants,
            keys=np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order))),
            newest=keys.append_column("newest", pa.array(newest, pa.int64())),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ByKey:
    """Rows in order of arrival, those of each key together. `keys`: which row of `newest` is the key of each."""

    rows: Rows
    instants: Rows
    keys: Rows
    newest: pa.Table
    """Each key, with the newest time of its rows."""

    def behind(self, earlier: Rows) -> pa.Table:
        """Rows with a time before the newest until then. `earlier`: the newest time of each key before all of these."""
        until = np.maximum(self._running(), earlier[self.keys])
        late = self.instants < until
        return pa.table({"row": self.rows[late], "instant": self.instants[late], "newest": until[late]})

    def _running(self) -> Rows:
        """The newest time of its key up to each row."""
        if not ((np.diff(self.instants) < 0) & (np.diff(self.keys) == 0)).any():
            return self.instants
        # one maximum over all, the ranks of each key's times lying above those of the keys before it
        values, ranks = np.unique(self.instants, return_inverse=True)
        raised = np.maximum.accumulate(self.keys * len(values) + ranks)
        running: Rows = values[raised - self.keys * len(values)]
        return running


class ArrivalOrder(Protocol):
    """What records that arrive are compared with."""

    def behind(self, con: duckdb.DuckDBPyConnection, arrivals: Arrivals) -> tuple[pa.Table, OrderStep | None]:
        """Those that come behind a later one of their key: `row`, `instant` and `newest`, in microseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewestTimes:
    """The newest time of each key, for some source partitions; two are the same state only if they are the same object.

    `tables`: columns `source`, those of the key, and `newest` in microseconds since 1970. The older ones are larger, so that
    few rows are copied for a batch; a key may stand in several.
    """

    sources: frozenset[int] = frozenset()
    tables: tuple[pa.Table, ...] = ()

    def started(self, sources: Collection[int], found: pa.Table | None = None) -> Self:
        """A state that has these source partitions anew, with what was found of them."""
        known = self.sources.intersection(sources)
        kept = tuple(_without(table, known) for table in self.tables) if known else self.tables
        tables = (*kept, *(() if found is None else (found,)))
        return replace(self, sources=self.sources.union(sources), tables=tuple(table for table in tables if table.num_rows))

    def behind(self, con: duckdb.DuckDBPyConnection, arrivals: Arrivals) -> tuple[pa.Table, OrderStep | None]:
        """See `ArrivalOrder`."""
        arrived = arrivals.by_key()
        found = arrived.behind(self._of(con, arrived.newest, arrivals.names))
        return found, OrderStep(before=self, after=self.with_newer(con, arrived.newest))

    def _of(self, con: duckdb.DuckDBPyConnection, keys: pa.Table, names: Sequence[str]) -> Rows:
        """The newest time of each of these keys, long ago for those without one."""
        newest = np.full(keys.num_rows, np.iinfo(np.int64).min)
        asked = keys.select(list(names)).append_column("number", pa.array(np.arange(keys.num_rows)))
        for known in self.tables:
            with registered(con, [asked, known]) as [wanted, table]:
                # the asked ones stand on the right, so that a hash table is made of them and not of all that was ever seen
                joined = f"{table} s JOIN {wanted} w ON ({same_key('s', 'w', names)})"
                found = con.sql(f"SELECT w.number, s.newest FROM {joined}").to_arrow_table()
            np.maximum.at(newest, found.column("number").to_numpy(), found.column("newest").to_numpy())
        return newest

    def with_newer(self, con: duckdb.DuckDBPyConnection, newer: pa.Table) -> Self:
        """The state behind a batch with these times."""
        tables = [*self.tables, *([newer] if newer.num_rows else [])]
        while len(tables) > 1 and tables[-2].num_rows <= _ALIKE * tables[-1].num_rows:
            last, before = tables.pop(), tables.pop()
            tables.append(_joined(con, before, last))
        return replace(self, tables=tuple(tables))


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderStep:
    """A batch between two states: it was judged by `before`, and leaves `after` once it is committed."""

    before: NewestTimes
    after: NewestTimes


def refuse_out_of_order(
    con: duckdb.DuckDBPyConnection, arrivals: Arrivals, dataset: Dataset, row_mask: RowMask, *, order: ArrivalOrder
) -> OrderStep | None:
    """Refuse good rows behind a later one of their key (`out_of_order`); those that are refused already count for nothing."""
    behind, step = order.behind(con, arrivals)
    if behind.num_rows:
        with registered(con, [behind]) as [found]:
            told: pa.Table = con.sql(f"SELECT row, {_reason(dataset)} AS reason FROM {found} ORDER BY row").to_arrow_table()
        reason = told.column("reason").cast(pa.string()).combine_chunks()
        row_mask.refuse(told.column("row").to_numpy(), code=OUT_OF_ORDER, column=dataset.time, reason=reason)
    return step


def key_columns(dataset: Dataset, schema: Schema) -> tuple[Column, ...]:
    """The columns of the key as the catalog has them."""
    return tuple(schema.find(name) or dataset.schema.column(name) for name in dataset.order_keys)


def same_key(one: str, other: str, names: Sequence[str]) -> str:
    """SQL condition; `names` as in `Arrivals`. Nulls are equal, as they are where rows are grouped."""
    return " AND ".join(f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in names)


def _kept(values: Column64, good: Rows) -> Column64:
    return values if len(good) == len(values) else values.take(pa.array(good))


def _codes(columns: Sequence[pa.ChunkedArray]) -> Rows:
    """A number for each row, equal where all values are; nulls are equal."""
    codes: Rows = np.zeros(len(columns[0]), np.int64)
    most = 1
    for column in columns:
        values = pc.add(column, 0.0) if pt.is_floating(column.type) else column  # or -0.0 would be another key than 0.0
        known = values.combine_chunks().dictionary_encode(null_encoding="encode")
        if most * len(known.dictionary) > _LARGEST:
            codes = np.unique(codes, return_inverse=True)[1]
            most = len(codes)
        codes = codes * len(known.dictionary) + known.indices.to_numpy(zero_copy_only=False)
        most *= len(known.dictionary)
    # of small numbers a stable order is found by counting them
    return codes.astype(np.uint16) if most <= np.iinfo(np.uint16).max else codes


def _reason(dataset: Dataset) -> str:
    """SQL of a sentence with both times and the names of the key: its values may be secret."""
    keys = ", ".join(dataset.order_keys)
    ending = f", the newest {f'of its {keys} ' if keys else ''}before it (`order: strict`)"
    return f"{_shown('instant')} || {literal(f' in column {dataset.time} is before ')} || {_shown('newest')} || {literal(ending)}"


def _shown(micros: str) -> str:
    whole = f"strftime(make_timestamp({micros}), '%Y-%m-%dT%H:%M:%S')"
    part = f"CASE WHEN {micros} % 1000000 = 0 THEN '' ELSE strftime(make_timestamp({micros}), '.%f') END"
    return f"{whole} || {part} || 'Z'"


def _joined(con: duckdb.DuckDBPyConnection, before: pa.Table, last: pa.Table) -> pa.Table:
    every = ", ".join(name for name in last.column_names if name != "newest")
    with registered(con, [before, last]) as [one, other]:
        both = f"SELECT * FROM {one} UNION ALL SELECT * FROM {other}"
        return con.sql(f"SELECT {every}, max(newest) AS newest FROM ({both}) GROUP BY ALL").to_arrow_table()


def _without(table: pa.Table, sources: Collection[int]) -> pa.Table:
    gone = np.isin(table.column("source").to_numpy(), list(sources))
    return table.filter(pa.array(~gone))


@contextmanager
def registered(con: duckdb.DuckDBPyConnection, tables: Sequence[pa.Table]) -> Iterator[list[str]]:
    """Names under which a connection reads the tables inside the `with`."""
    names = [f"key_order_{next(_TABLES)}" for _ in tables]
    done: list[str] = []
    try:
        for name, table in zip(names, tables, strict=True):
            con.register(name, table)
            done.append(name)
        yield names
    finally:
        for name in done:
            con.unregister(name)

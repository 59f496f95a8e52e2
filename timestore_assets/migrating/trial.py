"""Computing new columns over rows that are there, without writing any: what becomes NULL, and what values turn into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import duckdb

from timestore_assets.migrating.applying import Applied
from timestore_assets.migrating.column_draft import Computed
from timestore_assets.migrating.row_expressions import reference
from timestore_assets.model.retraction import Retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.segments.engine import one_row
from timestore_assets.segments.reader import opened
from timestore_assets.storage.object_store import ObjectReader

_SAMPLES = 3
"""Values that are shown of each column."""
_WORST = 3
"""Partitions that are named."""
_NO_VERSION = 0
"""Of a schema that no segment was written under."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A value before and after, as DuckDB writes it; None: there is none."""

    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionLoss:
    """Values of a column that a partition would lose."""

    partition: str
    values: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What came of computing a column.

    `lost`: values that are there and can't be computed. `nulls`: rows without a value afterwards, these among them. `worst`:
    where most of them are. `lost_samples`: some of them.
    """

    computed: Computed
    lost: int
    nulls: int
    worst: tuple[PartitionLoss, ...]
    samples: tuple[Sample, ...]
    lost_samples: tuple[Sample, ...]


@dataclass(slots=True)
class _Tally:
    lost: int = 0
    nulls: int = 0
    by_partition: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    lost_samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Tries the computed columns of a migration on a dataset's segments; each call reads one partition.

    `rows`: at most so many of a partition, None for all.
    """

    con: duckdb.DuckDBPyConnection
    storage: ObjectReader
    applied: Applied
    schema_of: Callable[[int], Schema]
    retracted: Retracted
    rows: int | None = None
    _tallies: list[_Tally] = field(default_factory=list)

    def partition(self, key: str, segments: Sequence[Segment]) -> int:
        """Try a partition's segments; how many rows were read."""
        if not self._tallies:
            self._tallies.extend(_Tally() for _ in self.applied.computed)
        with opened(
            self.con,
            segments,
            storage=self.storage,
            schema=self._schema(),
            schema_of=self.schema_of,
            retracted=self.retracted,
            provenance=False,
        ) as source:
            rows = source if self.rows is None else f"(SELECT * FROM {source} LIMIT {self.rows})"
            counts = one_row(self.con, f"SELECT count(*), {', '.join(self._counts())} FROM {rows}")
            for number, tally in enumerate(self._tallies):
                self._note(number, tally, key, counts[1 + 2 * number], counts[2 + 2 * number], rows)
        return int(counts[0])

    def results(self) -> tuple[Tried, ...]:
        """What came of all partitions so far."""
        tallies = self._tallies or [_Tally() for _ in self.applied.computed]
        return tuple(_tried(one, tally) for one, tally in zip(self.applied.computed, tallies, strict=True))

    def _schema(self) -> Schema:
        """Columns of before and after side by side, each called by its id."""
        ids = {one for computed in self.applied.computed for one in computed.inputs}
        ids |= {computed.source.id for computed in self.applied.computed if computed.source is not None}
        known = {column.id: column for column in (*self.applied.before.schema, *self.applied.before.schema.retired)}
        columns = {one: known[one] for one in sorted(ids) if one in known}
        columns |= {computed.column.id: computed.column for computed in self.applied.computed}
        named = tuple(replace(column, name=f"#{column.id}") for column in columns.values())
        return Schema(columns=named, version=_NO_VERSION, retired=tuple(known.values()))

    def _counts(self) -> Iterator[str]:
        for computed in self.applied.computed:
            yield f"count(*) FILTER (WHERE {_lost(computed)})"
            yield f"count(*) FILTER (WHERE {reference(computed.column.id)} IS NULL)"

    def _note(self, number: int, tally: _Tally, key: str, lost: int, nulls: int, rows: str) -> None:
        computed = self.applied.computed[number]
        tally.lost += lost
        tally.nulls += nulls
        if lost:
            tally.by_partition[key] = lost
        if lost and len(tally.lost_samples) < _SAMPLES:
            tally.lost_samples += self._values(computed, rows, _lost(computed), _SAMPLES - len(tally.lost_samples))
        if len(tally.samples) < _SAMPLES:
            shown = f"{reference(computed.column.id)} IS NOT NULL"
            tally.samples += self._values(computed, rows, shown, _SAMPLES - len(tally.samples))

    def _values(self, computed: Computed, rows: str, condition: str, number: int) -> list[Sample]:
        before = "NULL" if computed.source is None else reference(computed.source.id)
        after = reference(computed.column.id)
        query = f"SELECT CAST({before} AS VARCHAR), CAST({after} AS VARCHAR) FROM {rows} WHERE {condition} LIMIT {number}"
        return [Sample(before=row[0], after=row[1]) for row in self.con.execute(query).fetchall()]


def _lost(computed: Computed) -> str:
    """Condition: there was a value, or all that one is computed from, and there is none afterwards."""
    wanted = computed.inputs if computed.source is None else (computed.source.id,)
    there = " AND ".join(f"{reference(one)} IS NOT NULL" for one in wanted)
    return f"{reference(computed.column.id)} IS NULL{' AND ' if there else ''}{there}"


def _tried(computed: Computed, tally: _Tally) -> Tried:
    worst = sorted(tally.by_partition.items(), key=lambda one: (-one[1], one[0]))[:_WORST]
    return Tried(
        computed=computed,
        lost=tally.lost,
        nulls=tally.nulls,
        worst=tuple(PartitionLoss(partition=key, values=values) for key, values in worst),
        samples=tuple(tally.samples),
        lost_samples=tuple(tally.lost_samples),
    )

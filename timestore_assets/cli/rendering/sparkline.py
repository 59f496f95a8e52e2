"""Figures over time, each as one line of block characters between its lowest and its highest value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from timestore_assets.cli.rendering.cell_texts import cell_texts, is_number

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_LEAST_POINTS = 3
_MOST_LINES = 12
_MOST_ROWS = 200_000


def sparkline(values: Sequence[float | None], *, width: int = _WIDTH) -> str:
    """At most `width` characters from low to high; missing and non-finite values are gaps, neighbours are averaged to fit."""
    points = _fitted(values, width)
    known = [point for point in points if point is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = high - low
    top = len(_BLOCKS) - 1
    return "".join(" " if point is None else _BLOCKS[round((point - low) / span * top) if span else top // 2] for point in points)


def _fitted(values: Sequence[float | None], width: int) -> list[float | None]:
    size = max(1, math.ceil(len(values) / width))
    return [_mean(values[i : i + size]) for i in range(0, len(values), size)]


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """A figure of a group over time: its line, and its lowest and highest value as texts."""

    label: str
    line: str
    low: str
    high: str


@dataclass(slots=True)
class _Series:
    """Values of one figure and group, with the Arrow scalars of the lowest and the highest."""

    kind: pa.DataType
    values: list[float | None] = field(default_factory=list)
    low: tuple[float, Any] | None = None
    high: tuple[float, Any] | None = None

    def add(self, exact: Any) -> None:
        value = None if exact is None else float(exact)
        self.values.append(value)
        if value is None or not math.isfinite(value):
            return
        if self.low is None or value < self.low[0]:
            self.low = value, exact
        if self.high is None or value > self.high[0]:
            self.high = value, exact


class Trends:
    """Collects a line for each figure and group of an answer that is in buckets of time.

    `is_reversed`: the latest buckets come first.
    """

    def __init__(self, schema: pa.Schema, series: tuple[str, ...] | None, *, is_reversed: bool = False) -> None:
        self._schema, self._is_reversed = schema, is_reversed
        self._groups = series[1:] if series else ()
        self._time = series[0] if series else ""
        numeric = [one.name for one in schema if is_number(one.type) and one.name not in (series or ())]
        self._figures = numeric if series else []
        self._lines: dict[tuple[str, ...], _Series] = {}
        self._rows = 0
        self._ends: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        if not self._figures or not batch.num_rows or self._rows > _MOST_ROWS or len(self._lines) > _MOST_LINES:
            return
        times = pa.RecordBatch.from_arrays([batch.column(self._time)], names=["time"])
        self._ends = [*(self._ends or [times.slice(0, 1)])[:1], times.slice(batch.num_rows - 1)]
        groups = list(zip(*(_texts(batch.column(name)) for name in self._groups), strict=True)) or [()] * batch.num_rows
        for figure in self._figures:
            kind = batch.schema.field(figure).type
            for group, value in zip(groups, batch.column(figure).to_pylist(), strict=True):
                key = (*group, figure)
                if key not in self._lines:
                    self._lines[key] = _Series(kind=kind)
                self._lines[key].add(value)

    def lines(self, *, width: int = _WIDTH) -> list[Trend]:
        """In the order of the groups and of the figures as they were asked for; those in which nothing changes are left out.

        None when they would be too many or too short.
        """
        if not 0 < len(self._lines) <= _MOST_LINES or max(len(one.values) for one in self._lines.values()) < _LEAST_POINTS:
            return []
        by_figure = {figure: place for place, figure in enumerate(self._figures)}
        ordered = sorted(self._lines.items(), key=lambda item: (item[0][:-1], by_figure[item[0][-1]]))
        return [self._trend(key, one, width) for key, one in ordered if len(set(one.values)) > 1 and one.low and one.high]

    def _trend(self, key: tuple[str, ...], one: _Series, width: int) -> Trend:
        values = one.values[::-1] if self._is_reversed else one.values
        low, high = (cell_texts(pa.chunked_array([pa.array([end[1]], one.kind)]))[0] for end in (one.low, one.high) if end)
        return Trend(label=" ".join(key), line=sparkline(values, width=width), low=str(low), high=str(high))

    def span(self) -> tuple[str, str] | None:
        """Texts of the first and the last bucket."""
        if len(self._ends) < 2:
            return None
        ends = pa.Table.from_batches(self._ends).column(0)
        first, last = cell_texts(ends)
        return (str(last), str(first)) if self._is_reversed else (str(first), str(last))


def _texts(column: pa.Array) -> list[str]:
    return ["–" if value is None else str(value) for value in column.to_pylist()]

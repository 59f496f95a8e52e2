"""Figures over time, each as one line of block characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa

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


class Trends:
    """Collects a line for each figure and group of an answer that is in buckets of time."""

    def __init__(self, schema: pa.Schema, series: tuple[str, ...] | None) -> None:
        self._groups = series[1:] if series else ()
        numeric = [field.name for field in schema if _is_number(field.type) and field.name not in (series or ())]
        self._figures = numeric if series else []
        self._lines: dict[tuple[str, ...], list[float | None]] = {}
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        if not self._figures or self._rows > _MOST_ROWS or len(self._lines) > _MOST_LINES:
            return
        groups = list(zip(*(_texts(batch.column(name)) for name in self._groups), strict=True)) or [()] * batch.num_rows
        for figure in self._figures:
            for group, value in zip(groups, batch.column(figure).to_pylist(), strict=True):
                self._lines.setdefault((*group, figure), []).append(None if value is None else float(value))

    def lines(self) -> list[tuple[str, str]]:
        """Label, padded, and line of each; none when they would be too many or too short, or where nothing changes."""
        if not 0 < len(self._lines) <= _MOST_LINES or max(map(len, self._lines.values())) < _LEAST_POINTS:
            return []
        moving = {" ".join(key): values for key, values in sorted(self._lines.items()) if len(set(values)) > 1}
        width = max(map(len, moving), default=0)
        return [(f"{label:<{width}}", sparkline(values)) for label, values in moving.items()]


def _texts(column: pa.Array) -> list[str]:
    return ["–" if value is None else str(value) for value in column.to_pylist()]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

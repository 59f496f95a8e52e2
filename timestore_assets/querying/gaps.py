"""Buckets of time in which there are no rows: put into an aggregated answer, with figures as one asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from timestore_assets.model.types import quote
from timestore_assets.querying.aggregates import bucket_sql
from timestore_assets.querying.question import Every, Fill, Months

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaps:
    """How gaps are filled. `start`, `end`: range of the question, aware and in UTC; None = as far as there are rows.

    A figure that is null in a bucket with rows counts as a gap too.
    """

    fill: Fill
    every: Every
    start: datetime | None
    end: datetime | None

    def filled(self, aggregated: str, *, series: Sequence[str], figures: Mapping[str, bool]) -> str:
        """SQL of the answer with every bucket, over SQL of the answer with those that have rows.

        `series`: names of the columns that say what a row is about, the time first. `figures`: names of the others in order,
        whether each is a number.
        """
        time, groups = quote(series[0]), [quote(name) for name in series[1:]]
        names = ", ".join(groups)
        grid = f"SELECT * FROM buckets CROSS JOIN (SELECT DISTINCT {names} FROM found)" if groups else "FROM buckets"
        same = [f"grid.{time} = found.{time}", *(f"grid.{group} IS NOT DISTINCT FROM found.{group}" for group in groups)]
        keys = [f"grid.{name}" for name in (time, *groups)]
        values = [f"{self._value(f'found.{quote(name)}', keys)} AS {quote(name)}" for name in figures]
        return (
            f"WITH found AS MATERIALIZED ({aggregated}), buckets AS ({self._buckets(time)}), grid AS ({grid}) "
            f"SELECT {', '.join([*keys, *values])} FROM grid LEFT JOIN found ON {' AND '.join(same)}"
        )

    def _buckets(self, time: str) -> str:
        low = f"min({time})" if self.start is None else bucket_sql(self.every, _timestamp(self.start))
        high = f"max({time})" if self.end is None else bucket_sql(self.every, f"{_timestamp(self.end)} - {_interval(_TICK)}")
        source = " FROM found" if self.start is None or self.end is None else ""
        series = f"generate_series(low, high, {_interval(self.every)})"
        return f"SELECT unnest({series}) AS {time} FROM (SELECT {low} AS low, {high} AS high{source})"

    def _value(self, figure: str, keys: Sequence[str]) -> str:
        """SQL of a figure; `keys`: the bucket's time, then what names its group."""
        time, group = keys[0], f"PARTITION BY {', '.join(keys[1:])} " if keys[1:] else ""
        before = f"OVER ({group}ORDER BY {time} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        after = f"OVER ({group}ORDER BY {time} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"
        if self.fill == "previous":
            return f"last_value({figure} IGNORE NULLS) {before}"
        if self.fill == "zero":
            return f"coalesce({figure}, 0)"
        if self.fill == "linear":
            number = f"CAST({figure} AS DOUBLE)"
            moment = f"CASE WHEN {figure} IS NOT NULL THEN epoch_us({time}) END"
            first, last = f"last_value({number} IGNORE NULLS) {before}", f"first_value({number} IGNORE NULLS) {after}"
            since, until = f"last_value({moment} IGNORE NULLS) {before}", f"first_value({moment} IGNORE NULLS) {after}"
            return f"coalesce({number}, {first} + ({last} - {first}) * (epoch_us({time}) - {since}) / ({until} - {since}))"
        return figure


def _interval(every: Every) -> str:
    if isinstance(every, timedelta):
        return f"to_microseconds({every // _TICK})"
    if every == "week":
        return "to_days(7)"
    return f"to_months({every.number if isinstance(every, Months) else _MONTHS[every]})"


def _timestamp(time: datetime) -> str:
    return f"TIMESTAMP '{time.replace(tzinfo=None).isoformat(sep=' ')}'"

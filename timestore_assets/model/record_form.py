"""How the records of a source are written: what a text, a number or a document stands for before it becomes a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from timestore_assets.model.field_path import FieldPath

EpochUnit = Literal["s", "ms", "us", "ns"]
Wrapper = Literal["bom", "confluent", "connect", "debezium"]
PathColumns = Literal["hive"] | tuple[str, ...]

_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")


def _numeric(first: str, second: str) -> tuple[str, ...]:
    # years of two digits first: `%Y` takes `24` for the year 24
    dates = (f"{first}{mark}{second}{mark}{year}" for mark in "/.-" for year in ("%y", "%Y"))
    return tuple(f"{date}{clock}" for date in dates for clock in _CLOCKS)


NAMED_FORMATS: dict[str, tuple[str, ...]] = {
    "rfc2822": tuple(
        f"{day}%d %b %Y %H:%M{seconds} {zone}" for day in ("%a, ", "") for seconds in (":%S", "") for zone in ("%z", "%Z")
    ),
    "day_first": _numeric("%d", "%m"),
    "month_first": _numeric("%m", "%d"),
    "year": ("%Y",),
    "quarter": (),
}
"""Formats of times that have a name, as DuckDB's strptime codes, which know no quarters; the first that fits is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeForm:
    """How the times of one column are written; ISO 8601 when neither `format` nor `unit` is given.

    `format`: DuckDB's strptime codes or one of `NAMED_FORMATS`, for texts. `unit`: the times are numbers counted in it since
    1970. `columns`: fields of the record that make up the time, joined with a blank; empty for the column of that name.
    `timezone`: IANA name or offset of naive times, None for the source's.
    """

    column: str
    format: str | None = None
    unit: EpochUnit | None = None
    columns: tuple[str, ...] = ()
    timezone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberMarks:
    """Marks of numbers in texts. `decimal`: `.` or `,`. `thousands`: what groups three digits, None for nothing."""

    decimal: str = "."
    thousands: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelling:
    """How the values of one column are written. `zone`: of naive times, None for UTC. The rest as in `TimeForm`."""

    zone: str | None = None
    marks: NumberMarks = NumberMarks()
    format: str | None = None
    unit: EpochUnit | None = None

    @property
    def usual_times(self) -> bool:
        """Whether times are ISO 8601."""
        return self.format is None and self.unit is None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordForm:
    """How records are written, whatever they come through.

    `times`: columns whose times are written in another way than ISO 8601. `marks`: of numbers in texts (CSV fields and JSON
    strings). `wrapper`: what lies around a document; None when the value is the record. `fields`: where values are that are no
    fields of the column's own name.
    """

    times: tuple[TimeForm, ...] = ()
    marks: NumberMarks = NumberMarks()
    wrapper: Wrapper | None = None
    fields: tuple[FieldPath, ...] = ()

    @property
    def named_fields(self) -> frozenset[str]:
        """Fields of the record that are named, those of times and those that paths begin with."""
        times = {name for time in self.times for name in time.columns}
        return frozenset(times | {path.root for path in self.fields} | {path.flat for path in self.fields})

    def with_columns(self, names: Mapping[str, str]) -> RecordForm:
        """The same of columns that are called otherwise now. `names`: new ones by old ones."""
        if not names:
            return self
        return replace(
            self,
            times=tuple(replace(time, column=names.get(time.column, time.column)) for time in self.times),
            fields=tuple(replace(path, column=names.get(path.column, path.column)) for path in self.fields),
        )

    def time_of(self, column: str) -> TimeForm | None:
        """How a column's times are written, None when it is the usual way."""
        return next((time for time in self.times if time.column == column), None)

    def spelling(self, column: str, *, zone: str | None) -> Spelling:
        """How the values of a column are written. `zone`: the source's."""
        time = self.time_of(column)
        if time is None:
            return Spelling(zone=zone, marks=self.marks)
        return Spelling(zone=time.timezone or zone, marks=self.marks, format=time.format, unit=time.unit)


POINT = NumberMarks()
"""`1234.5`."""
PLAIN = RecordForm()
"""ISO 8601, `.` as the decimal mark, no wrapper."""

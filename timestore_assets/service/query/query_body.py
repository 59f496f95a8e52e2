"""The body of a query over HTTP."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import PATTERN, is_relative, parse_moment
from timestore_assets.model.question import Function
from timestore_assets.model.window import format_time, parse_time
from timestore_assets.querying.planning.time_buckets import Unit
from timestore_assets.service.answers.answer_facts import CamelCaseModel, CompletenessFacts, QueryFacts
from timestore_assets.service.json_bodies import Plain
from timestore_assets.service.versions_given import VersionGiven

MAX_PAGE = 100_000
_MAX_FILTERS, _MAX_VALUES, _MAX_COLUMNS = 100, 10_000, 1_000
Operator = Literal[
    "eq", "ne", "lt", "lte", "gt", "gte", "in", "notIn", "between", "isNull", "isNotNull", "contains", "startsWith"
]


class QueryPart(CamelCaseModel):
    """Base of what is asked: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


def _instant(value: Any) -> datetime:
    try:
        return parse_moment(value) if isinstance(value, str) else parse_time(json.dumps(value))
    except InputError as error:
        raise ValueError(str(error)) from None


def _finite(value: Plain) -> Plain:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number has to be finite")
    return value


_TEXTS_OF_TIMES = [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": PATTERN}]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"anyOf": _TEXTS_OF_TIMES})]
"""RFC 3339 (without a zone in UTC), or what `moment.parse_moment` takes."""
Value = Annotated[Plain, AfterValidator(_finite)]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class TimeRange(QueryPart):
    """`[start, end)`; either may be left out.

    RFC 3339, a year or month (`2015-12`, its first moment), `now`, `today`, `yesterday`, or so far from now: `-30d`, `-12h`,
    `-3mo`, `-1y`. Pages need times that stay the same.
    """

    start: Instant | None = Field(None, examples=["2024-01-01T00:00:00Z"])
    end: Instant | None = Field(None, examples=["2024-01-02T00:00:00Z"])


class Filter(QueryPart):
    """A condition on a column. `value`: for comparisons; `values`: for `in`, `notIn` and `between` (two, both inclusive).

    Times and dates are ISO texts, decimals texts or numbers. As in SQL a null fulfils `isNull` alone.
    """

    column: Name = Field(examples=["station"])
    op: Operator = Field(examples=["eq"])
    value: Value | None = Field(None, examples=["JFK"])
    values: list[Value] | None = Field(None, max_length=_MAX_VALUES)


class Aggregation(QueryPart):
    """A figure of each bucket and group. `percentile`: 0 to 100, for `percentile` only. `alias`: its name in the answer."""

    fn: Function = Field(examples=["avg"])
    column: Name | None = Field(None, description="May be left out for `count`, which then counts rows.", examples=["temp"])
    alias: str = Field("", max_length=255, examples=["mean"])
    percentile: float | None = Field(None, ge=0, le=100)


class Downsample(QueryPart):
    """One row for each bucket of time and group.

    Without `intervalUnit` there is one for each group. `timezone`: IANA zone whose clocks cut the buckets, UTC when left out;
    times of the answer are in UTC all the same. `fill`: whether buckets without rows are in the answer too, and with which
    figures: `null`, `previous`, `linear` (between neighbours) or `zero`.
    """

    interval_unit: Unit | None = Field(None, examples=["hour"])
    interval_size: int = Field(1, ge=1, le=10_000, examples=[1])
    timezone: str | None = Field(None, min_length=1, max_length=100, examples=["Europe/Berlin"])
    aggregations: list[Aggregation] = Field(min_length=1, max_length=200)
    group_by: list[Name] = Field(default=[], max_length=50, examples=[["station"]])
    fill: Literal["none", "null", "previous", "linear", "zero"] = "none"


EXAMPLES: list[dict[str, Any]] = [
    {
        "timeRange": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"},
        "columns": ["ts", "temp"],
        "filters": [{"column": "station", "op": "eq", "value": "JFK"}],
        "limit": 100,
    },
    {
        "timeRange": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"},
        "downsample": {
            "intervalUnit": "hour",
            "aggregations": [{"fn": "avg", "column": "temp"}, {"fn": "percentile", "column": "temp", "percentile": 95}],
            "groupBy": ["station"],
            "fill": "linear",
        },
    },
]


class QueryBody(QueryPart):
    """A question to a dataset: rows in order of time, or figures of buckets of time; with `descending` the latest first.

    With `pageSize` the answer is the first page and says in `nextCursor` how to ask for the next: the same body and that
    `cursor`. All pages are of one manifest version.
    """

    model_config = ConfigDict(json_schema_extra={"examples": list(EXAMPLES)})

    time_range: TimeRange = TimeRange()
    columns: list[Name] | None = Field(None, max_length=_MAX_COLUMNS, description="All when left out.")
    filters: list[Filter] = Field(default=[], max_length=_MAX_FILTERS, description="All of them have to be fulfilled.")
    downsample: Downsample | None = None
    limit: int | None = Field(
        None, ge=0, le=2**53, description="At most so many rows, the earliest, or if descending the latest."
    )
    descending: bool = Field(False, description="The latest rows or buckets come first.")
    page_size: int | None = Field(None, ge=1, le=MAX_PAGE, description="Rows of a page; all in one answer when left out.")
    cursor: str | None = Field(None, max_length=4_000, description="Where the page before ended.")
    as_of: VersionGiven | None = Field(
        None,
        description="The version to answer from, the newest by default: its number, a time at which it was in force, or a tag.",
        examples=[17, "2024-05-01T12:00:00Z", "before-cleaning"],
    )

    @model_validator(mode="before")
    @classmethod
    def _fixed(cls, data: Any) -> Any:
        """Of pages that were asked for one after the other each would have another range."""
        asked = data if isinstance(data, dict) else {}
        spans = asked.get("timeRange", asked.get("time_range"))
        is_paged = asked.get("pageSize", asked.get("page_size")) is not None
        if not is_paged or not isinstance(spans, dict):
            return data
        for name in ("start", "end"):
            text = spans.get(name)
            if isinstance(text, str) and is_relative(text):
                raise ValueError(f"with pageSize timeRange.{name} must be a fixed time, as {format_time(parse_moment(text))}")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cursor is not None and self.page_size is None:
            raise ValueError("a cursor needs pageSize, as the page before it had")
        return self


class QueryAnswer(QueryFacts):
    """The answer as JSON, written as it is computed. Times are RFC 3339 in UTC, NaN and the infinities null, decimals with a
    fraction texts, integers exact, binary values base64.
    """

    completeness: CompletenessFacts
    rows: list[dict[str, Any]] = Field(examples=[[{"ts": "2024-01-01T00:00:00Z", "temp": 3.5}]])
    next_cursor: str | None = Field(None, description="For the next page; null at the end and without pages.")

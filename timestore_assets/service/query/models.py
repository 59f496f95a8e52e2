"""The body of a query over HTTP."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time
from timestore_assets.querying.grain import Unit
from timestore_assets.querying.question import Function
from timestore_assets.service.answers.facts import CompletenessFacts, QueryFacts, Shape
from timestore_assets.service.bodies import Plain

MAX_PAGE = 100_000
_MAX_FILTERS, _MAX_VALUES, _MAX_COLUMNS = 100, 10_000, 1_000
Operator = Literal[
    "eq", "ne", "lt", "lte", "gt", "gte", "in", "notIn", "between", "isNull", "isNotNull", "contains", "startsWith"
]


class Body(Shape):
    """Base of what is asked: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


def _instant(value: Any) -> datetime:
    try:
        return parse_time(value if isinstance(value, str) else json.dumps(value))
    except InputError as error:
        raise ValueError(str(error)) from None


def _finite(value: Plain) -> Plain:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number has to be finite")
    return value


Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339; without a zone it is UTC."""
Value = Annotated[Plain, AfterValidator(_finite)]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class TimeRange(Body):
    """`[start, end)`; either may be left out."""

    start: Instant | None = Field(None, examples=["2024-01-01T00:00:00Z"])
    end: Instant | None = Field(None, examples=["2024-01-02T00:00:00Z"])


class Filter(Body):
    """A condition on a column. `value`: for comparisons; `values`: for `in`, `notIn` and `between` (two, both inclusive).

    Times and dates are ISO texts, decimals texts or numbers. As in SQL a null fulfils `isNull` alone.
    """

    column: Name = Field(examples=["station"])
    op: Operator = Field(examples=["eq"])
    value: Value | None = Field(None, examples=["JFK"])
    values: list[Value] | None = Field(None, max_length=_MAX_VALUES)


class Aggregation(Body):
    """A figure of each bucket and group. `percentile`: 0 to 100, for `percentile` only. `alias`: its name in the answer."""

    fn: Function = Field(examples=["avg"])
    column: Name | None = Field(None, description="May be left out for `count`, which then counts rows.", examples=["temp"])
    alias: str = Field("", max_length=255, examples=["mean"])
    percentile: float | None = Field(None, ge=0, le=100)


class Downsample(Body):
    """One row for each bucket of time and group.

    Without `intervalUnit` there is one for each group. `fill`: whether buckets without rows are in the answer too, and with
    which figures: `null`, `previous`, `linear` (between neighbours) or `zero`.
    """

    interval_unit: Unit | None = Field(None, examples=["hour"])
    interval_size: int = Field(1, ge=1, le=10_000, examples=[1])
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


class QueryBody(Body):
    """A question to a dataset: rows in order of time, or figures of buckets of time.

    With `pageSize` the answer is the first page and says in `nextCursor` how to ask for the next: the same body and that
    `cursor`. All pages are of one manifest version.
    """

    model_config = ConfigDict(json_schema_extra={"examples": list(EXAMPLES)})

    time_range: TimeRange = TimeRange()
    columns: list[Name] | None = Field(None, max_length=_MAX_COLUMNS, description="All when left out.")
    filters: list[Filter] = Field(default=[], max_length=_MAX_FILTERS, description="All of them have to be fulfilled.")
    downsample: Downsample | None = None
    limit: int | None = Field(None, ge=0, le=2**53, description="At most so many rows, the earliest.")
    page_size: int | None = Field(None, ge=1, le=MAX_PAGE, description="Rows of a page; all in one answer when left out.")
    cursor: str | None = Field(None, max_length=4_000, description="Where the page before ended.")
    as_of: int | None = Field(None, ge=0, le=2**53, description="Manifest version to answer from, the newest when left out.")

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

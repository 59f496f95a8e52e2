"""From a query's body to the question that it asks."""

from __future__ import annotations

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Schema
from timestore_assets.querying.grain import Grain
from timestore_assets.querying.question import Aggregate, Every, Question
from timestore_assets.service.query.filters import where_of
from timestore_assets.service.query.models import Aggregation, Downsample, QueryBody


def question_of(body: QueryBody, schema: Schema, *, dataset: str) -> Question:
    """The question, checked as far as types of values go; the rest is checked when it is asked.

    Raises:
        InputError: a filter or an aggregation that makes no sense.
    """
    asked = body.downsample
    return Question(
        dataset=dataset,
        start=body.time_range.start,
        end=body.time_range.end,
        columns=None if body.columns is None else tuple(body.columns),
        where=where_of(body.filters, schema, dataset=dataset),
        every=_every(asked),
        aggregates=tuple(_aggregate(one) for one in asked.aggregations) if asked else (),
        group_by=tuple(asked.group_by) if asked else (),
        fill=None if asked is None or asked.fill == "none" else asked.fill,
        limit=body.limit,
        as_of=body.as_of,
    )


def _every(asked: Downsample | None) -> Every | None:
    return (
        None if asked is None or asked.interval_unit is None else Grain(unit=asked.interval_unit, size=asked.interval_size).every
    )


def _aggregate(asked: Aggregation) -> Aggregate:
    if (asked.percentile is not None) != (asked.fn == "percentile"):
        needs = "needs 'percentile', a number from 0 to 100" if asked.fn == "percentile" else "takes no 'percentile'"
        raise InputError(f"{asked.fn} {needs}")
    if asked.column is None and asked.fn != "count":
        raise InputError(f"{asked.fn} needs a column")
    return Aggregate(fn=asked.fn, column=asked.column, percentile=asked.percentile, alias=asked.alias)

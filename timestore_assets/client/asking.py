"""What is asked, as request bodies: a question's arguments, and the parameters of SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

from timestore_assets.client.request_bodies import plain
from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Aggregate, Months, parse_every
from timestore_assets.model.window import format_time

Moment = str | date | datetime
AsOf = int | Moment
"""A manifest version, a time at which it was in force, or a tag."""
SqlAsOf = AsOf | Mapping[str, AsOf] | None
"""Of all datasets that a statement reads, or by their names; None for the newest versions."""
Filters = Mapping[str, Any] | Sequence[Mapping[str, Any] | tuple[Any, ...]]
Aggregates = str | Sequence[str | Mapping[str, Any]]

_SIGNS = {"=": "eq", "==": "eq", "!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class QueryArguments(TypedDict, total=False):
    """What `query` takes beside the dataset.

    `start`, `end`: times without a zone are UTC. `filters`: `{"station": "JFK", "year": [2012, 2013]}`, or a list of
    `(column, op, value)` with `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `notIn`, `between`, `isNull`, `isNotNull`, `contains`,
    `startsWith`. `every`: length of a bucket, as `15m`, `1h`, `month` or a timedelta, cut by the clocks of `timezone`, else in
    UTC; `aggregates`, as `"avg:temp,percentile(95):temp as p95,count"`, are then what each has, by `group_by`, and `fill` what
    an empty one has: `none`, `null`, `zero`, `previous`, `linear`. `descending`: the latest rows or buckets come first, and are
    those that a `limit` lets through. `as_of`: a manifest version, a time at which it was in force, or a tag, to ask what was
    known then.
    """

    start: Moment | None
    end: Moment | None
    columns: Sequence[str] | None
    filters: Filters
    every: str | timedelta | None
    timezone: str | None
    aggregates: Aggregates
    group_by: Sequence[str]
    fill: str | None
    limit: int | None
    descending: bool
    as_of: AsOf | None


def question(
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    columns: Sequence[str] | None = None,
    filters: Filters = (),
    every: str | timedelta | None = None,
    timezone: str | None = None,
    aggregates: Aggregates = (),
    group_by: Sequence[str] = (),
    fill: str | None = None,
    limit: int | None = None,
    descending: bool = False,
    as_of: AsOf | None = None,
) -> dict[str, Any]:
    """The body, with only what was asked for.

    Raises:
        InputError: an argument is not of its form; what it means for the dataset is the service's to judge.
    """
    body: dict[str, Any] = {
        "timeRange": _present({"start": _moment(start), "end": _moment(end)}),
        "columns": None if columns is None else _names(columns, "columns"),
        "filters": _filters(filters),
        "limit": limit,
        "descending": descending or None,
        "asOf": _version(as_of),
    }
    if every is not None:
        downsample = {**_interval(every), "aggregations": _aggregations(aggregates), "groupBy": _names(group_by, "group_by")}
        body["downsample"] = {**downsample, **_present({"fill": fill, "timezone": timezone})}
    elif aggregates or group_by or fill or timezone:
        raise InputError("aggregates, group_by, fill and timezone need every, the length of a bucket, for instance every='1h'")
    return {key: value for key, value in body.items() if value not in (None, {}, [])}


def statement(members: Mapping[str, Any], parameters: Mapping[str, Any], as_of: SqlAsOf) -> dict[str, Any]:
    """The body of what runs SQL, with those members of its own."""
    return {**members, "parameters": bound(parameters), **_present({"asOf": versions(as_of)})}


def versions(as_of: SqlAsOf) -> int | str | dict[str, int | str] | None:
    """Which are meant, in forms that JSON has."""
    if not isinstance(as_of, Mapping):
        return _version(as_of)
    return {name: meant for name, one in as_of.items() if (meant := _version(one)) is not None}


def bound(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values of SQL parameters; times and dates go with their type, which JSON has no form for."""
    return {name: _bound(value) for name, value in parameters.items()}


def _bound(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"type": "timestamp", "value": _moment(value)}
    if isinstance(value, date):
        return {"type": "date", "value": value.isoformat()}
    return _value(value)


def _version(given: AsOf | None) -> int | str | None:
    return given if isinstance(given, int) else _moment(given)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _names(given: Sequence[str], argument: str) -> list[str]:
    if isinstance(given, str):
        raise InputError(f"{argument} is a list of names: [{given!r}]")
    return list(given)


def _moment(given: Moment | None) -> str | None:
    """RFC 3339; what has no zone is UTC."""
    if given is None or isinstance(given, str):
        return given
    moment = given if isinstance(given, datetime) else datetime(given.year, given.month, given.day, tzinfo=UTC)
    return format_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _filters(given: Filters) -> list[dict[str, Any]]:
    if isinstance(given, Mapping):
        return [_filter((column, "in" if _several(value) else "eq", value)) for column, value in given.items()]
    return [dict(one) if isinstance(one, Mapping) else _filter(one) for one in given]


def _filter(given: tuple[Any, ...]) -> dict[str, Any]:
    if len(given) not in (2, 3) or not all(isinstance(part, str) for part in given[:2]):
        raise InputError(f"{given!r} is no filter; write (column, op, value), for instance ('temp', '>', 20)")
    column, op = given[0], _SIGNS.get(given[1], given[1])
    if len(given) == 2:
        return {"column": column, "op": op}
    if _several(given[2]):
        return {"column": column, "op": op, "values": [_value(one) for one in given[2]]}
    return {"column": column, "op": op, "value": _value(given[2])}


def _several(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return _moment(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else plain(value)


def _interval(every: str | timedelta) -> dict[str, Any]:
    length = parse_every(every) if isinstance(every, str) else every
    if isinstance(length, str):
        return {"intervalUnit": length, "intervalSize": 1}
    if isinstance(length, Months):
        return {"intervalUnit": "month", "intervalSize": length.number}
    seconds = length.total_seconds()
    if seconds <= 0 or seconds != int(seconds):
        raise InputError(f"a bucket lasts {every}; it must be a whole number of seconds")
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return {"intervalUnit": unit, "intervalSize": int(seconds) // size}


def _aggregations(given: Aggregates) -> list[dict[str, Any]]:
    parts: Sequence[str | Mapping[str, Any]] = [given] if isinstance(given, str) else given
    found: list[dict[str, Any]] = []
    for part in parts:
        found += [_aggregation(one) for one in parse_aggregates(part)] if isinstance(part, str) else [dict(part)]
    return found


def _aggregation(one: Aggregate) -> dict[str, Any]:
    return _present({"fn": one.fn, "column": one.column, "alias": one.alias or None, "percentile": one.percentile})

"""Any question over any mixture of segments gives what DuckDB gives on the plain rows, and no build changes it (I4, I5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.question import Aggregate
from timestore_assets.model.types import quote
from timestore_assets.querying.rendering.view_file import write_views
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.query_warehouse import (
    DAY,
    METER,
    QueryWarehouse,
    Row,
    money,
    plain_table,
    query_warehouse_in,
    row,
)

DAYS, MINUTES = (1, 2, 3), (0, 1, 30, 719, 1439)
_numbers = count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryWarehouse]:
    """One catalog and store for all examples; each uses a dataset of its own in it."""
    made = query_warehouse_in(tmp_path_factory.mktemp("equal"))
    yield made
    made.close()


# --- what is landed, and how

VALUES = st.sampled_from([None, 0.0, -1.5, 3.25, 1e9, float("nan"), float("inf")])
ROWS = st.builds(
    lambda device, day, minute, rev, **values: row(device, minute, day=day, **{**values, "rev": rev}),
    device=st.sampled_from("abc"),
    day=st.sampled_from(DAYS),
    minute=st.sampled_from(MINUTES),
    rev=st.integers(1, 3),
    value=VALUES,
    n=st.sampled_from([None, -3, 0, 7, 2**40]),
    amount=st.sampled_from([None, money("0.10"), money("-12.50")]),
    flag=st.sampled_from([None, True, False]),
    note=st.sampled_from([None, "", "x", "y", "long" * 30]),
)
LANDINGS = st.tuples(
    st.just("land"),
    st.lists(ROWS, min_size=1, max_size=12),
    st.sampled_from(["now", "next", "old"]),
    st.sampled_from([None, 1, 7]),
)
BUILDS = st.tuples(st.just("build"), st.sampled_from(DAYS), st.booleans())
STEPS = st.lists(st.one_of(LANDINGS, LANDINGS, BUILDS), min_size=1, max_size=6)
DEDUPES = st.sampled_from(
    [
        Dedupe(keys=("device", "ts"), keep="last", by="rev"),
        Dedupe(keys=("device", "ts"), keep="first", by="rev"),
        Dedupe(keys=("device", "ts"), keep="last"),
        Dedupe(keys=("device", "ts"), keep="first"),
        None,
    ]
)
PARTITIONED = st.sampled_from([("device",), ()])
FORMATS = st.sampled_from(["auto", "parquet", "duckdb"])

# --- what is asked

COLUMNS = ("device", "ts", "value", "n", "amount", "flag", "note", "rev")
CONDITIONS = st.sampled_from(
    [
        "device = 'a'",
        "device IN ('b', 'zz')",
        "value > 1",
        "value <= 3.25",
        "value IS NULL",
        "n BETWEEN -3 AND 6",
        "n <> 7",
        "n IS NOT NULL",
        "amount = 0.10",
        "amount < -12",
        "flag",
        "NOT flag",
        "flag = true",
        "note = 'x'",
        "note >= 'x'",
        "note LIKE 'lo%'",
        "rev = 2",
        "ts >= '2024-01-02'",
        "ts < '2024-01-02T12:00:00+12:00'",
        "value > n",
        "(n = 7 OR note IS NULL)",
        "date_part('minute', ts) = 30",
        "isnan(value)",
        "coalesce(n, 0) = 0",
    ]
)
BOUNDS = st.sampled_from([None, *(DAY + timedelta(hours=hours) for hours in (0, 12, 24, 36, 71))])
AGGREGATES = st.sampled_from(
    [
        Aggregate(fn="count"),
        Aggregate(fn="count", column="n"),
        Aggregate(fn="sum", column="n"),
        Aggregate(fn="sum", column="amount"),
        Aggregate(fn="min", column="value"),
        Aggregate(fn="max", column="note"),
        Aggregate(fn="avg", column="rev"),
        Aggregate(fn="median", column="n"),
        Aggregate(fn="percentile", column="rev", percentile=90),
        Aggregate(fn="count_distinct", column="note"),
        Aggregate(fn="first", column="n"),
        Aggregate(fn="last", column="note"),
    ]
)
EVERY: Mapping[Any, str] = {
    timedelta(hours=1): "INTERVAL 1 HOUR",
    timedelta(hours=7): "INTERVAL 7 HOUR",
    timedelta(days=1): "INTERVAL 1 DAY",
    "week": "INTERVAL 1 WEEK",
    "month": "INTERVAL 1 MONTH",
}


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    start, end = draw(BOUNDS), draw(BOUNDS)
    question: dict[str, Any] = {"start": start, "end": None if start and end and start >= end else end}
    if conditions := draw(st.lists(CONDITIONS, max_size=3)):
        question["where"] = " AND ".join(conditions)
    if draw(st.booleans()):
        question["columns"] = tuple(draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4, unique=True)))
        question["limit"] = draw(st.sampled_from([None, 1, 3, 100]))
    else:
        question["aggregates"] = tuple(draw(st.lists(AGGREGATES, min_size=1, max_size=4, unique=True)))
        question["every"] = draw(st.sampled_from([None, *EVERY]))
        question["group_by"] = tuple(draw(st.lists(st.sampled_from(("device", "flag")), max_size=2, unique=True)))
    question["descending"] = draw(st.booleans())
    return question


# --- what must come out


def expected_sql(question: Mapping[str, Any]) -> str:
    conditions = [question["where"].replace("'2024-01-02T12:00:00+12:00'", "'2024-01-02'")] if "where" in question else []
    for operator, bound in ((">=", question["start"]), ("<", question["end"])):
        conditions += [f"ts {operator} '{bound.replace(tzinfo=None)}'"] if bound else []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    if "columns" in question:
        names = ", ".join(question["columns"])
        limit = "" if question["limit"] is None else f" LIMIT {question['limit']}"
        return f"SELECT {names} FROM t{where} ORDER BY {_order(question, ['ts', *question['columns']])}{limit}"
    groups = [*([f"time_bucket({EVERY[question['every']]}, ts) AS ts"] if question["every"] else []), *question["group_by"]]
    values = [*groups, *(f"{expected_aggregate(one)} AS {quote(one.name)}" for one in question["aggregates"])]
    keys = [str(i + 1) for i in range(len(groups))]
    return f"SELECT {', '.join(values)} FROM t{where}" + (
        f" GROUP BY {', '.join(keys)} ORDER BY {_order(question, keys)}" if keys else ""
    )


def _order(question: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} DESC NULLS FIRST" if question.get("descending") else key for key in keys)


def expected_aggregate(one: Aggregate) -> str:
    match one.fn:
        case "count_distinct":
            return f"count(DISTINCT {one.column})"
        case "first" | "last":
            return f"{one.fn}({one.column} ORDER BY ts, {one.column}) FILTER (WHERE {one.column} IS NOT NULL)"
        case "percentile":
            return f"quantile_cont({one.column}::DOUBLE, {(one.percentile or 0) / 100})"
        case "median":
            return f"median({one.column}::DOUBLE)"
        case "sum" if one.column == "n":
            return "sum(n)::BIGINT"
        case _:
            return f"{one.fn}({one.column or '*'})"


def kept(rows: Sequence[Row], dedupe: Dedupe | None) -> list[Row]:
    """Deduplication worked out one row after the other: `by`, then the rest of the row by column name, then arrival."""
    best: dict[Any, tuple[Any, Row]] = {}
    if dedupe is None:
        return list(rows)
    for arrival, one in enumerate(rows):
        key = tuple(one[name] for name in dedupe.keys)
        rank = _rank(one, dedupe, arrival)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, one)
    return [one for _, one in best.values()]


def _rank(one: Row, dedupe: Dedupe, arrival: int) -> Any:
    """Larger is kept; nulls come last in either direction."""
    sign = 1 if dedupe.keep == "last" else -1
    if dedupe.by is None:
        return sign * arrival
    settled = {dedupe.by, *dedupe.keys}
    names = [dedupe.by, *sorted(name for name in (*METER.schema.names, "extra") if name not in settled)]
    return (*(_Ordered(_stored(name, one.get(name)), sign) for name in names), sign * arrival)


def _stored(name: str, value: Any) -> Any:
    return str(value) if name == "extra" and value is not None else value


class _Ordered:
    """A value in DuckDB's order: NaN above all numbers; ascending or descending, nulls below everything."""

    def __init__(self, value: Any, sign: int) -> None:
        is_nan = isinstance(value, float) and math.isnan(value)
        self.key = (value is not None, is_nan if sign > 0 else not is_nan, None if value is None or is_nan else value)
        self.sign = sign

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and self.key == other.key

    def __gt__(self, other: _Ordered) -> bool:
        mine, theirs = self.key[:2], other.key[:2]
        if mine != theirs or self.key[2] is None:
            return mine > theirs
        return bool(self.key[2] > other.key[2]) if self.sign > 0 else bool(self.key[2] < other.key[2])


def exact(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Rows that compare by value, NaN and time zones included."""
    return [[(name, _plain(value)) for name, value in one.items()] for one in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def asked(warehouse: QueryWarehouse, question: Mapping[str, Any]) -> list[Any]:
    return exact(warehouse.rows(**question))


def on_plain_rows(rows: Sequence[Row], warehouse: QueryWarehouse, question: Mapping[str, Any]) -> list[Any]:
    with duckdb.connect() as con:
        plain_table(con, "t", rows, warehouse.dataset.schema)
        found = con.sql(expected_sql(question)).to_arrow_table().to_pylist()
    zoned = [{name: value.replace(tzinfo=UTC) if name == "ts" else value for name, value in one.items()} for one in found]
    return exact(zoned)


def in_view_file(warehouse: QueryWarehouse) -> list[str]:
    """All rows as plain DuckDB reads them through the views that are given to other tools."""
    file = warehouse.folder / f"views_{next(_numbers)}.duckdb"
    write_views(file, warehouse.querier, {warehouse.dataset.name: (warehouse.dataset, warehouse.record)})
    with duckdb.connect(str(file), read_only=True) as con:
        found = con.sql(f"FROM {quote(warehouse.dataset.name)}").to_arrow_table().to_pylist()
    file.unlink()
    return sorted(map(repr, exact([{**one, "ts": one["ts"].replace(tzinfo=UTC)} for one in found])))


def same(found: list[Any], expected: list[Any], question: Mapping[str, Any]) -> bool:
    if "columns" in question and question["limit"] is None:
        # without a limit rows of one time may come in any order
        return sorted(map(repr, found)) == sorted(map(repr, expected))
    return found == expected


TRAP = [
    ("land", [row("a", 0, value=0.0, n=0)], "now", None),
    ("build", 1, True),
    ("land", [row("a", 0, value=1e9, n=7, rev=2)], "now", None),
]


# no shrinking: an example takes a good part of a second, and its parts are small and readable as they are
@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    dedupe=DEDUPES, partition_by=PARTITIONED, format=FORMATS, steps=STEPS, asking=st.lists(questions(), min_size=3, max_size=6)
)
@example(
    dedupe=METER.dedupe,
    partition_by=("device",),
    format="duckdb",
    steps=TRAP,
    asking=[{"start": None, "end": None, "where": "value <= 3.25", "columns": ("n",), "limit": None}],
)
def test_questions_are_answered_as_duckdb_answers_them_on_plain_rows(
    shared: QueryWarehouse,
    dedupe: Dedupe | None,
    partition_by: tuple[str, ...],
    format: str,
    steps: Sequence[Any],
    asking: Sequence[dict[str, Any]],
) -> None:
    policy = replace(METER.segments, format=format)
    dataset = replace(METER, name=f"meter_{next(_numbers)}", dedupe=dedupe, partition_by=partition_by, segments=policy)
    warehouse = replace(shared, dataset=dataset, logical=[], sources={})
    version = 1
    for step in steps:
        if step[0] == "build":
            warehouse.build(step[1], close=step[2])
            continue
        _, rows, schema, extra = step
        version = min(3, version + (schema == "next"))
        written = 1 if schema == "old" else version
        # what is written under the first schema has no value for the column that came later
        warehouse.land([{**one, "extra": extra} for one in rows] if written > 1 else rows, version=written)
    rows = kept(warehouse.logical, dedupe)
    answers = [asked(warehouse, question) for question in asking]
    for question, answer in zip(asking, answers, strict=True):
        assert same(answer, on_plain_rows(rows, warehouse, question), question), question
    assert in_view_file(warehouse) == sorted(map(repr, exact(warehouse.rows())))
    warehouse.build(*DAYS)
    for question, answer in zip(asking, answers, strict=True):
        assert same(asked(warehouse, question), answer, question), question

"""A filter is one harmless expression over the columns, or it is refused; what it says about a column can be used to prune."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.querying.planning.where import Where, parse_where

TYPES = {
    "ts": "timestamp",
    "n": "int64",
    "name": "string",
    "d": "double",
    "f": "float",
    "day": "date",
    "price": "decimal(10,2)",
    "flag": "bool",
    "s": "struct<x: int64>",
    "Wind Speed": "double",
}
SCHEMA = Schema(
    columns=(
        *(Column(name=name, type=parse_type(kind), nullable=True) for name, kind in TYPES.items()),
        Column(name="found", type=parse_type("int64"), nullable=True, origin="inferred"),
        Column(name="tag", type=parse_type("string"), nullable=True, origin="inferred"),
    )
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture
def parse(con: duckdb.DuckDBPyConnection) -> Any:
    return lambda text: parse_where(con, text, SCHEMA, dataset="weather")


def said(where: Where) -> list[tuple[Any, ...]]:
    return [(one.column, one.operator, *one.values) for one in where.predicates]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = 5", [("n", "=", Decimal(5))]),
        ("5 < n", [("n", ">", Decimal(5))]),
        ("N >= -1.5 AND name <= 'b'", [("n", ">=", Decimal("-1.5")), ("name", "<=", "b")]),
        ("d BETWEEN 1 AND 2", [("d", ">=", 1.0), ("d", "<=", 2.0)]),
        ("name IN ('a', 'b')", [("name", "in", "a", "b")]),
        ("name IS NULL AND d IS NOT NULL", [("name", "is_null"), ("d", "is_not_null")]),
        ("flag = true", [("flag", "=", True)]),
        ("price = 1.10", [("price", "=", Decimal("1.10"))]),
        ("day = '2013-01-02'", [("day", "=", date(2013, 1, 2))]),
        ("day = DATE '2013-01-02'", [("day", "=", date(2013, 1, 2))]),
        ("weather.n = 1", [("n", "=", Decimal(1))]),
        ("tag = 'x'", [("tag", "=", "x")]),
        ("ts = DATE '2013-01-02'", [("ts", "=", datetime(2013, 1, 2))]),
    ],
)
def test_simple_conditions_are_understood(parse: Any, text: str, expected: list[tuple[Any, ...]]) -> None:
    assert said(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "n = 1 OR name = 'a'",
        "NOT n = 1",
        "n + 1 = 2",
        "n = d",
        "n = NULL",
        "n = '5'",  # DuckDB reads the text as a number, by rules of its own
        "n = 1e5",  # compared as doubles, of which neighbouring integers are the same one
        "f = 0.1",  # compared in one of two precisions
        "name = 5",
        "name LIKE 'a%'",
        "name = 'a' COLLATE nocase",
        "name IN ('a', NULL)",
        "s.x = 1",
        "found = 5",  # its statistics are those of texts
        "flag",
    ],
)
def test_of_anything_else_nothing_is_concluded(parse: Any, text: str) -> None:
    assert said(parse(text)) == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("ts >= '2013-01-01'", "2013-01-01 00:00:00"),
        ("ts >= '2013-01-01T05:00:00Z'", "2013-01-01 05:00:00"),
        ("ts >= '2013-01-01T00:00:00+02:00'", "2012-12-31 22:00:00"),
        ("ts >= TIMESTAMP '2013-01-01 00:00:00-05:00'", "2013-01-01 05:00:00"),
        ("ts BETWEEN '2013-01-01T00:00:00+02' AND '2014-01-01'", "2012-12-31 22:00:00"),
        ("ts IN ('2013-01-01T00:00:00+02')", "2012-12-31 22:00:00"),
        ("'2013-01-01T00:00:00+02' <= ts", "2012-12-31 22:00:00"),
    ],
)
def test_times_are_instants_whatever_their_offset(parse: Any, text: str, moment: str) -> None:
    where = parse(text)
    assert moment in where.conditions()[0]
    assert where.bounds("ts")[0] == datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_bounds_of_time_come_from_all_conditions(parse: Any) -> None:
    where = parse("ts > '2013-01-01' AND ts <= '2013-03-01' AND ts < '2013-02-01' AND n = 1")
    tick = timedelta(microseconds=1)
    assert where.bounds("ts") == (datetime(2013, 1, 1, tzinfo=UTC) + tick, datetime(2013, 2, 1, tzinfo=UTC) - tick)
    assert parse("ts > '2013-01-01' OR n = 1").bounds("ts") == (None, None)


def test_the_ends_of_time(parse: Any) -> None:
    assert parse("ts < '0001-01-01'").bounds("ts")[1] == datetime(1, 1, 1, tzinfo=UTC)
    assert parse("ts > '9999-12-31T23:59:59.999999'").bounds("ts")[0] == datetime.max.replace(tzinfo=UTC)
    with pytest.raises(InputError, match="outside the years 1 to 9999"):
        parse("ts > '0001-01-01T00:00:00+02:00'")


def test_conditions_on_some_columns_alone(parse: Any) -> None:
    where = parse("n = 1 AND (name = 'a' OR name = 'b') AND n < d")
    assert where.columns == {"n", "name", "d"}
    assert where.conditions(only=frozenset({"n", "name"})) == ["(n = 1)", """(("name" = 'a') OR ("name" = 'b'))"""]


def test_names_are_found_whatever_their_case_and_quoting(parse: Any) -> None:
    assert parse('"wind speed" > 1').conditions() == ['("Wind Speed" > 1)']
    assert parse("S.x = 1").columns == {"s"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the filter is empty"),
        ("nam = 1", "no column 'nam'; did you mean name"),
        ("__source = 1", "no column '__source'"),
        ("n =", "can't be read: syntax error"),
        ("n = 1; DROP TABLE t", "can't be read: syntax error"),
        ("1) UNION SELECT (2", "is not one expression"),
        ("n = 1) GROUP BY (n", "is not one expression"),
        ("n = 1) ORDER BY (n", "is not one expression"),
        ("n = 1) LIMIT (1", "is not one expression"),
        ("n = 1) QUALIFY (true", "is not one expression"),
        ("n IN (SELECT 1)", "can't hold a subquery"),
        ("EXISTS (FROM duckdb_settings())", "can't hold a subquery"),
        ("n = (SELECT max(n) FROM weather)", "can't hold a subquery"),
        ("n = ANY([1, 2])", "can't hold a subquery"),
        ("sum(n) > 1", r"sum\(\) is over many rows"),
        ("row_number() OVER () = 1", "can't hold a window function"),
        ("n = $1", "can't hold a parameter"),
        ("n = ?", "can't hold a parameter"),
        ("*", "can't hold a star"),
        ("COLUMNS(*) = 1", "can't hold a star"),
        ("#1 = 1", "can't hold a column number"),
        ("len(list_filter([1], lambda x: x = 1)) = 1", "can't hold a lambda"),
        ("read_text('/etc/passwd') = 'x'", r"read_text\(\) is not available"),
        ("getenv('HOME') = 'x'", r"getenv\(\) is not available"),
        ("current_setting('threads') = 1", r"current_setting\(\) is not available"),
        ("main.getvariable('x') = 1", r"getvariable\(\) is not available"),
        ("n = length(repeat('x', 1000000000))", r"repeat\(\) is not available"),
        ("n = CAST('x' AS \"/etc/passwd\")", "there is no type '/etc/passwd'"),
        ("name = 'a' COLLATE \"../x\"", "collation"),
        ("ts > 'yesterday'", "'yesterday' is not a time"),
        ("n = 1 \x00", "NUL"),
    ],
)
def test_what_is_no_harmless_expression_is_refused(parse: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_what_is_run_is_rebuilt_from_what_was_checked(parse: Any) -> None:
    assert parse("n = 1 -- and more").conditions() == ["(n = 1)"]
    assert parse("n = 1 /* OR true */").conditions() == ["(n = 1)"]
    # looks like two expressions, and is one
    assert parse("n = 1) OR (n = 2").conditions() == ["((n = 1) OR (n = 2))"]

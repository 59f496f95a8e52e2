"""What SQL may cost before it runs: counted before it is parsed, walked at any depth, handed on in a small form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError, RefusedError, TimestoreError
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.sql.tables_read import MAX_BYTES, Asked, TablesRead, read_sql


def short(text: str) -> str:
    """A text as the name of a test."""
    return text[:40]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as made:
        yield made


def asked(text: str, **parameters: object) -> Asked:
    return Asked(text=text, datasets=("weather", "Trips"), parameters=parameters)


@pytest.mark.parametrize("bracket", ["(", "[", "{"])
def test_brackets_are_counted_before_anything_is_parsed(bracket: str) -> None:
    with pytest.raises(InputError, match="more than 400 brackets within each other"):
        syntax.refuse_bombs("SELECT " + bracket * 5_000, "SQL: the text")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '" + "(" * 5_000 + "'",
        'SELECT 1 AS "' + "[" * 5_000 + '"',
        "SELECT 1 -- " + "(" * 5_000,
        "SELECT /* " + "{" * 5_000 + "*/ 1",
        "SELECT " + "(1)," * 5_000 + "1",
        "SELECT " + ")" * 5_000,
    ],
    ids=short,
)
def test_brackets_that_nest_nothing_are_not_counted(text: str) -> None:
    syntax.refuse_bombs(text, "SQL: the text")


@given(st.text(alphabet="'\"()[]{}-/*\n a", max_size=300))
def test_counting_never_fails_and_refuses_no_short_text(text: str) -> None:
    syntax.refuse_bombs(text, "SQL: the text")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    )
)
def test_the_reader_of_deep_json_reads_what_python_reads(value: object) -> None:
    for separators in (None, (",", ":")):
        assert syntax._loaded_flat(json.dumps(value, separators=separators)) == value


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "+".join(["temp"] * 900) + " FROM weather",
        "SELECT " + "||".join(["station"] * 900) + " FROM weather",
        "SELECT " + "EXISTS(SELECT " * 250 + "1 FROM weather" + ")" * 250,
        "SELECT 1 FROM weather WHERE " + " AND ".join(["temp > 1"] * 3_000),
        " UNION ALL ".join(["SELECT temp FROM weather"] * 300),
        "SELECT * FROM " + "(SELECT * FROM " * 150 + "weather" + ")" * 150,
    ],
    ids=short,
)
def test_deep_and_long_statements_as_programs_write_them_are_read(con: duckdb.DuckDBPyConnection, text: str) -> None:
    assert read_sql(con, asked(text)).datasets == ("weather",)


@pytest.mark.parametrize(
    "text", ["SELECT " + "+".join(["1"] * 3_000), "SELECT " + "NOT " * 20_000 + "true", "SELECT 1" + "::INT" * 9_000]
)
def test_what_is_deeper_than_duckdb_goes_is_one_clear_sentence(con: duckdb.DuckDBPyConnection, text: str) -> None:
    with pytest.raises(InputError, match="more than 1,000 levels deep"):
        read_sql(con, asked(text))


def test_at_any_depth_everything_is_checked(con: duckdb.DuckDBPyConnection) -> None:
    deep = "SELECT " + "+".join(["1"] * 900)
    with pytest.raises(RefusedError, match="getenv"):
        read_sql(con, asked(f"{deep} + getenv('HOME')::INT"))
    with pytest.raises(InputError, match="no dataset 'secret'"):
        read_sql(con, asked(f"{deep} + (SELECT n FROM secret)"))


def test_conditions_come_without_what_planning_does_not_ask_for(con: duckdb.DuckDBPyConnection) -> None:
    found = read_sql(
        con,
        asked(
            "SELECT temp FROM weather w WHERE w.ts >= $since AND ts < TIMESTAMP '2024-02-01' AND station IN ('a', 'b')"
            " AND temp BETWEEN 1 AND 2 AND note IS NULL AND length(station) > 2",
            since=datetime(2024, 1, 1),
        ),
    )
    assert found.columns == {"ts", "w", "station", "temp", "note"}
    weather = found.filters["weather"]
    assert weather.name == "w" and [one["type"] for one in weather.conditions] == [
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_LESSTHAN",
        "COMPARE_IN",
        "COMPARE_BETWEEN",
        "OPERATOR_IS_NULL",
    ]
    assert TablesRead.of_json(found.to_json()) == found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM weather WHERE temp IN (" + ",".join(["1"] * 45_000) + ")",
        "SELECT * FROM weather WHERE " + " AND ".join(["temp=1"] * 8_000),
        "SELECT " + ",".join(f"c{i}" for i in range(14_000)) + " FROM weather",
        "SELECT 1 FROM weather WHERE station = '" + "\x01" * 90_000 + "'",
        "SELECT " + ",".join(["temp", "*"] * 14_000) + " FROM weather",
    ],
    ids=short,
)
def test_what_is_handed_on_is_small_whatever_the_text(con: duckdb.DuckDBPyConnection, text: str) -> None:
    assert len(read_sql(con, asked(text)).to_json()) < MAX_BYTES // 2


@given(st.text(alphabet="SELECT FROM weather()*,+'\"[]{}$;-/ 1ax", max_size=120))
def test_any_text_is_read_or_refused(con: duckdb.DuckDBPyConnection, text: str) -> None:
    try:
        read_sql(con, asked(text))
    except TimestoreError as error:
        assert "\n" not in str(error)

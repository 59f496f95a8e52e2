"""Expressions of migrations: one row, the same value each time, columns by id, a type that a column can have."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pytest

from timestore_assets.migrating.row_expressions import CHANGING, EXPRESSION, column_type, literal_of, parse_expression
from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import SCALARS, duckdb_type, parse_type
from timestore_assets.querying.planning import sql_words, syntax
from timestore_assets_tests.support.query_warehouse import SCHEMA

NUMBERED = Schema(columns=tuple(replace(column, id=10 * i) for i, column in enumerate(SCHEMA, start=1)))


@pytest.mark.parametrize(
    ("text", "sql", "kind"),
    [
        ("(value - 32) * 5 / 9", '((("#30" - 32) * 5) / 9)', "double"),
        ("VALUE + meter.n", '("#30" + "#40")', "double"),
        ("n -- a comment", '"#40"', "int64"),
        ("note || ' \"note\" '", '("#80" || \' "note" \')', "string"),
        ("try_cast(note AS DATE)", 'TRY_CAST("#80" AS DATE)', "date"),
        ("age(ts, date) > INTERVAL 1 DAY", None, "bool"),
        ("[n, rev]", None, "list<int64>"),
        ("amount * 2", None, "decimal(18,2)"),
    ],
)
def test_columns_are_named_by_their_ids(text: str, sql: str | None, kind: str) -> None:
    found = parse_expression(syntax.parser(), text, NUMBERED, dataset="meter")
    assert str(found.type) == kind
    if sql is not None:
        assert found.sql == sql


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("n; SELECT 1", "can't be read"),
        ("(SELECT max(n) FROM meter)", "a subquery"),
        ("n IN (SELECT 1)", "a subquery"),
        ("sum(n)", "sum() is over many rows"),
        ("lag(n) OVER (ORDER BY ts)", "a window function"),
        ("unnest([n])", "unnest() is not available"),
        ("list_transform([n], x -> x)", "a lambda"),
        ("$1 + n", "a parameter"),
        ("#1", "a column number"),
        ("*", "a star"),
        ("read_text('/etc/passwd')", "not available"),
        ("now()", "can't hold now()"),
        ("CURRENT_DATE", "can't hold current_date"),
        ("ts < current_timestamp", "can't hold current_timestamp"),
        ("age(ts)", "about today"),
        ("hash(n)", "another version of DuckDB"),
        ("n + note", "can't be computed"),
        ("missing + 1", "no column 'missing'"),
        ("n", None),
    ],
)
def test_only_one_rows_value_that_stays_the_same_is_possible(text: str, problem: str | None) -> None:
    if problem is None:
        parse_expression(syntax.parser(), text, NUMBERED, dataset="meter")
        return
    with pytest.raises(InputError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        parse_expression(syntax.parser(), text, NUMBERED, dataset="meter")


def test_a_column_may_be_called_like_a_keyword() -> None:
    odd = Schema(columns=(replace(SCHEMA.column("n"), name="localtime", id=7),))
    assert parse_expression(syntax.parser(), '"localtime" + 1', odd, dataset="meter").inputs == (7,)


def test_all_that_duckdb_calls_changing_is_left_out() -> None:
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT' AND function_type = 'scalar'"
    changing = {name for (name,) in duckdb.connect().execute(query).fetchall()}
    assert changing & EXPRESSION.functions == set()
    assert CHANGING <= sql_words.SCALARS, "what filters don't have either needs no mention"
    assert not EXPRESSION.keywords


def test_errors_speak_of_names() -> None:
    with pytest.raises(InputError) as error:
        parse_expression(syntax.parser(), "note.missing", NUMBERED, dataset="meter")
    assert "#80" not in str(error.value)


@pytest.mark.parametrize("kind", [*SCALARS, "decimal(9,2)", "list<double>"])
def test_every_plain_type_is_found_again(kind: str) -> None:
    assert column_type(duckdb_type(parse_type(kind))) == parse_type(kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "int64"), (1.5, "double"), (True, "bool"), ("it's", "string"), ("2024-01-01", "date"), ("1.25", "decimal(5,2)")],
)
def test_defaults_are_literals_of_their_type(value: bool | int | float | str, kind: str) -> None:
    con = syntax.parser()
    (found,) = con.execute(f"SELECT {literal_of(con, value, parse_type(kind))}").fetchall()[0]
    assert str(found) == str(value)


@pytest.mark.parametrize(
    ("value", "kind"), [("x", "int64"), (1, "string"), (1, "bool"), (True, "int64"), ("soon", "date"), (1.5, "int64")]
)
def test_defaults_of_another_type_are_refused(value: bool | int | float | str, kind: str) -> None:
    with pytest.raises(InputError, match="is no"):
        literal_of(syntax.parser(), value, parse_type(kind))

"""Words of SQL that are names of columns or datasets: messages say how to write them, words of the session are columns first."""

from __future__ import annotations

import pytest

from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.planning.sql_words import hinted, session_columns
from timestore_assets.querying.planning.where import parse_where
from timestore_assets.querying.sql.check import check_sql

COLUMNS = {"readings": ("ts", "at", "End", "user", "n"), "order": ("ts", "left"), "users": ("ts", "current_role")}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT at, n FROM readings", ['"at"']),
        ("SELECT n FROM readings WHERE end > 1", ['"End"']),
        ("SELECT count(*) FROM order", ['"order"']),
        ("SELECT left FROM order", ['"order"', '"left"']),
        ("SELECT n FROM readings ORDER BY at", ['"at"', '"order"']),
        ("SELECT 'at' n, FROM FROM readings -- at", []),
        ('SELECT "at" n n FROM readings', []),
        ("SELECT at n n FROM nowhere", []),
    ],
)
def test_a_syntax_error_names_the_words_that_may_be_meant_as_names(text: str, named: list[str]) -> None:
    with pytest.raises(InputError, match="syntax error") as error, hinted(text, COLUMNS, COLUMNS.__getitem__):
        check_sql(syntax.parser(), text, datasets=COLUMNS)
    assert sorted(part.split(" ")[0] for part in str(error.value).split("write ")[1:]) == sorted(named)


@pytest.mark.parametrize("text", ["at > '2024-01-01'", "n = 1 AND at IS NULL OR end", "at BETWEEN 1 AND 2"])
def test_a_filter_says_it_too(text: str) -> None:
    columns = tuple(Column(name=name, type=parse_type("int64"), nullable=True) for name in COLUMNS["readings"])
    with pytest.raises(InputError, match=r'write "(at|End)" in double quotes'):
        parse_where(syntax.parser(), text, Schema(columns=columns), dataset="readings")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT user, count(*) FROM readings GROUP BY user",
        'SELECT "user" FROM readings',
        "SELECT User FROM (SELECT * FROM readings)",
        "SELECT n FROM readings JOIN users USING (ts) WHERE current_role = 'x' AND user = 'y'",
        "WITH c(session_user) AS (SELECT 1) SELECT session_user FROM c",
        "SELECT current_user FROM (SELECT n AS current_user FROM readings)",
    ],
)
def test_words_of_the_session_are_columns_where_there_are_such(text: str) -> None:
    check_sql(syntax.parser(), text, datasets=COLUMNS, columns=session_columns(text, COLUMNS, COLUMNS.__getitem__))


@pytest.mark.parametrize("text", ["SELECT user", 'SELECT user FROM "order"', "SELECT current_user FROM readings -- users"])
def test_they_are_refused_where_there_are_none(text: str) -> None:
    with pytest.raises(RefusedError, match="is not available here"):
        check_sql(syntax.parser(), text, datasets=COLUMNS, columns=session_columns(text, COLUMNS, COLUMNS.__getitem__))

"""The columns that a SELECT can read: a name too many costs bytes, one too few would read a hole."""

from __future__ import annotations

import pytest

from timestore_assets.querying.planning import syntax
from timestore_assets.querying.sql.tables_read import columns_read


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT count(*) FROM t", set()),
        ("SELECT Value, t.ts FROM t WHERE Device = 'a' ORDER BY n", {"value", "t", "ts", "device", "n"}),
        ("SELECT max(v) FILTER (w > 0) OVER (PARTITION BY k ORDER BY s) FROM t QUALIFY q > 1", {"v", "w", "k", "s", "q"}),
        ("SELECT a FROM t GROUP BY ROLLUP (b) HAVING min(c) > 1", {"a", "b", "c"}),
        ("SELECT 1 FROM t JOIN u USING (k) JOIN w ON t.a = w.b", {"k", "t", "a", "w", "b"}),
        (
            "SELECT s.part.deep FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = outer_one)",
            {"s", "part", "deep", "u", "x", "outer_one"},
        ),
        ("WITH c AS (SELECT a FROM t) SELECT b FROM c UNION ALL SELECT d FROM t", {"a", "b", "d"}),
        ("SELECT list_transform(l, lambda x: x + y) FROM t", {"l", "x", "y"}),
        ("FROM t SELECT CASE WHEN a THEN b ELSE c END, d IN (SELECT e FROM u), f[g]", set("abcdefg")),
    ],
)
def test_every_name_is_found(statement: str, names: set[str]) -> None:
    assert columns_read(syntax.statements(syntax.parser(), statement)[0]) == names


@pytest.mark.parametrize(
    "statement",
    [
        "FROM t",
        "SELECT t.* FROM t",
        "SELECT COLUMNS('a.*') FROM t",
        "SELECT * EXCLUDE (a) FROM t",
        "SELECT t FROM t",
        "SELECT m FROM t AS m",
        "SELECT struct_extract(T, 'a') FROM t",
        "SELECT a FROM t AS m(a, b)",
        "SELECT a FROM t NATURAL JOIN u",
        "SELECT c FROM (SELECT a FROM t) AS c",
        "SELECT a FROM t WHERE b IN (FROM u)",
        "SELECT a FROM t ORDER BY ALL",
        "SELECT * FROM (PIVOT t ON a IN ('x') USING sum(b))",
    ],
)
def test_where_it_can_not_be_told_everything_is_read(statement: str) -> None:
    assert columns_read(syntax.statements(syntax.parser(), statement)[0]) is None


@pytest.mark.parametrize(
    "sample", ["USING SAMPLE 3", "USING SAMPLE 10% (bernoulli)", "TABLESAMPLE reservoir(20 ROWS) REPEATABLE (42)"]
)
def test_a_sample_reads_what_the_statement_does(sample: str) -> None:
    assert columns_read(syntax.statements(syntax.parser(), f"SELECT a FROM t {sample}")[0]) == {"a"}

"""Of rows with equal keys only one stays: the SQL that finds such rows and leaves the others out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.dedupe_order import keeping_order
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import quote

_DUPLICATED = "timestore_duplicated"
_COPIES = "__copies"

# Up to this share of rows with a key that is not unique, taking them apart is cheaper than a window over all rows
# (5 M rows with 10 % of them duplicated, 2 cores: 3.4 s against 5.0 s, sort included)
_FEW = 0.4
# Below this the statements cost more than the rows
_SMALL_ROWS = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """`rows`: SQL table expression of the rows that stay. `superseded`: how many go."""

    rows: str
    superseded: int


@contextmanager
def deduplicated(
    con: duckdb.DuckDBPyConnection, source: str, *, dedupe: Dedupe | None, schema: Schema, total: int
) -> Iterator[Deduplicated]:
    """The rows of `source` (a SQL table expression of `total` stored rows) of which no two share their keys.

    One pass reads the keys alone; in a large partition only rows whose key is not unique are compared then. Valid inside the
    `with`.
    """
    if dedupe is None:
        yield Deduplicated(rows=source, superseded=0)
    elif total <= _SMALL_ROWS:
        yield _compare_all(con, source, dedupe, schema)
    else:
        try:
            yield _compare_equal(con, source, dedupe, schema, total)
        finally:
            con.execute(f"DROP TABLE IF EXISTS {_DUPLICATED}")


def _compare_all(con: duckdb.DuckDBPyConnection, source: str, dedupe: Dedupe, schema: Schema) -> Deduplicated:
    found = con.execute(
        f"SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM {source} GROUP BY {_keys(dedupe)})"
    )
    [superseded] = found.fetchone() or (0,)
    rows = f"(SELECT * FROM {source} {_first_of_each(dedupe, schema)})" if superseded else source
    return Deduplicated(rows=rows, superseded=superseded)


def _compare_equal(con: duckdb.DuckDBPyConnection, source: str, dedupe: Dedupe, schema: Schema, total: int) -> Deduplicated:
    keys = _keys(dedupe)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {_DUPLICATED} AS"
        f" SELECT {keys}, count(*) AS {_COPIES} FROM {source} GROUP BY {keys} HAVING count(*) > 1"
    )
    found = con.execute(f"SELECT count(*), coalesce(sum({_COPIES}), 0)::BIGINT FROM {_DUPLICATED}").fetchone()
    distinct, copies = found or (0, 0)
    return Deduplicated(rows=_kept(source, dedupe, schema, copies, total), superseded=copies - distinct)


def _kept(source: str, dedupe: Dedupe, schema: Schema, copies: int, total: int) -> str:
    if not copies:
        return source
    if copies > _FEW * total:
        return f"(SELECT * FROM {source} {_first_of_each(dedupe, schema)})"
    # nulls are equal in GROUP BY, so they have to be here too
    same = " AND ".join(f"r.{quote(name)} IS NOT DISTINCT FROM d.{quote(name)}" for name in dedupe.keys)
    unique = f"SELECT r.* FROM {source} r ANTI JOIN {_DUPLICATED} d ON ({same})"
    others = f"SELECT r.* FROM {source} r SEMI JOIN {_DUPLICATED} d ON ({same})"
    return f"({unique} UNION ALL SELECT * FROM ({others}) {_first_of_each(dedupe, schema)})"


def _first_of_each(dedupe: Dedupe, schema: Schema) -> str:
    return f"QUALIFY row_number() OVER (PARTITION BY {_keys(dedupe)} ORDER BY {keeping_order(dedupe, schema)}) = 1"


def _keys(dedupe: Dedupe) -> str:
    return ", ".join(quote(name) for name in dedupe.keys)

"""Of rows with equal keys only one stays: which one, and the SQL that leaves the others out, for builds and queries alike.

Most rows are alone with their key. A first pass reads the keys and finds those that are not; the others are streamed past them,
and only rows that share a key are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import duckdb

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.model.types import quote
from timestore_assets.segments.engine import one_row

ARRIVAL = (SESSION_COLUMN, SOURCE_COLUMN, POSITION_COLUMN)
"""Hidden columns that together say in which order rows arrived."""

_numbers = count()
_ROWS = "__rows"
# Up to this share of rows with a key that is not unique, taking them apart is cheaper than a window over all rows
# (5 M rows with 10 % of them duplicated, 2 cores: 3.4 s against 5.0 s, sort included)
_FEW = 0.4
# Below this the statements cost more than the rows
_SMALL_ROWS = 50_000


def keeping_order(dedupe: Dedupe, schema: Schema) -> str:
    """SQL terms for ORDER BY under which the row to keep comes first among rows with equal keys.

    With `by` that column decides, then the rest of the row by column name, so that neither the order of arrival nor the order
    in which evolution found columns can change the outcome; arrival only settles between rows that are equal. Without
    `by` arrival decides. The terms need every visible column of `schema` in its stored form (inferred ones as raw text) and the
    hidden ones: a reader that casts inferred columns first would break ties differently.
    """
    direction = "DESC" if dedupe.keep == "last" else "ASC"
    arrival = [f"{quote(name)} {direction}" for name in ARRIVAL]
    if dedupe.by is None:
        return ", ".join(arrival)
    settled = {dedupe.by, *dedupe.keys}
    content = [dedupe.by, *sorted(name for name in schema.names if name not in settled)]
    return ", ".join([*(f"{quote(name)} {direction} NULLS LAST" for name in content), *arrival])


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

    In a large partition only rows whose key is not unique are compared. Valid inside the `with`.
    """
    if dedupe is None:
        yield Deduplicated(rows=source, superseded=0)
    elif total <= _SMALL_ROWS:
        groups = f"SELECT count(*) AS n FROM {source} GROUP BY {_keys(dedupe)}"
        [superseded] = one_row(con, f"SELECT coalesce(sum(n - 1), 0)::BIGINT FROM ({groups})")
        rows = f"(SELECT * FROM {source} {first_of_each(dedupe, schema)})" if superseded else source
        yield Deduplicated(rows=rows, superseded=superseded)
    else:
        with _shared_keys(con, _repeated(source, dedupe)) as shared:
            kept = shared.kept(source, dedupe, schema, total)
            yield Deduplicated(rows=kept, superseded=shared.rows - shared.keys)


@contextmanager
def not_superseded(
    con: duckdb.DuckDBPyConnection,
    fresh: str,
    *,
    fresh_rows: int,
    built: str | None,
    built_rows: int,
    dedupe: Dedupe,
    schema: Schema,
    for_cursors: bool = False,
) -> Iterator[str]:
    """A SQL table expression of the rows that no other row supersedes, valid inside the `with`.

    `fresh`: table expression of rows that may share keys with any others; `built`: of rows of which no two share theirs. Both
    with every column in its stored form and the hidden ones, and at most `fresh_rows` and `built_rows` rows.
    `for_cursors`: it is valid in other cursors of the connection too.
    """
    source = fresh if built is None else f"(SELECT * FROM {built} UNION ALL SELECT * FROM {fresh})"
    if built is None or fresh_rows > _FEW * built_rows:
        found = _repeated(source, dedupe)
    else:
        # built rows can only share a key with a fresh one: no need to look at all of theirs
        found = f"SELECT {_keys(dedupe)}, count(*) AS {_ROWS} FROM {fresh} GROUP BY ALL"
    with _shared_keys(con, found, for_cursors=for_cursors) as shared:
        yield shared.kept(source, dedupe, schema, fresh_rows + built_rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SharedKeys:
    """Keys that several rows may have, in a temporary `table`: so many of them, and so many rows that have one."""

    table: str
    keys: int
    rows: int

    def kept(self, source: str, dedupe: Dedupe, schema: Schema, total: int) -> str:
        """A SQL table expression of those of all `total` rows of `source` that stay."""
        if not self.rows:
            return source
        first = first_of_each(dedupe, schema)
        if self.rows > _FEW * total:
            return f"(SELECT * FROM {source} {first})"
        # nulls are equal in GROUP BY, so they have to be here too
        same = " AND ".join(f"r.{quote(name)} IS NOT DISTINCT FROM d.{quote(name)}" for name in dedupe.keys)
        lone = f"SELECT r.* FROM {source} r ANTI JOIN {self.table} d ON ({same})"
        shared = f"SELECT r.* FROM {source} r SEMI JOIN {self.table} d ON ({same})"
        return f"({lone} UNION ALL SELECT * FROM ({shared}) {first})"


@contextmanager
def _shared_keys(con: duckdb.DuckDBPyConnection, found: str, *, for_cursors: bool = False) -> Iterator[_SharedKeys]:
    """What a query of keys with their numbers of rows gives, as a table inside the `with`."""
    table = f"shared_keys_{next(_numbers)}"
    try:
        con.execute(f"CREATE {'' if for_cursors else 'TEMP '}TABLE {table} AS {found}").fetchall()
        keys, rows = one_row(con, f"SELECT count(*), coalesce(sum({_ROWS}), 0)::BIGINT FROM {table}")
        yield _SharedKeys(table=table, keys=keys, rows=rows)
    finally:
        con.execute(f"DROP TABLE IF EXISTS {table}").fetchall()


def _repeated(source: str, dedupe: Dedupe) -> str:
    keys = _keys(dedupe)
    return f"SELECT {keys}, count(*) AS {_ROWS} FROM {source} GROUP BY {keys} HAVING count(*) > 1"


def first_of_each(dedupe: Dedupe, schema: Schema) -> str:
    """SQL that, behind a SELECT of all stored columns and the hidden ones, leaves one row of each key."""
    return f"QUALIFY row_number() OVER (PARTITION BY {_keys(dedupe)} ORDER BY {keeping_order(dedupe, schema)}) = 1"


def _keys(dedupe: Dedupe) -> str:
    return ", ".join(quote(name) for name in dedupe.keys)

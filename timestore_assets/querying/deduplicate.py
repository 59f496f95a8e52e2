"""Of unbuilt rows with equal keys only one is in the answer: the one that a build would keep.

Most rows are alone with their key. A first pass reads the keys and finds those that are not; the others are streamed past them,
with no more columns than the question needs, and only rows that share a key are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import duckdb

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.dedupe_order import keeping_order
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import quote

_numbers = count()
# with more shared keys than this part of the rows, one window over all of them is cheaper than taking them apart
_FEW = 0.4


@contextmanager
def deduplicated(
    con: duckdb.DuckDBPyConnection,
    fresh: str,
    *,
    fresh_rows: int,
    built: str | None,
    built_rows: int,
    dedupe: Dedupe,
    schema: Schema,
) -> Iterator[str]:
    """A SQL table expression of the rows that no other row supersedes, valid inside the `with`.

    `fresh`: table expression of rows that may share keys with any others; `built`: of rows of which no two share theirs. Both
    with every column in its stored form and the hidden ones, and at most `fresh_rows` and `built_rows` rows.
    """
    table = f"shared_keys_{next(_numbers)}"
    keys = ", ".join(quote(name) for name in dedupe.keys)
    source = fresh if built is None else f"(SELECT * FROM {built} UNION ALL SELECT * FROM {fresh})"
    if built is None or fresh_rows > _FEW * built_rows:
        found = f"SELECT {keys}, count(*) AS __rows FROM {source} GROUP BY ALL HAVING count(*) > 1"
    else:
        # built rows can only share a key with a fresh one: no need to look at all of theirs
        found = f"SELECT {keys}, count(*) AS __rows FROM {fresh} GROUP BY ALL"
    con.execute(f"CREATE TEMP TABLE {table} AS {found}").fetchall()
    try:
        ((shared,),) = con.execute(f"SELECT coalesce(sum(__rows), 0)::BIGINT FROM {table}").fetchall()
        yield _kept(source, table, dedupe, schema, few=shared <= _FEW * (fresh_rows + built_rows)) if shared else source
    finally:
        con.execute(f"DROP TABLE IF EXISTS {table}").fetchall()


def _kept(source: str, table: str, dedupe: Dedupe, schema: Schema, *, few: bool) -> str:
    keys = ", ".join(quote(name) for name in dedupe.keys)
    first = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {keeping_order(dedupe, schema)}) = 1"
    if not few:
        return f"(SELECT * FROM {source} {first})"
    # nulls are equal in GROUP BY, so they have to be here too
    same = " AND ".join(f"r.{quote(name)} IS NOT DISTINCT FROM d.{quote(name)}" for name in dedupe.keys)
    lone = f"SELECT r.* FROM {source} r ANTI JOIN {table} d ON ({same})"
    shared = f"SELECT r.* FROM {source} r SEMI JOIN {table} d ON ({same})"
    return f"({lone} UNION ALL SELECT * FROM ({shared}) {first})"

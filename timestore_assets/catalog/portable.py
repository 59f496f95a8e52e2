"""The few statements that SQLite and PostgreSQL spell differently, or bound differently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, Connection, Table, any_, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ColumnElement

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

T = TypeVar("T")
PARAMETERS = 500
"""Values in one IN list: far below both databases' limits, and few statement texts to compile."""


def insert_ignore(connection: Connection, table: Table, *rows: Mapping[str, Any]) -> int:
    """Insert the rows whose keys are new; returns how many were."""
    if not rows:
        return 0
    # counted by what comes back, since drivers don't agree on the row count of many rows at once
    key, *_ = table.primary_key
    return len(connection.execute(_insert(connection, table).on_conflict_do_nothing().returning(key), rows).all())


Change = Callable[[Any, Any], Any]
"""A column's new value from the old row's columns and the new row's."""


class Upsert:
    """Inserts rows or, where `keys` exist, changes the columns named in `set_`.

    Its statement is made once for each database: where it is needed twenty times a second, making it costs more than running it.
    """

    def __init__(self, table: Table, *, keys: Sequence[str], set_: Mapping[str, Change]) -> None:
        self._table, self._keys, self._set = table, list(keys), set_
        self._statements: dict[str, sqlite.Insert | postgresql.Insert] = {}

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        name = connection.dialect.name
        if name not in self._statements:
            self._statements[name] = self._statement(_insert(connection, self._table))
        connection.execute(self._statements[name], rows)

    def _statement(self, insert: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
        changed = {name: make(self._table.c, insert.excluded) for name, make in self._set.items()}
        return insert.on_conflict_do_update(index_elements=self._keys, set_=changed)


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, keys: Sequence[str], set_: Mapping[str, Change]
) -> None:
    """Insert rows or, where `keys` exist, change the columns named in `set_`."""
    Upsert(table, keys=keys, set_=set_)(connection, rows)


def chunked(values: Iterable[T], size: int = PARAMETERS) -> Iterator[list[T]]:
    """Lists of at most `size`, in order."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def among(connection: Connection, column: ColumnElement[int], values: Sequence[int]) -> ColumnElement[bool]:
    """Condition: the column is one of the values, thousands of them as one parameter, where `IN` names and binds each."""
    if connection.dialect.name == "sqlite":
        return column.in_(select(func.json_each(json.dumps(values)).table_valued("value").c.value))
    return column == any_(bindparam(None, list(values), type_=ARRAY(BigInteger)))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # who has no PostgreSQL need not wait for its many modules

    return postgresql.insert(table)

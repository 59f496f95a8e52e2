"""Segments that can't hold a key, left out by the database: their statistics need not come here to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import JSON, Connection, Text, case, cast, func, literal, or_
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog.tables import segment_stats, segments

_UNSAFE = frozenset('"\\\0')
"""Characters that a path within SQLite's JSON can't hold."""
_NO_TEXT = "\\u0000"
"""As JSON writes the character that PostgreSQL has no text with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRange:
    """From `low` to `high`, both inclusive, None being no bound: where texts of `column` must lie, in order of their code points.

    `column`: its name in the statistics of segments that are written under `schema_version`; of others nothing is said.
    """

    column: str
    schema_version: int
    low: str | None = None
    high: str | None = None

    @property
    def can_be_asked(self) -> bool:
        """Whether both databases can be asked about such texts."""
        return _UNSAFE.isdisjoint(f"{self.column}{self.low}{self.high}")


def may_hold(connection: Connection, ranges: Sequence[KeyRange]) -> list[ColumnElement[bool]]:
    """Conditions on segments joined with their statistics: these don't prove that all texts lie outside a range."""
    return [_may_hold(connection, one) for one in ranges if one.can_be_asked]


def _may_hold(connection: Connection, wanted: KeyRange) -> ColumnElement[bool]:
    outside: list[ColumnElement[bool]] = []
    if wanted.high is not None:
        outside.append(_bound(connection, wanted.column, 0) > wanted.high)
    if wanted.low is not None:
        outside.append(_bound(connection, wanted.column, 1) < wanted.low)
    is_outside = segments.c.schema_version == wanted.schema_version, or_(*outside)
    return case((is_outside[0] & func.coalesce(is_outside[1], literal(False)), literal(False)), else_=literal(True))


def _bound(connection: Connection, column: str, place: int) -> ColumnElement[str]:
    """The smallest (0) or largest (1) text of a column by a segment's statistics, which orders as code points do; or null."""
    stats = segment_stats.c.stats
    if connection.dialect.name == "sqlite":
        found: ColumnElement[str] = func.json_extract(stats, f'$."{column}"[{place}]')
        is_plain = func.instr(stats, _NO_TEXT) == 0
    else:
        found = cast(stats, JSON).op("->")(column).op("->>")(place).cast(Text).collate("C")
        is_plain = func.strpos(stats, _NO_TEXT) == 0
    return case((is_plain, found))

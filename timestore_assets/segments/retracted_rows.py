"""Retractions as SQL: which segments may hold such rows, what leaves them out or finds them, and the columns that this reads."""

from __future__ import annotations

from collections.abc import Sequence

from timestore_assets.model.retraction import Retracted, Retraction, sources_of
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN
from timestore_assets.model.segment import Segment


def may_hold(segment: Segment, retracted: Retracted) -> bool:
    """Whether rows of the segment may be retracted; one that does not say where its rows came from may always."""
    return bool(retracted) and (not segment.source_ids or not sources_of(retracted).isdisjoint(segment.source_ids))


def hidden_by(retracted: Retracted) -> str:
    """SQL condition: a row is retracted. There must be a retraction."""
    whole = sorted(one.source for one in retracted if one.is_whole)
    ranges = sorted((one for one in retracted if not one.is_whole), key=_in_order)
    parts = [f"{SOURCE_COLUMN} IN ({', '.join(map(str, whole))})"] if whole else []
    return " OR ".join([*parts, *(f"({_inside(one)})" for one in ranges)])


def shown_by(retracted: Retracted) -> str:
    """SQL condition: a row is not retracted. There must be a retraction."""
    if all(one.is_whole for one in retracted):
        # the plain form is the one that DuckDB compares with a file's statistics
        return f"{SOURCE_COLUMN} NOT IN ({', '.join(map(str, sorted(sources_of(retracted))))})"
    return f"NOT ({hidden_by(retracted)})"


def provenance_read(retracted: Retracted) -> Sequence[str]:
    """Columns that the conditions read."""
    if not retracted:
        return ()
    return (SOURCE_COLUMN,) if all(one.is_whole for one in retracted) else (SOURCE_COLUMN, POSITION_COLUMN, SESSION_COLUMN)


def _inside(one: Retraction) -> str:
    bounds = ((POSITION_COLUMN, ">=", one.first), (POSITION_COLUMN, "<", one.end), (SESSION_COLUMN, "<=", one.last_session))
    said = [f"{column} {operator} {bound}" for column, operator, bound in bounds if bound is not None]
    return " AND ".join([f"{SOURCE_COLUMN} = {one.source}", *said])


def _in_order(one: Retraction) -> tuple[int, int, int, int]:
    return (one.source, -1 if one.first is None else one.first, one.end or -1, one.last_session or -1)

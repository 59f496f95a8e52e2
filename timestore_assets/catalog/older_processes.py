"""Processes of before a revision of the catalog that are still at work beside ours, as in a rolling update.

A process says in each session that it begins which revision it was written for; one of before that says nothing. Those of
before revision 0010 know columns by their names alone, and nothing but whole source partitions as retracted: after a migration
they would write NULLs under the new names, and of a range that was retracted they would hide, and drop, the whole source
partition. Those of before 0011 take all rows of an object for those of its segment, so nothing shares one beside them.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, select

from timestore_assets.catalog.holders import is_gone, shown
from timestore_assets.catalog.tables import HEAD, datasets, sessions
from timestore_assets.model.errors import RefusedError

KNOWS_LIFE = "0010"
"""The first revision whose processes know columns by their ids, and ranges that were retracted."""
KNOWS_SHARED = "0011"
"""The first revision whose processes know that an object may hold rows of several segments."""
_SHOWN = 3
_MARK = re.compile(r" r(?P<revision>\d{4})$")


def marked(holder: str) -> str:
    """A session's holder as it is stored: with the revision that its process was written for."""
    return f"{holder} r{HEAD}"


def at_work(connection: Connection, *, now: int, before: str = KNOWS_LIFE) -> list[str]:
    """Sessions that live and were begun by processes of before a revision, of any dataset, as people read them."""
    s = sessions.c
    alive = s.ended_at.is_(None) & (s.expires_at > now)
    asked = select(s.id, s.kind, s.holder, datasets.c.name).join_from(sessions, datasets).where(alive).order_by(s.id)
    return [
        f"{shown(row.holder)} ({row.kind} of {row.name}, session {row.id})"
        for row in connection.execute(asked)
        if _is_older(row.holder, before) and not is_gone(row.holder)
    ]


def require_none(connection: Connection, what: str, *, now: int) -> None:
    """Raise RefusedError while such a process is at work. `what`: what is not done, as the begin of a sentence."""
    found = at_work(connection, now=now)
    if found:
        raise RefusedError(f"{what}: {in_words(found)}")


def in_words(found: list[str]) -> str:
    """Why something waits for these sessions, as `at_work` gives them."""
    named = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    return (
        f"processes of an older version are at work, which would write or drop rows wrongly after it: {named}; replace them, and "
        "try again once their sessions have ended"
    )


def _is_older(holder: str, revision: str) -> bool:
    found = _MARK.search(holder)
    return found is None or found["revision"] < revision

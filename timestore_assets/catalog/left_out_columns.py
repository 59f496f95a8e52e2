"""Columns that were left out by `columns: discard_value` and are wanted now: which files and offsets had values of them.

The audit says for each landing commit how many values were left out, of which columns and for which partitions. What landed
before its oldest row is not known any more (`TIMESTORE_AUDIT_KEEP_SECONDS`), so a request says since when it knows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from timestore_assets.catalog.backfill_records import OPEN, BackfillState, land_again
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.landed_places import LANDED, LandedPlaces
from timestore_assets.catalog.tables import audit, backfills
from timestore_assets.model.window import Window, format_time

KIND = "ignored_column"


@dataclass(kw_only=True)
class LeftOut(LandedPlaces):
    """What landing left out of some columns, as far as the audit knows."""

    values: Counter[str] = field(default_factory=Counter)
    """By column."""
    partitions: set[int] = field(default_factory=set)
    """Starts of those that lack them."""


def ask_for_reload(
    connection: Connection,
    dataset: Row[Any],
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    changes: Sequence[SchemaChange],
    version: int,
    actor: str,
    now: int,
) -> None:
    """Ask for a reload of just what had values in columns that a declaration wants now.

    Those are the columns that it adds, and where it no longer leaves columns out, all that were. The request is a row of
    `backfills`, told in the audit and to Dagster; `backfill: auto` approves it at once, `never` asks for none.
    """
    added = {change.column for change in changes if change.kind == "column_added"}
    lifted = not _leaves_out(after)
    # where nothing is left out now, all that was has been asked for when that ended
    if not _leaves_out(before) or not (added or lifted):
        return
    found = _left_out(connection, dataset, None if lifted else added)
    policy = after.get("evolution", {}).get("backfill", "ask")
    if not found.values or policy == "never":
        return
    cause = _cause(connection, dataset, found)
    details = {"schema_version": version, "partitions": len(found.partitions), **cause}
    state: BackfillState = "approved" if policy == "auto" else "asked"
    if not _ask(connection, dataset, found, cause, state=state, version=version, actor=actor, now=now):
        return
    payload = {
        "reason": sentence(cause),
        "schema_version": version,
        "partitions": len(found.partitions),
        "commands": "; ".join(cause["commands"]),
    }
    tell(connection, dataset.id, "reload_asked", details, event=payload, actor=actor, now=now)


def sentence(cause: Mapping[str, Any]) -> str:
    """What a request asks for, in words."""
    columns = ", ".join(f"{name} ({count:,} values)" for name, count in cause["values"].items())
    places = [
        f"{len(cause['files'])} files" if cause["files"] else "",
        f"{len(cause['ranges'])} ranges of topics" if cause["ranges"] else "",
        f"{cause['others']:,} values of requests or replays, which no source has any more" if cause["others"] else "",
    ]
    had = " and ".join(place for place in places if place)
    return f"left out before and wanted now: {columns}; {had}. What landed before {cause['known_since']} is not known"


def _leaves_out(definition: Mapping[str, Any]) -> bool:
    evolution: Mapping[str, Any] = definition.get("evolution", {})
    return evolution.get("columns") == "discard_value" or evolution.get("new_columns") == "ignore"


def _left_out(connection: Connection, dataset: Row[Any], wanted: Collection[str] | None) -> LeftOut:
    """`wanted`: columns, None for all."""
    a, found, window = audit.c, LeftOut(), Window(dataset.window)
    told = select(a.details).where(a.dataset_id == dataset.id, a.action.in_(LANDED))
    told = told.where(a.details.contains('"ignored_columns":{"', autoescape=True))
    if wanted is not None:
        told = told.where(or_(*(a.details.contains(json.dumps(name), autoescape=True) for name in sorted(wanted))))
    for text in connection.execute(told.order_by(a.id)).scalars():
        details = json.loads(text)
        values = {name: count for name, count in details["ignored_columns"].items() if _is_wanted(name, wanted)}
        if values:
            _add(found, details, values, window)
    found.keep_what_stands(connection, dataset.id)
    return found


def _is_wanted(name: str, wanted: Collection[str] | None) -> bool:
    # names that begin so are no columns', whoever declares what
    return name in wanted if wanted is not None else not name.startswith("__")


def _add(found: LeftOut, details: Mapping[str, Any], values: Mapping[str, int], window: Window) -> None:
    found.values.update(values)
    found.partitions.update(to_micros(window.parse_key(key).start) for key in details["partitions"])
    found.add(details, sum(values.values()))


def _cause(connection: Connection, dataset: Row[Any], found: LeftOut) -> dict[str, Any]:
    ranges = found.windows(connection)
    since = connection.execute(
        select(func.min(audit.c.at)).where(audit.c.dataset_id == dataset.id, audit.c.action.in_(LANDED))
    ).scalar_one()
    return {
        "kind": KIND,
        "columns": sorted(found.values),
        "values": dict(sorted(found.values.items())),
        "files": [{"source": source, "address": address} for address, source in found.files.items()],
        "ranges": ranges,
        "others": found.others,
        "known_since": format_time(from_micros(since)),
        "commands": land_again(dataset.name, found.files, ranges),
    }


def _ask(
    connection: Connection,
    dataset: Row[Any],
    found: LeftOut,
    cause: Mapping[str, Any],
    *,
    state: BackfillState,
    version: int,
    actor: str,
    now: int,
) -> bool:
    """Make the request, unless there is an open one for just the same."""
    b, why = backfills.c, json.dumps(cause, sort_keys=True)
    same = select(b.id).where(b.dataset_id == dataset.id, b.cause == why, b.state.in_(OPEN))
    if connection.execute(same).first() is not None:
        return False
    cost = {"partitions": len(found.partitions), "files": len(found.files), "values": sum(found.values.values())}
    row = {
        "dataset_id": dataset.id,
        "schema_version": version,
        "cause": why,
        "partitions": json.dumps(sorted(found.partitions)),
        "cost": json.dumps(cost),
        "state": state,
        "actor": actor,
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(backfills.insert(), row)
    return True


def requests(connection: Connection, dataset_id: int) -> list[Mapping[str, Any]]:
    """What is asked for or approved, the newest first: id, schema_version, state, and all that a cause says."""
    b = backfills.c
    statement = select(backfills).where(b.dataset_id == dataset_id, b.state.in_(OPEN)).order_by(b.id.desc())
    rows = [(row, json.loads(row.cause)) for row in connection.execute(statement)]
    return [
        {"id": row.id, "schema_version": row.schema_version, "state": row.state, **cause}
        for row, cause in rows
        if cause.get("kind") == KIND
    ]

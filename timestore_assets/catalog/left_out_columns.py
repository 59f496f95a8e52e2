"""Columns that were left out by `columns: discard_value` and are wanted now: which files and offsets had values of them.

The audit says for each landing commit how many values were left out, of which columns and for which partitions. What landed
before its oldest row is not known any more (`TIMESTORE_AUDIT_KEEP_SECONDS`), so a request says since when it knows.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from timestore_assets.catalog import audit as audit_log
from timestore_assets.catalog import outbox
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.tables import audit, backfills, files, source_partitions, sources, topics
from timestore_assets.model.window import Window, format_time

KIND = "ignored_column"
_LANDED = ("landed", "replayed")
_SHOWN = 20
"""Command lines that a request keeps; the others are like them."""


@dataclass(kw_only=True)
class LeftOut:
    """What landing left out of some columns, as far as the audit knows."""

    values: Counter[str] = field(default_factory=Counter)
    """By column."""
    partitions: set[int] = field(default_factory=set)
    """Starts of those that lack them."""
    files: dict[str, str] = field(default_factory=dict)
    """Source by address."""
    ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Of each commit the first offset and the one behind the last, by source partition."""
    of_ranges: Counter[int] = field(default_factory=Counter)
    """Values of them."""
    others: int = 0
    """Values that came by requests or replays: no source has them any more."""


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
    `backfills`, told in the audit and to Dagster.
    """
    added = {change.column for change in changes if change.kind == "column_added"}
    lifted = not _leaves_out(after)
    # where nothing is left out now, all that was has been asked for when that ended
    if not _leaves_out(before) or not (added or lifted):
        return
    found = _left_out(connection, dataset, None if lifted else added)
    if not found.values:
        return
    cause = _cause(connection, dataset, found)
    details = {"schema_version": version, "partitions": len(found.partitions), **cause}
    if not _ask(connection, dataset, found, cause, version=version, actor=actor, now=now):
        return
    audit_log.record(connection, dataset.id, actor=actor, action="reload_asked", details=details, now=now)
    payload = {
        "reason": sentence(cause),
        "schema_version": version,
        "partitions": len(found.partitions),
        "commands": "; ".join(cause["commands"]),
    }
    outbox.queue(connection, dataset.id, "reload_asked", payload, now=now)


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
    told = select(a.details).where(a.dataset_id == dataset.id, a.action.in_(_LANDED))
    told = told.where(a.details.contains('"ignored_columns":{"', autoescape=True))
    if wanted is not None:
        told = told.where(or_(*(a.details.contains(json.dumps(name), autoescape=True) for name in sorted(wanted))))
    for text in connection.execute(told.order_by(a.id)).scalars():
        details = json.loads(text)
        values = {name: count for name, count in details["ignored_columns"].items() if _is_wanted(name, wanted)}
        if values:
            _add(found, details, values, window)
    _forget_what_is_gone(connection, dataset.id, found)
    return found


def _is_wanted(name: str, wanted: Collection[str] | None) -> bool:
    # names that begin so are no columns', whoever declares what
    return name in wanted if wanted is not None else not name.startswith("__")


def _add(found: LeftOut, details: Mapping[str, Any], values: Mapping[str, int], window: Window) -> None:
    found.values.update(values)
    found.partitions.update(to_micros(window.parse_key(key).start) for key in details["partitions"])
    if details.get("file"):
        found.files[details["file"]] = details["source"]
    elif details["spans"]:
        for partition, start, end in details["spans"]:
            found.ranges.setdefault(partition, []).append((start, end))
        found.of_ranges[details["spans"][0][0]] += sum(values.values())
    else:
        found.others += sum(values.values())


def _forget_what_is_gone(connection: Connection, dataset_id: int, found: LeftOut) -> None:
    """Leave out files that others have replaced since, and count what came by requests."""
    standing: set[str] = set()
    for addresses in chunked(found.files):
        here = files.c.dataset_id == dataset_id, files.c.address.in_(addresses), files.c.newest, files.c.state != "replaced"
        standing.update(connection.execute(select(files.c.address).where(*here)).scalars())
    found.files = {address: source for address, source in found.files.items() if address in standing}
    p = source_partitions.c
    of_topics: set[int] = set()
    for ids in chunked(found.ranges):
        of_topics.update(connection.execute(select(p.id).where(p.id.in_(ids), p.topic_row_id.is_not(None))).scalars())
    # positions of a service's session are no offsets that anybody could read again
    found.others += sum(count for partition, count in found.of_ranges.items() if partition not in of_topics)
    found.ranges = {partition: _joined(ranges) for partition, ranges in found.ranges.items() if partition in of_topics}


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that follow each other as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _cause(connection: Connection, dataset: Row[Any], found: LeftOut) -> dict[str, Any]:
    ranges = _ranges(connection, found)
    since = connection.execute(
        select(func.min(audit.c.at)).where(audit.c.dataset_id == dataset.id, audit.c.action.in_(_LANDED))
    ).scalar_one()
    return {
        "kind": KIND,
        "columns": sorted(found.values),
        "values": dict(sorted(found.values.items())),
        "files": [{"source": source, "address": address} for address, source in found.files.items()],
        "ranges": ranges,
        "others": found.others,
        "known_since": format_time(from_micros(since)),
        "commands": _commands(dataset, found.files, ranges),
    }


def _ranges(connection: Connection, found: LeftOut) -> list[dict[str, Any]]:
    p = source_partitions.c
    of_topic = topics.c.id == p.topic_row_id
    named = select(topics.c.topic, p.number, sources.c.address).join_from(source_partitions, topics, of_topic)
    named = named.join(sources, sources.c.id == p.source_id)
    ranges = []
    for partition, bounds in sorted(found.ranges.items()):
        row = connection.execute(named.where(p.id == partition)).one()
        place = {"source": row.address, "topic": row.topic, "partition": row.number}
        ranges += [{**place, "from": start, "to": end} for start, end in bounds]
    return ranges


def _commands(dataset: Row[Any], addresses: Mapping[str, str], ranges: Sequence[Mapping[str, Any]]) -> list[str]:
    """The command lines that land it again, the first ones."""
    name, lines = dataset.name, list[str]()
    prefixes = {
        f"{one['prefix'].rstrip('/')}/{one['glob']}": one["prefix"]
        for one in json.loads(dataset.definition)["sources"]
        if "prefix" in one
    }
    for address, source in addresses.items():
        folder = prefixes.get(source, source.partition("*")[0].rpartition("/")[0]).rstrip("/")
        path = address if address.startswith("/") or "://" in address else f"{folder}/{address}"
        lines += [f"timestore retract {name} --file {shlex.quote(address)}", f"timestore land {name} {shlex.quote(path)}"]
    lines += [
        f"timestore retract {name} --source {one['topic']}/{one['partition']} --from {one['from']} --to {one['to']}"
        for one in ranges
    ]
    return lines[:_SHOWN]


def _ask(
    connection: Connection,
    dataset: Row[Any],
    found: LeftOut,
    cause: Mapping[str, Any],
    *,
    version: int,
    actor: str,
    now: int,
) -> bool:
    """Make the request, unless there is an open one for just the same."""
    b, why = backfills.c, json.dumps(cause, sort_keys=True)
    same = select(b.id).where(b.dataset_id == dataset.id, b.cause == why, b.state.in_(("asked", "approved")))
    if connection.execute(same).first() is not None:
        return False
    cost = {"partitions": len(found.partitions), "files": len(found.files), "values": sum(found.values.values())}
    row = {
        "dataset_id": dataset.id,
        "schema_version": version,
        "cause": why,
        "partitions": json.dumps(sorted(found.partitions)),
        "cost": json.dumps(cost),
        "state": "asked",
        "actor": actor,
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(backfills.insert(), row)
    return True


def requests(connection: Connection, dataset_id: int) -> list[Mapping[str, Any]]:
    """What is asked for, the newest first: id, schema_version, state, and all that a cause says."""
    b = backfills.c
    statement = select(backfills).where(b.dataset_id == dataset_id, b.state == "asked").order_by(b.id.desc())
    rows = [(row, json.loads(row.cause)) for row in connection.execute(statement)]
    return [
        {"id": row.id, "schema_version": row.schema_version, "state": row.state, **cause}
        for row, cause in rows
        if cause.get("kind") == KIND
    ]

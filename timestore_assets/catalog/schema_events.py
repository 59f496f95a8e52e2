"""Events of schemas: each version with what changed, who or what made it, and the record that did.

A cause is JSON beside the version. Of data: source, session, and for each column the place of the record and a sample of its
value; of a person: that it was declared. The sample is data, so it stays where the right to read the dataset is asked for: it is
in no event for Dagster and in no message to a channel.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import sources
from timestore_assets.catalog.channel_messages import queue
from timestore_assets.catalog.commit_values import (
    Evidence,
    FileProgress,
    LandingCommit,
    ReplaySettlement,
    RequestOutcomes,
    SchemaChange,
)
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.tables import dataset_schemas, file_chunks, files, source_partitions, topics
from timestore_assets.model.window import format_time

Cause = Mapping[str, Any]
"""JSON values. `kind`: data, replay, declaration, or what else made the version, such as a migration with its `ticket`."""
DECLARED: Cause = {"kind": "declaration"}
OF_DATA = ("data", "replay")
"""Kinds of causes that no person is."""


def cause_of(connection: Connection, batch: LandingCommit) -> Cause:
    """What in which source made the changes of a landing commit."""
    source = sources.owner(connection, batch.source_id)
    found = [(change.column, change.evidence) for change in batch.schema_changes if change.evidence is not None]
    return {
        "kind": "replay" if isinstance(batch.progress, ReplaySettlement) else "data",
        "source_kind": source.kind,
        "source": source.address,
        "session": batch.session_id,
        "columns": {column: _record(connection, batch, evidence) for column, evidence in found},
    }


def _record(connection: Connection, batch: LandingCommit, evidence: Evidence) -> dict[str, Any]:
    partition = evidence.source_partition_id
    if partition is None and len(batch.spans) == 1:
        partition = batch.spans[0].source_partition_id
    place: dict[str, Any] = {"position": evidence.position, "line": evidence.line, "sample": evidence.sample}
    place |= _topic_place(connection, partition, evidence) or _other_place(connection, batch, partition, evidence)
    return {key: value for key, value in place.items() if value is not None}


def _topic_place(connection: Connection, partition: int | None, evidence: Evidence) -> dict[str, Any]:
    p = source_partitions.c
    named = select(topics.c.topic, p.number).join_from(source_partitions, topics, topics.c.id == p.topic_row_id)
    row = connection.execute(named.where(p.id == partition)).one_or_none()
    return {} if row is None else {"topic": row.topic, "partition": row.number, "offset": evidence.position, "position": None}


def _other_place(connection: Connection, batch: LandingCommit, partition: int | None, evidence: Evidence) -> dict[str, Any]:
    if isinstance(batch.progress, FileProgress):
        return {"file": connection.execute(select(files.c.address).where(files.c.id == batch.progress.file_id)).scalar()}
    if isinstance(batch.progress, RequestOutcomes) and batch.progress.requests:
        firsts = [first for first, _ in batch.progress.requests]
        first, request = batch.progress.requests[max(0, bisect_right(firsts, evidence.position) - 1)]
        return {"request": request, "record": evidence.position - first}
    part = select(file_chunks.c.file_id).where(file_chunks.c.source_partition_id == partition)
    whole = select(files.c.address).where((files.c.source_partition_id == partition) | files.c.id.in_(part))
    return {"file": connection.execute(whole.order_by(files.c.id).limit(1)).scalar()}


def without_samples(cause: Cause) -> Cause:
    """The cause as those may see it who need not be allowed to read the dataset."""
    if "columns" not in cause:
        return cause
    columns = {
        name: {key: value for key, value in one.items() if key != "sample"} for name, one in dict(cause["columns"]).items()
    }
    return {**cause, "columns": columns}


def forget_samples(connection: Connection, dataset_id: int) -> None:
    """Take the samples out of the causes of a dataset's schema versions, for good."""
    h = dataset_schemas.c
    kept = connection.execute(select(h.version, h.cause).where(h.dataset_id == dataset_id, h.cause.is_not(None))).all()
    for row in kept:
        cause = json.dumps(without_samples(json.loads(row.cause)), separators=(",", ":"), sort_keys=True)
        mine = dataset_schemas.update().where(h.dataset_id == dataset_id, h.version == row.version)
        connection.execute(mine.values(cause=cause))


def events(connection: Connection, dataset_id: int, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """The newest versions first; `before`: only older ones than that."""
    h = dataset_schemas.c
    statement = select(dataset_schemas).where(h.dataset_id == dataset_id)
    if before is not None:
        statement = statement.where(h.version < before)
    return [_event(row) for row in connection.execute(statement.order_by(h.version.desc()).limit(limit)).all()]


def _event(row: Row[Any]) -> dict[str, Any]:
    known = DECLARED if row.declared is not None or row.version == 1 else {"kind": "data"}
    return {
        "version": row.version,
        "at": format_time(from_micros(row.created_at)),
        "actor": row.actor,
        "manifest_version": row.manifest_version,
        "changes": json.loads(row.changes),
        "cause": known if row.cause is None else json.loads(row.cause),
    }


def change_sentence(change: Mapping[str, Any]) -> str:
    """A change in words; kinds that are not known here are named as they are."""
    column, before, after = change.get("column"), change.get("before"), change.get("after")
    match change["kind"]:
        case "column_added":
            return f"{column} added as {after}"
        case "column_renamed":
            return f"{before} renamed to {after}"
        case "column_transformed":
            return f"{column} has other values" if before == after else f"{column} has other values, {after} in place of {before}"
        case "column_dropped":
            return f"{column} dropped, which was {before}"
        case "column_restored":
            return f"{column} is back as {after}"
        case "type_widened":
            return f"{column} widened from {before} to {after}"
        case "nullability_relaxed":
            return f"{column} may be missing now"
        case kind:
            return f"{column} {str(kind).removeprefix('column_').replace('_', ' ')}" + (f" as {after}" if after else "")


def place_sentence(cause: Cause, column: str) -> str:
    """Where the record is that changed a column, in words; empty when no record did."""
    one = dict(cause.get("columns", {})).get(column)
    if one is None:
        return ""
    if "topic" in one:
        return f"{one['topic']}/{one['partition']} at offset {one['offset']}"
    if "request" in one:
        return f"request {one['request']}, record {one['record']}"
    line = f"line {one['line']}" if "line" in one else f"position {one.get('position')}"
    return f"{one['file']}, {line}" if "file" in one else line


def cause_sentence(cause: Cause) -> str:
    """What made a version, in words."""
    match cause["kind"]:
        case "declaration":
            return "it was declared"
        case "data" | "replay" if "source" in cause:
            replayed = "a replay of " if cause["kind"] == "replay" else ""
            return f"{replayed}{cause['source_kind']}:{cause['source']} in session {cause['session']}"
        case kind:
            ticket = f" ({cause['ticket']})" if cause.get("ticket") else ""
            return f"{kind}{ticket}"


def tell_channels(
    connection: Connection,
    dataset: Row[Any],
    channels: Sequence[str],
    *,
    version: int,
    changes: Sequence[SchemaChange],
    cause: Cause,
    now: int,
) -> None:
    """Queue a version's message to each channel, once whatever happens."""
    told, plain = without_samples(cause), [change.plain() for change in changes]
    words = "; ".join(
        change_sentence(one) + (f" ({place})" if (place := place_sentence(told, str(one["column"]))) else "") for one in plain
    )
    payload = {
        "dataset": dataset.name,
        "alert": "schema",
        "state": "changed",
        "version": version,
        "changes": plain,
        "cause": told,
        "summary": f"{dataset.name}: schema version {version}: {words or 'declared anew'}",
    }
    for channel in channels:
        queue(connection, channel, f"{dataset.id}/schema_version/{version}", payload, now=now)

"""The landing transaction: checkpoint, keys, segments, schema, dead letters, counters, audit and events, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, case, select

from timestore_assets.catalog import (
    audit,
    chunks,
    datasets,
    files,
    ingestions,
    manifest,
    outbox,
    partitions,
    sessions,
    sources,
    topics,
)
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.records import Counters, FileState, LandingCommit
from timestore_assets.catalog.tables import dead_letter_files, idempotency_keys
from timestore_assets.catalog.tables import files as files_table
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.window import Window

ADDRESSES_IN_EVENT = 20


def commit(connection: Connection, batch: LandingCommit, *, token: str, now: int) -> int:
    """See `Catalog.commit_landing`. Whatever is refused raises before anything of the batch stays."""
    _check(batch)
    dataset = datasets.lock(connection, batch.dataset_id)
    _advance(connection, batch)
    sessions.fulfil(connection, batch.session_id, batch.intents)
    _use_keys(connection, batch, now=now)
    _evolve(connection, batch, dataset, now=now)
    if batch.file_id is not None:
        files.take_up(connection, batch.file_id)
    _settle_replayed(connection, batch, now=now)
    starts = _publish(connection, batch, dataset, now=now)
    version: int = dataset.manifest_version + bool(starts is not None)
    if starts is not None:
        manifest.set_version(connection, dataset.id, version, now=now)
    if batch.ingestions:
        ingestions.settle(connection, batch, version=version, now=now)
    _keep_dead_letters(connection, batch, now=now)
    _count(connection, batch, now=now)
    landed = batch.file_id is not None and _move_file(connection, batch, batch.file_id, now=now)
    if batch.watermark is not None:
        topics.raise_watermark(connection, batch.source_id, batch.watermark)
    _tell(connection, batch, dataset, starts or (), landed=landed, token=token, version=version, now=now)
    return version


def known_keys(connection: Connection, dataset_id: int, keys: Sequence[str]) -> dict[str, str]:
    """Of these idempotency keys those already used, with the digests of what they stood for."""
    c = idempotency_keys.c
    found: dict[str, str] = {}
    for chunk in chunked(dict.fromkeys(keys)):
        rows = connection.execute(select(c.key, c.digest).where(c.dataset_id == dataset_id, c.key.in_(chunk)))
        found.update((row.key, row.digest) for row in rows)
    return found


def _check(batch: LandingCommit) -> None:
    """What only a bug can get wrong."""
    names = {segment.name for segment in batch.segments} | {file.name for file in batch.dead_letter_files}
    if not names <= set(batch.intents):
        raise ValueError(f"objects without an intent: {sorted(names - set(batch.intents))}")
    if not batch.counters.balanced or (not batch.replays and min(asdict(batch.counters).values()) < 0):
        raise ValueError(f"counters do not add up: {batch.counters}")
    backwards = [span for span in batch.spans if span.end < span.start]
    if backwards or (batch.counters.read and all(span.end == span.start for span in batch.spans)):
        raise ValueError(f"{batch.counters.read} records were read without moving a checkpoint on: {batch.spans}")
    if len({span.source_partition_id for span in batch.spans}) < len(batch.spans):
        raise ValueError("a source partition occurs twice in one commit")
    if batch.retract and len(batch.spans) != 1:
        raise ValueError("only a single source partition can replace others")


def _advance(connection: Connection, batch: LandingCommit) -> None:
    # in order of their ids, so that two sessions can't wait for each other
    for span in sorted(batch.spans, key=lambda span: span.source_partition_id):
        held_by = batch.session_id if batch.claimed else None
        if not sources.advance(connection, span, dataset_id=batch.dataset_id, session_id=held_by):
            raise ConflictError(
                f"source partition {span.source_partition_id} is no longer at offset {span.start.offset}: "
                "another session has landed from there, or its content was replaced; read its checkpoint again"
            )


def _settle_replayed(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    c = dead_letter_files.c
    settled = 0
    for ids in chunked(sorted(set(batch.replays))):
        waiting = dead_letter_files.update().where(c.id.in_(ids), c.dataset_id == batch.dataset_id, c.settled_at.is_(None))
        settled += connection.execute(waiting.values(settled_at=now, forward=False)).rowcount
    if settled < len(set(batch.replays)):
        raise ConflictError("some of these dead letters have been replayed by somebody else; list them again")
    if batch.replays and sources.withdrawn(connection, {at for segment in batch.segments for at in segment.source_ids}):
        raise ConflictError("some of these dead letters are of a content that has been replaced meanwhile; list them again")


def _use_keys(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    keys = [
        {"dataset_id": batch.dataset_id, "key": key.key, "digest": key.digest, "created_at": now}
        for key in batch.idempotency_keys
    ]
    if insert_ignore(connection, idempotency_keys, *keys) < len(keys):
        raise ConflictError("an idempotency key of this batch has been used since it was looked up; look the keys up again")


def _evolve(connection: Connection, batch: LandingCommit, dataset: Row[Any], *, now: int) -> None:
    if batch.base_schema_version not in (None, dataset.schema_version):
        raise ConflictError(
            f"the schema of {dataset.name!r} went from version {batch.base_schema_version} "
            f"to {dataset.schema_version}; decode again"
        )
    if batch.schema is None:
        return
    if batch.schema.version != dataset.schema_version + 1:
        raise ConflictError(
            f"the next schema of {dataset.name!r} is version {dataset.schema_version + 1}, not {batch.schema.version}"
        )
    changes = batch.schema_changes
    datasets.add_schema_version(connection, dataset, batch.schema, changes=changes, actor=batch.actor, now=now)


def _publish(connection: Connection, batch: LandingCommit, dataset: Row[Any], *, now: int) -> tuple[int, ...] | None:
    """Add segments and retract what they replace; returns the changed partition starts, None when nothing became visible."""
    version = dataset.manifest_version + 1
    if not batch.publish:
        (only,) = batch.spans
        manifest.add(connection, dataset, batch.segments, version=None, waiting_for=only.source_partition_id, now=now)
        if batch.retract:
            raise ValueError("a batch that is not published can't retract anything yet")
        return None
    closed = sources.retract(connection, batch.retract, version=version)
    manifest.retract(connection, dataset.id, closed, version=version)
    manifest.abandon_waiting(connection, closed, version=version, now=now)
    waiting = set[int]()
    if len(batch.spans) == 1:  # what waits for its last batch is read alone
        waiting = set(manifest.publish_waiting(connection, batch.spans[0].source_partition_id, version=version, now=now))
    manifest.add(connection, dataset, batch.segments, version=version, waiting_for=None, now=now)
    starts = {*waiting, *(to_micros(segment.partition_start) for segment in batch.segments)}
    partitions.changed(connection, dataset.id, starts, version=version)
    lost = manifest.holding(connection, dataset.id, closed)
    partitions.lost_rows(connection, dataset.id, lost.keys(), version=version)
    changed = tuple(sorted(starts | lost.keys()))
    return changed if changed or closed else None


def _keep_dead_letters(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    rows = [
        {
            "dataset_id": batch.dataset_id,
            "source_id": batch.source_id,
            "name": file.name,
            "rows": file.rows,
            "bytes": file.bytes,
            "reasons": json.dumps(dict(file.reasons)),
            "created_at": now,
            "kind": file.kind,
            "forward": file.forward,
            "storage": file.storage,
        }
        for file in batch.dead_letter_files
    ]
    if rows:
        connection.execute(dead_letter_files.insert(), rows)


def _count(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    sources.add_counters(connection, sources_table, batch.source_id, batch.counters)
    if batch.counters.landed:
        sources.note_landed(connection, batch.source_id, batch.counters.landed, now=now)


def _move_file(connection: Connection, batch: LandingCommit, file_id: int, *, now: int) -> bool:
    """Move a file to its new state; returns whether it has landed whole, all its parts."""
    c = files_table.c
    (only,) = batch.spans
    parts = chunks.of(connection, only.source_partition_id)
    state: FileState = batch.file_state or "landing"
    values: dict[str, Any] = {"state": state, "session_id": batch.session_id, "reason": "", "updated_at": now}
    if any(not part.done for part in parts):
        state = "landing"
        # a part that can't be read keeps the file in quarantine, whatever becomes of the others meanwhile
        quarantined = c.state == "quarantined"
        values |= {"state": case((quarantined, c.state), else_=state), "reason": case((quarantined, c.reason), else_="")}
    own_partition = parts[0].source_partition_id if parts else only.source_partition_id
    own = files_table.update().where(c.id == file_id, c.source_partition_id == own_partition)
    if connection.execute(own.values(values)).rowcount == 0:
        raise ValueError(f"file {file_id} is not read as source partition {own_partition}")
    sources.add_counters(connection, files_table, file_id, batch.counters)
    if state == "landed":
        files.settle_copies(connection, file_id, now=now)
    if batch.retract:
        states = ("landed", "landing", "quarantined")
        former = files_table.update().where(c.source_partition_id.in_(batch.retract), c.state.in_(states))
        connection.execute(former.values(state="replaced", reason="a newer content at its address replaced it", updated_at=now))
    return state == "landed"


def _tell(
    connection: Connection,
    batch: LandingCommit,
    dataset: Row[Any],
    starts: Iterable[int],
    *,
    landed: bool,
    token: str,
    version: int,
    now: int,
) -> None:
    window = Window(dataset.window)
    keys = [window.key_of(from_micros(start)) for start in starts]
    file = (
        None
        if batch.file_id is None
        else connection.execute(select(files_table.c.address).where(files_table.c.id == batch.file_id)).scalar()
    )
    source = sources.owner(connection, batch.source_id)
    details = {
        "source": source.address,
        "file": file,
        "spans": [[one.source_partition_id, one.start.offset, one.end.offset] for one in batch.spans if one.end != one.start],
        "counters": asdict(batch.counters),
        "segments": len(batch.segments),
        "partitions": keys,
        "retracted": list(batch.retract),
        "ignored_columns": dict(batch.ignored_columns),
        "replayed": list(batch.replays),
    }
    audit.record(
        connection,
        dataset.id,
        actor=batch.actor,
        action="replayed" if batch.replays else "landed",
        details=details,
        now=now,
        token=token,
        manifest_version=version,
    )
    payload: dict[str, Any] = {
        "source": source.address,
        "source_kind": source.kind,
        "counters": asdict(batch.counters),
        "batches": 1,
        "partitions": keys,
        "manifest_version": version,
    }
    finished = [file] if landed else []
    if batch.file_id is not None:
        payload |= {"files": len(finished), "addresses": finished}
    if not any(payload["counters"].values()) and not finished:
        return  # only the clocks of quiet topics went on
    by = f"landed:{source.id}"
    kind = "files_landed" if source.kind == "files" else "records_landed"  # topics and HTTP
    outbox.coalesce(connection, dataset.id, kind, payload, by=by, merge=_merge, now=now)


def _merge(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
    counters = Counters(**before["counters"]) + Counters(**after["counters"])
    merged = {
        **after,
        "counters": asdict(counters),
        "batches": before["batches"] + after["batches"],
        "partitions": sorted({*before["partitions"], *after["partitions"]}),
    }
    if "files" in before or "files" in after:  # replayed records belong to none
        addresses = dict.fromkeys((*before.get("addresses", ()), *after.get("addresses", ())))
        files = before.get("files", 0) + after.get("files", 0)
        merged |= {"files": files, "addresses": list(addresses)[-ADDRESSES_IN_EVENT:]}
    return merged

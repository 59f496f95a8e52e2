"""The landing transaction: checkpoint, keys, segments, schema, dead letters, counters, audit and events, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, case, select

from timestore_assets.catalog import (
    audit,
    datasets,
    dead_letter_files,
    file_chunks,
    file_states,
    ingestions,
    late_records,
    manifest,
    outbox,
    partitions,
    reloads,
    schema_events,
    schema_versions,
    sessions,
    sources,
    topics,
)
from timestore_assets.catalog.commit_values import (
    FileProgress,
    LandingCommit,
    ReloadProgress,
    ReplaySettlement,
    RequestOutcomes,
    TopicProgress,
)
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.records import FileState
from timestore_assets.catalog.tables import files as files_table
from timestore_assets.catalog.tables import idempotency_keys
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, RetiredError
from timestore_assets.model.retraction import sources_of, whole
from timestore_assets.model.source_kinds import lands_files
from timestore_assets.model.window import Window

ADDRESSES_IN_EVENT = 20


def commit(connection: Connection, batch: LandingCommit, *, token: str, now: int) -> int:
    """See `Commits.land`. Whatever is refused raises before anything of the batch stays."""
    _check(batch)
    dataset = datasets.lock(connection, batch.dataset_id)
    if dataset.retired_at is not None:
        raise RetiredError(dataset.name)
    _advance(connection, batch)
    sessions.fulfil(connection, batch.session_id, batch.objects)
    _use_keys(connection, batch, now=now)
    _require_next_schema(batch, dataset)
    if isinstance(batch.progress, FileProgress):
        file_states.take_up(connection, batch.progress.file_id)
    elif isinstance(batch.progress, ReplaySettlement):
        reloads.require_same(connection, batch.progress.read_again)
        dead_letter_files.settle(connection, batch, batch.progress, now=now)
    elif isinstance(batch.progress, ReloadProgress) and batch.progress.replays_until is not None:
        reloads.require_no_replay(connection, dataset.id, since=batch.progress.replays_until)
    batch = late_records.note(connection, batch, dataset, now=now)
    partitions.require_none_expired(connection, dataset.id, [to_micros(segment.partition_start) for segment in batch.segments])
    starts = _publish(connection, batch, dataset, now=now)
    version: int = dataset.manifest_version + bool(starts is not None)
    if starts is not None:
        manifest.set_version(connection, dataset.id, version, now=now)
    if batch.schema is not None:
        schema_versions.add(
            connection,
            dataset,
            batch.schema,
            changes=batch.schema_changes,
            manifest_version=version,
            cause=schema_events.cause_of(connection, batch),
            actor=batch.actor,
            now=now,
        )
    if isinstance(batch.progress, RequestOutcomes) and batch.progress.ingestions:
        ingestions.settle(connection, batch, batch.progress.ingestions, version=version, now=now)
    dead_letter_files.keep(connection, batch, now=now)
    _count(connection, batch, now=now)
    landed = isinstance(batch.progress, FileProgress) and _move_file(connection, batch, batch.progress, now=now)
    if isinstance(batch.progress, TopicProgress) and batch.progress.watermark is not None:
        topics.raise_watermark(connection, batch.source_id, batch.progress.watermark)
    _tell(connection, batch, dataset, starts or (), landed=landed, token=token, version=version, now=now)
    return version


def _check(batch: LandingCommit) -> None:
    """What only a bug can get wrong."""
    is_replay = isinstance(batch.progress, ReplaySettlement)
    if not batch.counters.balanced or (not is_replay and min(asdict(batch.counters).values()) < 0):
        raise ValueError(f"counters do not add up: {batch.counters}")
    backwards = [span for span in batch.spans if span.end < span.start]
    if backwards or (batch.counters.read and all(span.end == span.start for span in batch.spans)):
        raise ValueError(f"{batch.counters.read} records were read without moving a checkpoint on: {batch.spans}")
    if len({span.source_partition_id for span in batch.spans}) < len(batch.spans):
        raise ValueError("a source partition occurs twice in one commit")


def _advance(connection: Connection, batch: LandingCommit) -> None:
    held_by = batch.session_id if isinstance(batch.progress, TopicProgress) else None
    # in order of their ids, so that two sessions can't wait for each other
    for span in sorted(batch.spans, key=lambda span: span.source_partition_id):
        if not sources.advance(connection, span, dataset_id=batch.dataset_id, session_id=held_by):
            raise ConflictError(
                f"source partition {span.source_partition_id} is no longer at offset {span.start.offset}: "
                "another session has landed from there, or its content was replaced; read its checkpoint again"
            )


def _use_keys(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    keys = [
        {"dataset_id": batch.dataset_id, "key": key.key, "digest": key.digest, "created_at": now}
        for key in batch.idempotency_keys
    ]
    if insert_ignore(connection, idempotency_keys, *keys) < len(keys):
        raise ConflictError("an idempotency key of this batch has been used since it was looked up; look the keys up again")


def _require_next_schema(batch: LandingCommit, dataset: Row[Any]) -> None:
    if batch.base_schema_version not in (None, dataset.schema_version):
        raise ConflictError(
            f"the schema of {dataset.name!r} went from version {batch.base_schema_version} "
            f"to {dataset.schema_version}; decode again"
        )
    if batch.schema is not None and batch.schema.version != dataset.schema_version + 1:
        raise ConflictError(
            f"the next schema of {dataset.name!r} is version {dataset.schema_version + 1}, not {batch.schema.version}"
        )


def _publish(connection: Connection, batch: LandingCommit, dataset: Row[Any], *, now: int) -> tuple[int, ...] | None:
    """Add segments and retract what they replace; returns the changed partition starts, None when nothing became visible."""
    version = dataset.manifest_version + 1
    waits_for = _waits_for(batch)
    if waits_for is not None:
        manifest.add(connection, dataset, batch.segments, version=None, waiting_for=waits_for, now=now)
        return None
    file = batch.progress if isinstance(batch.progress, FileProgress) else None
    reload = batch.progress if isinstance(batch.progress, ReloadProgress) else None
    closed = sources.retract(connection, file.retracts if file is not None else (), version=version)
    manifest.retract(connection, dataset.id, whole(closed), version=version)
    manifest.abandon_waiting(connection, closed, version=version, now=now)
    waiting = set[int]()
    if reload is not None:
        waiting = set(manifest.publish_waiting(connection, reload.waits_for, version=version, now=now))
    elif len(batch.spans) == 1:  # what waits for its last batch is read alone
        waiting = set(manifest.publish_waiting(connection, batch.spans[0].source_partition_id, version=version, now=now))
    manifest.add(connection, dataset, batch.segments, version=version, waiting_for=None, now=now)
    starts = {*waiting, *(to_micros(segment.partition_start) for segment in batch.segments)}
    partitions.changed(connection, dataset.id, starts, version=version)
    lost = set(manifest.holding(connection, dataset.id, closed))
    if reload is not None:
        manifest.retract(connection, dataset.id, reload.replaces, version=version)
        holding = manifest.holding(connection, dataset.id, sources_of(reload.replaces))
        lost |= {to_micros(start) for start in reload.losing} & holding.keys()
    partitions.lost_rows(connection, dataset.id, lost, version=version)
    changed = tuple(sorted(starts | lost))
    return changed if changed or closed else None


def _waits_for(batch: LandingCommit) -> int | None:
    """The source partition whose end the batch's rows wait for; None when they are shown at once."""
    match batch.progress:
        case FileProgress() as file if not file.is_visible:
            return file.span.source_partition_id
        case ReloadProgress(last=False, waits_for=waits_for):
            return waits_for
        case _:
            return None


def _count(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    sources.add_counters(connection, sources_table, batch.source_id, batch.counters)
    if isinstance(batch.progress, ReplaySettlement):
        file_states.follow_replay(connection, batch)
    if batch.counters.landed:
        sources.note_landed(connection, batch.source_id, batch.counters.landed, now=now)


def _move_file(connection: Connection, batch: LandingCommit, file: FileProgress, *, now: int) -> bool:
    """Move a file to its new state; returns whether it has landed whole, all its parts."""
    c = files_table.c
    parts = file_chunks.of(connection, file.span.source_partition_id)
    state: FileState = "landed" if file.last else "landing"
    values: dict[str, Any] = {"state": state, "session_id": batch.session_id, "reason": "", "updated_at": now}
    if any(not part.done for part in parts):
        state = "landing"
        # a part that can't be read keeps the file in quarantine, whatever becomes of the others meanwhile
        quarantined = c.state == "quarantined"
        values |= {"state": case((quarantined, c.state), else_=state), "reason": case((quarantined, c.reason), else_="")}
    own_partition = parts[0].source_partition_id if parts else file.span.source_partition_id
    own = files_table.update().where(c.id == file.file_id, c.source_partition_id == own_partition)
    if connection.execute(own.values(values)).rowcount == 0:
        raise ValueError(f"file {file.file_id} is not read as source partition {own_partition}")
    sources.add_counters(connection, files_table, file.file_id, batch.counters)
    if state == "landed":
        file_states.settle_copies(connection, file.file_id, now=now)
    if file.retracts:
        states = ("landed", "landing", "quarantined")
        former = files_table.update().where(c.source_partition_id.in_(file.retracts), c.state.in_(states))
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
    """Write down what was committed, for people in the audit and for Dagster in the outbox."""
    window = Window(dataset.window)
    keys = [window.key_of(from_micros(start)) for start in starts]
    file = batch.progress if isinstance(batch.progress, FileProgress) else None
    address = file and connection.execute(select(files_table.c.address).where(files_table.c.id == file.file_id)).scalar()
    source = sources.owner(connection, batch.source_id)
    sent = {"source": source.address, "source_kind": source.kind, "file": address, "partitions": keys}
    details = _audited(batch, file) | sent
    if file is not None and file.retracts:
        # what the old content had superseded in built partitions does not come back by itself
        details["superseded_rows"] = partitions.superseded_rows(connection, dataset.id, starts)
    audit.record(
        connection,
        dataset.id,
        actor=batch.actor,
        action=_action(batch),
        details=details,
        now=now,
        token=token,
        manifest_version=version,
    )
    event: dict[str, Any] = {
        "source": source.address,
        "source_kind": source.kind,
        "counters": asdict(batch.counters),
        "batches": 1,
        "partitions": keys,
        "manifest_version": version,
    }
    finished = [address] if landed else []
    if file is not None:
        event |= {"files": len(finished), "addresses": finished}
    if any(event["counters"].values()) or finished:  # else only the clocks of quiet topics went on
        kind = "files_landed" if lands_files(source.kind) else "records_landed"
        outbox.coalesce(connection, dataset.id, kind, event, by=f"landed:{source.id}", merge=_merge, now=now)


def _action(batch: LandingCommit) -> str:
    match batch.progress:
        case ReplaySettlement(dead_letter_ids=ids) if ids:
            return "replayed"
        case ReloadProgress(last=True):
            return reloads.RELOADED
        case _:
            return "landed"


def _audited(batch: LandingCommit, file: FileProgress | None) -> dict[str, Any]:
    """What the commit itself says, as plain values."""
    replayed = batch.progress.dead_letter_ids if isinstance(batch.progress, ReplaySettlement) else ()
    return {
        "session": batch.session_id,
        "spans": [
            [span.source_partition_id, span.start.offset, span.end.offset] for span in batch.spans if span.end != span.start
        ],
        "counters": asdict(batch.counters),
        "reasons": dict(sum((Counter(file.reasons) for file in batch.dead_letter_files), Counter[str]())),
        "segments": len(batch.segments),
        "bytes": sum(segment.bytes for segment in batch.segments),
        "retracted": list(file.retracts if file else ()),
        "ignored_columns": dict(batch.ignored_columns),
        "discarded_values": dict(batch.discarded_values),
        "replayed": list(replayed),
    }


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

"""Topics and their partitions: epochs, which session reads what, the watermark, and offsets that were lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, func, not_, or_, select
from sqlalchemy import exists as exists_

from timestore_assets.catalog import audit, outbox, sources
from timestore_assets.catalog.commit_values import Span, WatermarkRule
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import duration_micros, from_micros, optional_time, to_micros
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.records import LostRange, TopicPartition
from timestore_assets.catalog.sessions import alive
from timestore_assets.catalog.tables import lost_offsets, sessions, source_partitions, topics
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position


class StoredTopics:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def partitions(self, source_id: int) -> list[TopicPartition]:
        """Partitions of the newest epoch of every (cluster, topic) of the source, by cluster, topic and number."""
        return self._database.read(lambda c: listed(c, source_id, now=self._database.now(c)))

    def open(
        self, source_id: int, *, cluster_id: str, topic: str, epoch: int, topic_id: str | None, starts: Mapping[int, int]
    ) -> list[TopicPartition]:
        """The topic's partitions in that epoch, those that are new with their first offsets; idempotent.

        A broker's topic id is kept when none was known. A new epoch is noted in the audit.
        """
        key: dict[str, Any] = {"cluster_id": cluster_id, "topic": topic, "epoch": epoch, "topic_id": topic_id}
        return self._database.timed(lambda c, now: open_topic(c, source_id, **key, starts=starts, now=now))

    def assign(self, session_id: int, source_partition_ids: Sequence[int]) -> set[int]:
        """Of these those that this session now holds: free ones, and those of sessions that no longer live."""
        return self._database.timed(lambda c, now: assign(c, session_id, source_partition_ids, now=now))

    def lose(
        self, source_partition_id: int, *, start: int, end: int, reason: str, session_id: int, skip: bool, actor: str
    ) -> LostRange:
        """Record offsets that the broker deleted, once; with `skip` the checkpoint moves behind them (accepted, audited).

        Raises:
            ConflictError: the checkpoint is not at `start`, or another session holds the partition.
        """
        found: dict[str, Any] = {"start": start, "end": end, "reason": reason, "session_id": session_id, "skip": skip}
        return self._database.timed(lambda c, now: lose(c, source_partition_id, **found, actor=actor, now=now), repeatable=False)

    def lost_ranges(self, dataset_id: int) -> list[LostRange]:
        """All that were ever recorded, newest first."""
        return self._database.read(lambda c: lost(c, dataset_id))

    def accept_lost(self, dataset_id: int, *, actor: str) -> int:
        """Take note of the lost ranges, so that landing may skip them and the check passes again; returns how many were new."""
        return self._database.timed(lambda c, now: accept(c, dataset_id, actor=actor, now=now), repeatable=False)


def listed(connection: Connection, source_id: int, *, now: int) -> list[TopicPartition]:
    """See `StoredTopics.partitions`."""
    t, p = topics.c, source_partitions.c
    later = topics.alias()
    newest = ~exists_().where(
        later.c.source_id == t.source_id, later.c.cluster_id == t.cluster_id, later.c.topic == t.topic, later.c.epoch > t.epoch
    )
    holder = select(sessions.c.id).where(sessions.c.id == p.session_id, alive(now)).scalar_subquery()
    rows = connection.execute(
        select(source_partitions, t.cluster_id, t.topic, t.epoch, t.topic_id, holder.label("held_by"))
        .join_from(source_partitions, topics, p.topic_row_id == t.id)
        .where(t.source_id == source_id, newest)
        .order_by(t.cluster_id, t.topic, p.number)
    )
    return [_partition(row) for row in rows]


def of_dataset(connection: Connection, dataset_id: int, *, now: int) -> list[TopicPartition]:
    """The topic partitions of all its sources."""
    read = [source.id for source in sources.listed(connection, dataset_id) if source.reads_topics]
    return [one for source_id in read for one in listed(connection, source_id, now=now)]


def open_topic(
    connection: Connection,
    source_id: int,
    *,
    cluster_id: str,
    topic: str,
    epoch: int,
    topic_id: str | None,
    starts: Mapping[int, int],
    now: int,
) -> list[TopicPartition]:
    """See `StoredTopics.open`."""
    key = {"source_id": source_id, "cluster_id": cluster_id, "topic": topic, "epoch": epoch}
    made = insert_ignore(connection, topics, {**key, "topic_id": topic_id, "created_at": now})
    own = and_(*(topics.c[name] == value for name, value in key.items()))
    row_id: int = connection.execute(select(topics.c.id).where(own)).scalar_one()
    if topic_id is not None:
        connection.execute(topics.update().where(own, topics.c.topic_id.is_(None)).values(topic_id=topic_id))
    rows = [
        {
            "source_id": source_id,
            "name": f"{cluster_id}/{topic}#{epoch}/{number}",
            "position_offset": offset,
            "position_line": 0,
            "topic_row_id": row_id,
            "number": number,
        }
        for number, offset in sorted(starts.items())
    ]
    insert_ignore(connection, source_partitions, *rows)
    if made and epoch > 1:
        source = sources.owner(connection, source_id)
        details = {"source": source.address, "cluster": cluster_id, "topic": topic, "epoch": epoch, "topic_id": topic_id}
        audit.record(connection, source.dataset_id, actor="timestore", action="topic_began_anew", details=details, now=now)
    return [one for one in listed(connection, source_id, now=now) if (one.cluster_id, one.topic) == (cluster_id, topic)]


def assign(connection: Connection, session_id: int, partition_ids: Sequence[int], *, now: int) -> set[int]:
    """See `StoredTopics.assign`."""
    c = source_partitions.c
    living = exists_().where(sessions.c.id == c.session_id, alive(now))
    free = or_(c.session_id.is_(None), c.session_id == session_id, not_(living))
    assigned: set[int] = set()
    for ids in chunked(sorted(partition_ids)):
        taken = source_partitions.update().where(c.id.in_(ids), free).values(session_id=session_id).returning(c.id)
        assigned.update(connection.execute(taken).scalars())
    return assigned


def raise_watermark(connection: Connection, source_id: int, rule: WatermarkRule) -> None:
    """Move a source's watermark to the least newest time of the partitions that can still deliver; never back.

    A partition without a record yet, and not idle, can deliver anything: then the watermark stays. So it does when all are idle.
    """
    c = source_partitions.c
    low: int | None = None
    for ids in chunked(rule.over):
        delivering = and_(c.id.in_(ids), c.quiet < duration_micros(rule.idle))
        counted = connection.execute(select(func.count(), func.count(c.newest), func.min(c.newest)).where(delivering)).one()
        if counted[0] > counted[1]:
            return
        if counted[2] is not None:
            low = counted[2] if low is None else min(low, counted[2])
    if low is None:
        return
    s = sources_table.c
    capped = min(low, to_micros(rule.cap))
    behind = or_(s.watermark.is_(None), s.watermark < capped)
    connection.execute(sources_table.update().where(s.id == source_id, behind).values(watermark=capped))


def lose(
    connection: Connection,
    partition_id: int,
    *,
    start: int,
    end: int,
    reason: str,
    session_id: int,
    skip: bool,
    actor: str,
    now: int,
) -> LostRange:
    """See `StoredTopics.lose`."""
    c = source_partitions.c
    partition = connection.execute(select(source_partitions).where(c.id == partition_id)).one()
    source = sources.owner(connection, partition.source_id)
    row = {"dataset_id": source.dataset_id, "source_partition_id": partition_id, "first": start, "behind": end, "reason": reason}
    fresh = insert_ignore(connection, lost_offsets, {**row, "skipped": False, "accepted": False, "found_at": now})
    own = and_(lost_offsets.c.source_partition_id == partition_id, lost_offsets.c.first == start)
    # the broker may have deleted more since the range was found
    connection.execute(lost_offsets.update().where(own, ~lost_offsets.c.skipped).values(behind=end))
    details = {"source": source.address, "partition": partition.name, "start": start, "end": end, "reason": reason}
    if fresh:
        audit.record(connection, source.dataset_id, actor=actor, action="offsets_lost", details=details, now=now)
        outbox.queue(connection, source.dataset_id, "offsets_lost", {**details, "source_kind": source.kind}, now=now)
    if skip:
        span = Span(source_partition_id=partition_id, start=Position(offset=start), end=Position(offset=end))
        if not sources.advance(connection, span, dataset_id=source.dataset_id, session_id=session_id):
            raise ConflictError(f"{partition.name} is no longer at offset {start}: another session has gone on with it")
        connection.execute(lost_offsets.update().where(own).values(skipped=True, accepted=True))
        audit.record(connection, source.dataset_id, actor=actor, action="lost_offsets_skipped", details=details, now=now)
    return next(
        one for one in lost(connection, source.dataset_id) if (one.source_partition_id, one.start) == (partition_id, start)
    )


def lost(connection: Connection, dataset_id: int) -> list[LostRange]:
    """See `StoredTopics.lost_ranges`."""
    t, p, lo = topics.c, source_partitions.c, lost_offsets.c
    joined = lost_offsets.join(source_partitions, p.id == lo.source_partition_id).join(topics, t.id == p.topic_row_id)
    rows = connection.execute(
        select(lost_offsets, p.source_id, p.number, t.topic)
        .select_from(joined)
        .where(lo.dataset_id == dataset_id)
        .order_by(lo.id.desc())
    )
    return [
        LostRange(
            id=row.id,
            source_id=row.source_id,
            source_partition_id=row.source_partition_id,
            topic=row.topic,
            number=row.number,
            start=row.first,
            end=row.behind,
            reason=row.reason,
            skipped=row.skipped,
            accepted=row.accepted,
            found_at=from_micros(row.found_at),
        )
        for row in rows
    ]


def accept(connection: Connection, dataset_id: int, *, actor: str, now: int) -> int:
    """See `StoredTopics.accept_lost`."""
    open_ = and_(lost_offsets.c.dataset_id == dataset_id, ~lost_offsets.c.accepted)
    accepted = connection.execute(lost_offsets.update().where(open_).values(accepted=True)).rowcount
    if accepted:
        details = {"ranges": accepted}
        audit.record(connection, dataset_id, actor=actor, action="lost_offsets_accepted", details=details, now=now)
    return accepted


def _partition(row: Row[Any]) -> TopicPartition:
    return TopicPartition(
        id=row.id,
        source_id=row.source_id,
        cluster_id=row.cluster_id,
        topic=row.topic,
        epoch=row.epoch,
        topic_id=row.topic_id,
        number=row.number,
        position=row.position_offset,
        newest=optional_time(row.newest),
        quiet=timedelta(microseconds=row.quiet),
        session_id=row.held_by,
    )

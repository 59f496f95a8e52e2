"""Which topic partitions a session reads and from where: opened in the catalog, claimed, with lost offsets settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import LostRange, TopicPartition
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import ConflictError
from timestore_assets.sources.kafka.lag import Key, PartitionLag, SourceLag
from timestore_assets.sources.kafka.sharding import Shard


@dataclass(kw_only=True)
class Assignment:
    """What a session reads, and what keeps it from reading more."""

    held: dict[Key, TopicPartition] = field(default_factory=dict)
    """Topic partitions that are now this session's to read, with their positions."""
    end_offsets: dict[Key, int] = field(default_factory=dict)
    """Their ends as last seen, and those of what it reads already."""
    whole: tuple[int, ...] = ()
    """Source partitions of all shards."""
    elsewhere: int = 0
    """How many of the shard another live session reads."""
    lost: list[LostRange] = field(default_factory=list)
    """Ranges that keep a topic partition from being read."""
    replaced: set[Key] = field(default_factory=set)
    """Read so far, of a topic that was made again since, and not held in its new epoch."""
    awakened: bool = False
    """What others are to read was idle and has records again, of whatever time."""
    missing: tuple[str, ...] = ()


def open_topics(catalog: Catalog, source_id: int, lag: SourceLag) -> list[TopicPartition]:
    """Give every topic partition that was seen a checkpoint; all known ones of the topics that were, newest epochs only."""
    known = catalog.topics.partitions(source_id)
    for topic in dict.fromkeys(one.topic for one in lag.partitions):
        mine = [one for one in lag.partitions if one.topic == topic]
        topic_id = lag.topic_ids.get(topic)
        stored = [one for one in known if (one.cluster_id, one.topic) == (lag.cluster_id, topic)]
        learned = topic_id is not None and any(one.topic_id is None for one in stored)
        if learned or any(one.new for one in mine):
            epoch = mine[0].epoch
            starts = {one.number: one.position for one in mine if one.new}
            catalog.topics.open(source_id, cluster_id=lag.cluster_id, topic=topic, epoch=epoch, topic_id=topic_id, starts=starts)
    seen = {one.topic for one in lag.partitions}
    here = [one for one in catalog.topics.partitions(source_id) if one.cluster_id == lag.cluster_id and one.topic in seen]
    # not in the order of the database, whose collation is its own: sensors and sessions must cut the same shards
    return sorted(here, key=lambda one: (one.topic, one.number))


def assign(
    catalog: Catalog,
    source_id: int,
    source: KafkaSource,
    lag: SourceLag,
    *,
    session_id: int,
    shard: Shard,
    actor: str,
    reading: Mapping[Key, int],
) -> Assignment:
    """Claim the shard's topic partitions for a session, as far as nobody else holds them.

    Args:
        reading: source partitions that the session reads already. They are left alone, even where the brokers have deleted
            the offsets of their checkpoints: what comes after has been read and will be committed.
    """
    known = open_topics(catalog, source_id, lag)
    ends = {partition.key: partition for partition in lag.partitions}
    # one that has no leader now is not read, but may still deliver
    opened = [partition for partition in known if (partition.topic, partition.number) in ends]
    ids = {(partition.topic, partition.number): partition.id for partition in known}
    wanted = [partition for partition in shard.take(opened) if reading.get((partition.topic, partition.number)) != partition.id]
    claimed = catalog.topics.assign(session_id, [partition.id for partition in wanted])
    places = Assignment(
        end_offsets={key: ends[key].high for key in reading if key in ends},
        whole=tuple(ids.values()),
        elsewhere=sum(partition.id not in claimed for partition in wanted),
        missing=lag.missing,
    )
    # positions are read again after the claim: the former holder may have committed in between
    checkpoints = catalog.sources.checkpoints(sorted(claimed))
    for partition in wanted:
        if partition.id in claimed:
            offset, brokers_have = checkpoints[partition.id].offset, ends[partition.topic, partition.number]
            _place(catalog, source, places, partition, offset, brokers_have, session_id, actor)
    mine = reading.keys() | places.held.keys()
    places.awakened = any(
        partition.quiet >= source.idle and ends[key].lag
        for partition in opened
        if (key := (partition.topic, partition.number)) not in mine
    )
    places.replaced = {key for key, before in reading.items() if ids.get(key, before) != before} - places.held.keys()
    return places


def _place(
    catalog: Catalog,
    source: KafkaSource,
    places: Assignment,
    one: TopicPartition,
    position: int,
    seen: PartitionLag,
    session_id: int,
    actor: str,
) -> None:
    if position < seen.low:
        try:
            lost = _lose(catalog, source, one, position, seen.low, session_id, actor)
        except ConflictError:  # another session has claimed it and gone on
            places.elsewhere += 1
            return
        if not lost.skipped:
            places.lost.append(lost)
            return
        position = lost.end
    key = (one.topic, one.number)
    places.held[key] = replace(one, position=position)
    places.end_offsets[key] = seen.high


def _lose(
    catalog: Catalog, source: KafkaSource, one: TopicPartition, start: int, end: int, session_id: int, actor: str
) -> LostRange:
    """Record a lost range; it is skipped when the policy says so or a person has accepted it."""
    count = end - start
    reason = f"the brokers deleted {count:,} offsets of {one.topic}/{one.number} before they were read"
    lose = partial(catalog.topics.lose, one.id, start=start, end=end, reason=reason, session_id=session_id, actor=actor)
    lost = lose(skip=source.on_lost_offsets == "continue")
    if lost.accepted and not lost.skipped:
        lost = lose(skip=True)
    return lost

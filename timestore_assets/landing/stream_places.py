"""Which topic partitions a session reads and from where: opened in the catalog, claimed, with lost offsets settled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import LostRange, TopicPartition
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import ConflictError
from timestore_assets.sources.kafka.lag import Key, PartitionLag, SourceLag
from timestore_assets.sources.kafka.sharding import Shard


@dataclass(kw_only=True)
class Places:
    """`held`: topic partitions that are now this session's to read, with their positions. `highs`: their ends as last seen, and
    those of what it reads already. `whole`: source partitions of all shards. `elsewhere`: how many of the shard another live
    session reads. `lost`: ranges that keep a topic partition from being read. `replaced`: read so far, of a topic that was made
    again since, and not held in its new epoch. `awakened`: what others are to read was idle and has records again,
    of whatever time.
    """

    held: dict[Key, TopicPartition] = field(default_factory=dict)
    highs: dict[Key, int] = field(default_factory=dict)
    whole: tuple[int, ...] = ()
    elsewhere: int = 0
    lost: list[LostRange] = field(default_factory=list)
    replaced: set[Key] = field(default_factory=set)
    awakened: bool = False
    missing: tuple[str, ...] = ()


def open_topics(catalog: Catalog, source_id: int, lag: SourceLag) -> list[TopicPartition]:
    """Give every topic partition that was seen a checkpoint; all known ones of the topics that were, newest epochs only."""
    known = catalog.topic_partitions(source_id)
    for topic in dict.fromkeys(one.topic for one in lag.partitions):
        mine = [one for one in lag.partitions if one.topic == topic]
        topic_id = lag.topic_ids.get(topic)
        stored = [one for one in known if (one.cluster_id, one.topic) == (lag.cluster_id, topic)]
        learned = topic_id is not None and any(one.topic_id is None for one in stored)
        if learned or any(one.new for one in mine):
            epoch = mine[0].epoch
            starts = {one.number: one.position for one in mine if one.new}
            catalog.open_topic(source_id, cluster_id=lag.cluster_id, topic=topic, epoch=epoch, topic_id=topic_id, starts=starts)
    seen = {one.topic for one in lag.partitions}
    here = [one for one in catalog.topic_partitions(source_id) if one.cluster_id == lag.cluster_id and one.topic in seen]
    # not in the order of the database, whose collation is its own: sensors and sessions must cut the same shards
    return sorted(here, key=lambda one: (one.topic, one.number))


def take_places(
    catalog: Catalog,
    source_id: int,
    source: KafkaSource,
    lag: SourceLag,
    *,
    session_id: int,
    shard: Shard,
    actor: str,
    reading: Mapping[Key, int],
) -> Places:
    """Claim the shard's topic partitions for a session, as far as nobody else holds them.

    Args:
        reading: source partitions that the session reads already. They are left alone, even where the brokers have deleted
            the offsets of their checkpoints: what comes after has been read and will be committed.
    """
    known = open_topics(catalog, source_id, lag)
    ends = {one.key: one for one in lag.partitions}
    # one that has no leader now is not read, but may still deliver
    opened = [one for one in known if (one.topic, one.number) in ends]
    ids = {(one.topic, one.number): one.id for one in known}
    wanted = [one for one in shard.take(opened) if reading.get((one.topic, one.number)) != one.id]
    claimed = catalog.claim(session_id, [one.id for one in wanted])
    places = Places(
        highs={key: ends[key].high for key in reading if key in ends},
        whole=tuple(ids.values()),
        elsewhere=sum(one.id not in claimed for one in wanted),
        missing=lag.missing,
    )
    # positions are read again after the claim: the former holder may have committed in between
    checkpoints = catalog.checkpoints(sorted(claimed))
    for one in wanted:
        if one.id in claimed:
            _place(catalog, source, places, one, checkpoints[one.id].offset, ends[one.topic, one.number], session_id, actor)
    mine = reading.keys() | places.held.keys()
    places.awakened = any(
        one.quiet >= source.idle and ends[key].lag for one in opened if (key := (one.topic, one.number)) not in mine
    )
    places.replaced = {key for key, before in reading.items() if ids.get(key, before) != before} - places.held.keys()
    return places


def _place(
    catalog: Catalog,
    source: KafkaSource,
    places: Places,
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
    places.highs[key] = seen.high


def _lose(
    catalog: Catalog, source: KafkaSource, one: TopicPartition, start: int, end: int, session_id: int, actor: str
) -> LostRange:
    """Record a lost range; it is skipped when the policy says so or a person has accepted it."""
    count = end - start
    reason = f"the brokers deleted {count:,} offsets of {one.topic}/{one.number} before they were read"
    found = {"start": start, "end": end, "reason": reason, "session_id": session_id, "actor": actor}
    lost = catalog.lose(one.id, **found, skip=source.on_lost_offsets == "continue")  # type: ignore[arg-type]
    if lost.accepted and not lost.skipped:
        lost = catalog.lose(one.id, **found, skip=True)  # type: ignore[arg-type]
    return lost

"""How far a source's topics have been read, from what the brokers and the catalog say: a pure comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from timestore_assets.catalog.records import TopicPartition

Key = tuple[str, int]
"""Topic and partition number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicView:
    """A topic as the brokers show it. `ends`: the low and high watermark of each partition (with `read_committed`, the end is
    the last stable offset). `topic_id`: None where the brokers don't tell.
    """

    topic: str
    ends: Mapping[int, tuple[int, int]]
    topic_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterView:
    """`topics`: of those asked for the ones that exist."""

    cluster_id: str
    topics: Mapping[str, TopicView]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionLag:
    """One topic partition. `position`: where reading goes on, or would begin. `held_by`: the live session that reads it.

    `new`: it has no checkpoint yet. `began_anew`: its topic was deleted and made again, or lost its end. `lost`: offsets
    `[start, end)` that the brokers deleted before they were read.
    """

    topic: str
    number: int
    low: int
    high: int
    position: int
    epoch: int = 1
    known: TopicPartition | None = None
    began_anew: bool = False

    @property
    def key(self) -> Key:
        return self.topic, self.number

    @property
    def new(self) -> bool:
        return self.known is None or self.began_anew

    @property
    def held_by(self) -> int | None:
        return None if self.known is None or self.began_anew else self.known.session_id

    @property
    def lost(self) -> tuple[int, int] | None:
        return (self.position, self.low) if self.position < self.low else None

    @property
    def lag(self) -> int:
        return max(0, self.high - max(self.position, self.low))


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceLag:
    """A whole source. `missing`: declared topics that don't exist. `topic_ids`: by topic, of those that have one."""

    cluster_id: str
    partitions: tuple[PartitionLag, ...]
    missing: tuple[str, ...] = ()
    topic_ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """Offsets between the checkpoints and the ends; control records and compacted ones count, since none can tell them."""
        return sum(one.lag for one in self.partitions)


def compare(view: ClusterView, known: Sequence[TopicPartition], topics: Sequence[str], starts: Mapping[Key, int]) -> SourceLag:
    """Place every topic partition of a source.

    Args:
        known: the catalog's, of any cluster. topics: the declared ones. starts: where the start policy puts partitions of
            topics that were never read.
    """
    partitions: list[PartitionLag] = []
    for topic in topics:
        if topic in view.topics:
            mine = {one.number: one for one in known if (one.cluster_id, one.topic) == (view.cluster_id, topic)}
            partitions += _of_topic(view.topics[topic], mine, starts)
    return SourceLag(
        cluster_id=view.cluster_id,
        partitions=tuple(sorted(partitions, key=lambda one: one.key)),
        missing=tuple(topic for topic in topics if topic not in view.topics),
        topic_ids={name: found.topic_id for name, found in view.topics.items() if found.topic_id is not None},
    )


def _of_topic(view: TopicView, mine: Mapping[int, TopicPartition], starts: Mapping[Key, int]) -> list[PartitionLag]:
    anew, truncated = _began_anew(view, mine), False
    if not anew and any(number in mine and mine[number].position > high for number, (_, high) in view.ends.items()):
        # a cluster that tells topic ids says it is the same topic: its end was lost, and what is there has been read
        truncated = _same_id(view, mine)
        anew = True
    epoch = max((one.epoch for one in mine.values()), default=1 - anew) + anew
    found = []
    for number, (low, high) in view.ends.items():
        checkpoint = mine.get(number)
        if anew:
            position = min(checkpoint.position, high) if truncated and checkpoint is not None else low
        elif checkpoint is not None:
            position = checkpoint.position
        else:
            # a partition that a known topic has grown was empty when the others were read: all of it is new
            position = low if mine else starts.get((view.topic, number), low)
        found.append(
            PartitionLag(
                topic=view.topic,
                number=number,
                low=low,
                high=high,
                position=position,
                epoch=epoch,
                known=checkpoint,
                began_anew=anew,
            )
        )
    return found


def _began_anew(view: TopicView, mine: Mapping[int, TopicPartition]) -> bool:
    ids = {one.topic_id for one in mine.values() if one.topic_id is not None}
    return bool(ids) and view.topic_id is not None and view.topic_id not in ids


def _same_id(view: TopicView, mine: Mapping[int, TopicPartition]) -> bool:
    return view.topic_id is not None and any(one.topic_id == view.topic_id for one in mine.values())

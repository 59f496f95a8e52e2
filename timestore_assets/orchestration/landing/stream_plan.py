"""Which sessions on a source's topics to ask for: a pure decision from its lag, its declaration and what is at work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from timestore_assets.sources.kafka.lag import PartitionLag, SourceLag
from timestore_assets.sources.kafka.sharding import WHOLE, Shard

LostKey = tuple[int, int]
"""Source partition and first offset of a lost range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPolicy:
    """How many sessions a source may have."""

    shards: int | Literal["auto"]
    """As declared."""
    lag_per_session: int
    """With `most`: how many sessions `auto` means."""
    most: int
    skip_lost: bool
    """The dataset's policy is to go on behind offsets that were deleted unread."""
    idle: timedelta
    """Quiet time after which a topic partition needs no session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AtWork:
    """What goes on already."""

    runs: Collection[Shard] = ()
    """Shards of the runs that wait or work."""
    lost: Mapping[LostKey, bool] = field(default_factory=dict)
    """Recorded lost ranges, and whether they were accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedSession:
    """A session to ask for."""

    shard: Shard
    lag: int
    checkpoints: tuple[str, ...]
    """Where it would begin, as texts; the same work has the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPlan:
    """The sessions that should begin."""

    wanted: tuple[WantedSession, ...] = ()
    reason: str = ""
    """Why nothing is wanted."""
    blocked: tuple[PartitionLag, ...] = ()
    """Topic partitions that wait for a person because of lost offsets."""


def plan_sessions(lag: SourceLag, policy: SessionPolicy, now: AtWork) -> SessionPlan:
    """Decide which sessions should begin.

    With `shards: N` a shard waits while anything of it is being read. With `auto`, as many sessions as the lag asks for begin
    when nobody reads; later ones only for lag that no session holds, so that a few large shards take over from many.
    """
    blocked = tuple(partition for partition in lag.partitions if _blocked(partition, policy, now))
    is_read = any(partition.held_by is not None for partition in lag.partitions)
    wanted = []
    for shard in _shards(lag, policy, now):
        mine = shard.take(lag.partitions)
        free = [partition for partition in mine if partition.held_by is None and not _blocked(partition, policy, now)]
        if policy.shards == "auto":
            begins = any(partition.lag for partition in free) if is_read else any(_needs(partition, policy) for partition in free)
        else:
            begins = len(free) == len([partition for partition in mine if partition not in blocked]) and any(
                _needs(partition, policy) for partition in free
            )
        if begins and shard not in now.runs:
            session = WantedSession(
                shard=shard, lag=sum(partition.lag for partition in free), checkpoints=_checkpoints(lag, mine, now)
            )
            wanted.append(session)
    return SessionPlan(wanted=tuple(wanted), blocked=blocked, reason="" if wanted else _reason(lag, now, blocked))


def _shards(lag: SourceLag, policy: SessionPolicy, now: AtWork) -> list[Shard]:
    """The shards that count now, whether somebody reads them or not."""
    if policy.shards != "auto":
        of = policy.shards
    else:
        behind = sum(one.lag > 0 for one in lag.partitions)
        of = max(1, min(-(-lag.lag // policy.lag_per_session), policy.most, behind))
        if now.runs:
            # more can't be done while few sessions hold everything; fewer take over what many let go
            of = min(of, max(shard.of for shard in now.runs))
        elif any(one.held_by is not None for one in lag.partitions):
            return [WHOLE]
    return [Shard(index=index, of=of) for index in range(of)]


def _needs(one: PartitionLag, policy: SessionPolicy) -> bool:
    """Whether there is something to do: records, a first checkpoint, a lost range to settle, or quiet time to count."""
    quiet = one.known is not None and one.known.quiet >= policy.idle
    return one.lag > 0 or one.new or one.lost is not None or not quiet


def _blocked(one: PartitionLag, policy: SessionPolicy, now: AtWork) -> bool:
    """Its lost range is on record and nobody has accepted it; one that isn't on record yet takes a session to get there."""
    if one.lost is None or one.known is None or policy.skip_lost:
        return False
    return now.lost.get((one.known.id, one.lost[0])) is False


def _checkpoints(lag: SourceLag, mine: list[PartitionLag], now: AtWork) -> tuple[str, ...]:
    texts = []
    for one in mine:
        quiet = one.known.quiet.total_seconds() if one.known is not None else 0.0
        accepted = one.known is not None and now.lost.get((one.known.id, one.position), False)
        texts.append(f"{lag.cluster_id}/{one.topic}#{one.epoch}/{one.number}@{one.position}+{quiet:g}{'!' if accepted else ''}")
    return tuple(texts)


def _reason(lag: SourceLag, now: AtWork, blocked: Collection[PartitionLag]) -> str:
    sessions = len({one.held_by for one in lag.partitions if one.held_by is not None})
    parts = []
    if blocked:
        ranges = ", ".join(f"{one.topic}/{one.number} {_range(one)}" for one in list(blocked)[:3])
        parts.append(f"the brokers deleted offsets before they were read ({ranges}{', …' if len(blocked) > 3 else ''})")
    if lag.missing:
        parts.append(f"{_names(lag.missing)} on this cluster")
    if sessions or now.runs:
        working = f"{sessions or len(now.runs)} session{'s' if (sessions or len(now.runs)) > 1 else ''}"
        parts.append(f"{working} {'at work' if sessions else 'about to begin'}, lag {lag.lag:,}")
    elif lag.partitions and not blocked:
        parts.append(f"all {len(lag.partitions):,} topic partitions have been read to their ends")
    return "; ".join(parts) or "nothing to do"


def _range(one: PartitionLag) -> str:
    first, behind = one.lost or (one.low, one.low)
    return f"{first:,} to {behind - 1:,}"


def _names(topics: Collection[str]) -> str:
    return f"topic {next(iter(topics))} does not exist" if len(topics) == 1 else f"topics {', '.join(topics)} do not exist"

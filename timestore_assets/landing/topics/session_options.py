"""What a session on topics is asked to do, what it is given for it, and what it says about itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from timestore_assets.catalog.records import LostRange, SourceRecord, TopicPartition
from timestore_assets.landing.committing.tally import SessionReport
from timestore_assets.landing.topics.backpressure import Backlog, Thresholds
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.sources.kafka.lag import SourceLag
from timestore_assets.sources.kafka.sharding import WHOLE, Shard

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.topic_reader import TopicReader

Ending = Literal["caught_up", "time_over", "stopped", "paused", "overtaken", "held_elsewhere", "lost_offsets", "frozen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionLimits:
    """When a session ends."""

    until_caught_up: bool = True
    """Once all that was there at its start is landed and nothing has come for `linger`."""
    longest: timedelta | None = None
    """After that time in any case."""
    linger: timedelta = timedelta(0)
    paused: timedelta = timedelta(minutes=10)
    """After so long without being allowed to go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamReport(SessionReport):
    """What one session on topics did."""

    source: str
    commits: int
    ending: Ending
    reason: str
    """Why it ended, one phrase."""
    lag: int | None = None
    """Records left when it ended, as far as known."""
    watermark: datetime | None = None
    paused_seconds: float = 0.0
    lost: tuple[LostRange, ...] = ()
    """Ranges that stop a topic partition."""
    missing_topics: tuple[str, ...] = ()
    dead_letter_reasons: Mapping[str, int] = field(default_factory=dict)
    """Refused records by reason code."""


class StreamProgress(Protocol):
    """Told after each commit, and from time to time while landing is paused; from the session's thread, so be quick."""

    def committed(self, counters: Counters, lag: int | None, paused: str) -> None:
        """`counters`: of the session so far. `paused`: why it is paused, empty when it isn't."""


class Topics(Protocol):
    """A source's topics; `sources.kafka.kafka_topics` has them."""

    def look(self, known: Sequence[TopicPartition]) -> SourceLag: ...
    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]: ...
    def reader(self) -> TopicReader: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """What one session is asked for."""

    shard: Shard = WHOLE
    limits: SessionLimits = field(default_factory=SessionLimits)
    gauge: Callable[[], Backlog] = Backlog
    """Measures what waits behind landing."""
    marks: Thresholds | None = None
    pause_seconds: float = 5.0
    stop: threading.Event = field(default_factory=threading.Event)
    """Ends it after the batch under way."""
    progress: StreamProgress | None = None
    after_commit: Callable[[], None] = lambda: None
    patience: timedelta = timedelta(0)
    """How long to wait for topic partitions of sessions that may be dead."""
    waiting: Callable[[str], None] = lambda _: None
    """Told in words when it does."""
    actor: str = "timestore"


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamTask:
    """What one session has to do."""

    dataset: Dataset
    source: KafkaSource
    record: SourceRecord
    """The source in the catalog."""
    topics: Topics
    wishes: SessionOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionClock:
    """How a session measures time."""

    monotonic: Callable[[], float]
    """Counts seconds in which nothing comes."""
    unreachable_seconds: float
    """How long brokers may be away before the session gives up."""

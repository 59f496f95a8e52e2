"""What a session on topics is given: the topics to read, and what is wished of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.landing.backpressure import Backlog, Marks
from timestore_assets.landing.stream_report import SessionLimits, StreamProgress
from timestore_assets.sources.kafka.lag import SourceLag
from timestore_assets.sources.kafka.reader import TopicReader
from timestore_assets.sources.kafka.sharding import WHOLE, Shard


class Topics(Protocol):
    """A source's topics; `sources.kafka.topics` has them."""

    def look(self, known: Sequence[TopicPartition]) -> SourceLag: ...
    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]: ...
    def reader(self) -> TopicReader: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What one session is asked for. `gauge`: measures what waits behind landing. `stop`: ends it after the batch under way."""

    shard: Shard = WHOLE
    limits: SessionLimits = field(default_factory=SessionLimits)
    gauge: Callable[[], Backlog] = Backlog
    marks: Marks | None = None
    pause_seconds: float = 5.0
    stop: threading.Event = field(default_factory=threading.Event)
    progress: StreamProgress | None = None
    after_commit: Callable[[], None] = lambda: None
    actor: str = "timestore"

"""One stretch of reading a source's topics, from the committed checkpoints on, for as long as nothing breaks it.

It begins at the committed checkpoints of the topic partitions that the brokers have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import SourceRecord
from timestore_assets.landing.topics.assignment import open_topics
from timestore_assets.model.errors import UnavailableError
from timestore_assets.sources.kafka.lag import Key, SourceLag
from timestore_assets.tailing.buffered_rows import BufferedRows, OffsetRun
from timestore_assets.tailing.judge import Judge

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
    from timestore_assets.sources.kafka.topic_reader import FetchedMessages


@dataclass(frozen=True, kw_only=True, slots=True)
class TailStart:
    """A topic partition. `id`: of its source partition. `checkpoint`: where landing goes on. `begin`: where reading begins,
    which is later only when the brokers have deleted what lies between. `high`: its end as it was seen.
    """

    id: int
    checkpoint: int
    begin: int
    high: int

    @property
    def run(self) -> OffsetRun:
        """What is held of it before anything was read: what the brokers have deleted is no longer missing."""
        return OffsetRun(start=self.checkpoint, end=self.begin)


def find_places(catalog: Catalog, source_id: int, lag: SourceLag) -> Mapping[Key, TailStart]:
    """The topic partitions that were seen; those that were never read are opened in the catalog as a session would."""
    seen = {one.key: one for one in lag.partitions}
    found = {}
    for one in open_topics(catalog, source_id, lag):
        key = (one.topic, one.number)
        if key in seen:
            begin = max(one.position, seen[key].low)
            found[key] = TailStart(id=one.id, checkpoint=one.position, begin=begin, high=seen[key].high)
    return found


_JUDGE_SECONDS = 0.25
_JUDGE_SOON_SECONDS = 0.025
_JUDGE_ROWS, _JUDGE_BYTES = 5_000, 4_000_000
_TRIM_SECONDS = 0.5
_LOOK_SECONDS = 5.0
_LOOK_SOON_SECONDS = 0.5
_SKIPPED_OFFSETS = 50_000
"""How far landing may be ahead until reading begins again where it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferLimits:
    """How much is held of a source at most, but for the batch that fills it. `rows`, `bytes`: in memory."""

    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TailProgress:
    """How far reading is. `known`: source partitions of which it was looked up whether they can be read. `watermark`: as landed.

    `behind_since`: by topic partition since when there is more to read, in seconds of the monotonic clock. `full`: it waits for
    landing. `seen`: when all this was so. `going`: topics are being read. `trouble`: why not.
    """

    rows: BufferedRows = BufferedRows()  # noqa: RUF009 - immutable
    known: frozenset[int] = frozenset()
    watermark: datetime | None = None
    behind_since: Mapping[Key, float] = field(default_factory=dict)
    full: bool = False
    seen: float = 0.0
    going: bool = False
    trouble: str = ""


class Following:
    """Reads while `step` is called, by one thread. `progress` is replaced by each step, so that others may take it at any time.

    Raises:
        UnavailableError: the brokers don't answer, or have none of the topics. InputError: they refuse us.
    """

    def __init__(
        self, catalog: Catalog, dataset_name: str, source: SourceRecord, topics: KafkaTopics, judge: Judge, bounds: BufferLimits
    ) -> None:
        self._catalog, self._dataset_name, self._source, self._topics = catalog, dataset_name, source, topics
        self._judge, self._bounds = judge, bounds
        known = catalog.topics.partitions(source.id)
        self._known = frozenset(one.id for one in known)
        lag = topics.look(known)
        self._cluster_id = lag.cluster_id
        self._places: dict[Key, TailStart] = {}
        self._gone: set[Key] = set()
        self._behind: dict[Key, float] = {}
        self.progress = TailProgress(watermark=source.watermark)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tail-look")
        self._looking: Future[SourceLag] | None = None
        self._asked_about: frozenset[int] = frozenset()
        self._waiting: FetchedMessages | None = None
        self._judged = 0.0
        self._reader = topics.tailing_reader()
        try:
            if not self._take(find_places(catalog, source.id, lag)):
                raise UnavailableError("none of its topics exists on the brokers")
        except BaseException:
            self.close()
            raise
        self._next_trim = self._next_look = 0.0
        self._plan_look()

    def step(self, *, wanted: bool, seconds: float) -> bool:
        """Take what was read within so many seconds and see what has landed; False when reading has to begin again.

        Records are judged when somebody wants them, or some have gathered: a batch costs some 10 ms however small it is.
        """
        before = self.progress.rows
        if self.progress.full:
            time.sleep(seconds)
        elif fetched := self._reader.take(seconds):
            self._waiting = fetched if self._waiting is None else self._waiting.joined(fetched)
        if self._waiting is not None and self._is_due(self._waiting, wanted=wanted):
            waiting, self._waiting = self._waiting, None
            self._absorb(waiting)
            self._judged = time.monotonic()
        goes_on = self._trim() if time.monotonic() >= self._next_trim else True
        goes_on = goes_on and self._look()
        held = self.progress.rows
        full = self._is_full(held) if held is not before else self.progress.full
        behind = dict(self._behind)
        self.progress = replace(self.progress, behind_since=behind, full=full, seen=time.monotonic(), going=True)
        return goes_on

    def _is_due(self, waiting: FetchedMessages, *, wanted: bool) -> bool:
        waited = time.monotonic() - self._judged
        if waited >= (_JUDGE_SOON_SECONDS if wanted else _JUDGE_SECONDS):
            return True
        return waiting.rows >= _JUDGE_ROWS or waiting.bytes >= _JUDGE_BYTES

    def _is_full(self, held: BufferedRows) -> bool:
        return held.count >= self._bounds.rows or held.bytes >= self._bounds.bytes

    def has_news(self) -> bool:
        """Whether a step would have something to judge; may be asked by any thread."""
        return self._waiting is not None or self._reader.has_news()

    def close(self) -> None:
        """Let go of the brokers; takes some seconds when they are away."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()

    # --- reading

    def _take(self, places: Mapping[Key, TailStart]) -> bool:
        """Begin to read these too; whether there are any."""
        if not places:
            return False
        now = time.monotonic()
        runs = {place.id: place.run for place in places.values()}
        self.progress = replace(self.progress, rows=self.progress.rows.with_runs(runs))
        self._places |= places
        self._behind |= {key: now for key, place in places.items() if place.high > place.begin}
        self._know(places)
        self._reader.assign({key: place.begin for key, place in places.items()})
        return True

    def _know(self, places: Mapping[Key, TailStart]) -> None:
        """Remember what the brokers were asked about: what of it is not read can't be. Others may open more meanwhile."""
        self._known |= {place.id for place in places.values()}
        self.progress = replace(self.progress, known=self._known)

    def _absorb(self, fetched: FetchedMessages) -> None:
        ids = {key: place.id for key, place in self._places.items()}
        piece, newest = self._judge.judge(fetched.batch(ids)) if fetched.rows else (None, {})
        ends = {ids[key]: end for key, end in fetched.ends.items() if key in ids}
        self.progress = replace(self.progress, rows=self.progress.rows.with_more(piece, ends, newest))
        now = time.monotonic()
        for key in fetched.delivered - fetched.at_end:
            self._behind.setdefault(key, now)
        for key in fetched.at_end:
            self._behind.pop(key, None)
        self._gone |= fetched.gone

    # --- what landing and the brokers do meanwhile

    def _trim(self) -> bool:
        """Let go of what has landed, and go on by the schema and the watermark that the catalog has now."""
        topics = self._catalog.topics.partitions(self._source.id)
        checkpoints = {one.id: one.position for one in topics}
        held = self.progress.rows
        if not held.runs.keys() <= checkpoints.keys():
            return False  # a topic was made again
        if any(checkpoints[part] > run.end + _SKIPPED_OFFSETS for part, run in held.runs.items()):
            return False
        record = self._catalog.datasets.find(self._dataset_name)
        if record is not None:
            self._judge.adopt(record)
        sources = self._catalog.sources.of(self._source.dataset_id)
        watermark = next((one.watermark for one in sources if one.id == self._source.id), None)
        self.progress = replace(self.progress, rows=held.trimmed(checkpoints), watermark=watermark)
        self._next_trim = time.monotonic() + _TRIM_SECONDS
        return True

    def _look(self) -> bool:
        """See now and then, beside reading, whether the brokers are there and what they have."""
        now = time.monotonic()
        if self._looking is None:
            if self._gone or self._reader.in_trouble():
                self._next_look = min(self._next_look, self._soon)
            if now >= self._next_look:
                known = self._catalog.topics.partitions(self._source.id)
                self._asked_about = frozenset(one.id for one in known)
                self._looking = self._pool.submit(self._topics.look, known)
            return True
        if not self._looking.done():
            return True
        lag = self._looking.result()
        self._looking = None
        self._plan_look()
        places = find_places(self._catalog, self._source.id, lag)
        new = {key: place for key, place in places.items() if key not in self._places}
        replaced = any(place.id != self._places[key].id for key, place in places.items() if key in self._places)
        if replaced or self._gone or lag.cluster_id != self._cluster_id:
            return False
        self._known |= self._asked_about
        if not self._take(new):
            self._know({})
        return True

    def _plan_look(self) -> None:
        now = time.monotonic()
        self._next_look, self._soon = now + _LOOK_SECONDS, now + _LOOK_SOON_SECONDS

"""A landing session on topics: claim, read, land, commit with the offsets, until it is caught up or its time is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import SourceRecord, Span, TopicPartition, WatermarkRule
from timestore_assets.landing.backpressure import Backlog, Marks, judge
from timestore_assets.landing.batch_landing import BatchLanding, Effects, Origin, OvertakenError, Tally
from timestore_assets.landing.keep_alive import TTL, kept_alive
from timestore_assets.landing.lateness import closed_before
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.session import utc_now
from timestore_assets.landing.stream_places import Places, take_places
from timestore_assets.landing.stream_report import Ending, SessionLimits, StreamProgress, StreamReport
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.watermark import QuietClocks
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError
from timestore_assets.model.position import Position
from timestore_assets.sources.kafka.lag import Key, SourceLag
from timestore_assets.sources.kafka.reader import Fetched, TopicReader
from timestore_assets.sources.kafka.sharding import WHOLE, Shard
from timestore_assets.storage.engine import EngineLimits, connect
from timestore_assets.storage.port import ObjectStore

UNREACHABLE_SECONDS = 120.0
"""How long brokers may be away before a session gives up; what is committed stays."""
_TAKE_SECONDS = 0.1
_LOOK_SECONDS = 10.0
_LOOK_SOON_SECONDS = 2.0
_JUDGE_SECONDS = 1.0
_MIRROR_SECONDS = 1.0
_TOLD_SECONDS = 1.0


class Topics(Protocol):
    """A source's topics; `sources.kafka.topics` has them."""

    def look(self, known: Sequence[TopicPartition]) -> SourceLag: ...
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


class Streamer:
    """Lands topics into datasets. Arguments as those of `landing.session.Lander`; `monotonic` counts seconds of quiet."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        limits: EngineLimits,
        *,
        holder: str,
        ttl: timedelta = TTL,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        unreachable_seconds: float = UNREACHABLE_SECONDS,
    ) -> None:
        self._catalog, self._store, self._limits = catalog, store, limits
        self._holder, self._ttl, self._clock, self._monotonic = holder, ttl, clock, monotonic
        self._unreachable_seconds = unreachable_seconds

    def stream(self, dataset: Dataset, source: KafkaSource, topics: Topics, wishes: Wishes) -> StreamReport:
        """Run one session.

        Raises:
            InputError: the brokers refuse us, or none of the topics exists.
            UnavailableError: the brokers, the catalog or the store stayed away; what is committed stays.
            StorageFullError: the store takes no more.
        """
        registered = self._catalog.register(dataset, actor=wishes.actor)
        record = self._catalog.source(registered.id, source.kind, source.address)
        session_id = self._catalog.begin_session(registered.id, "landing", holder=self._holder, ttl=self._ttl)
        self._limits.temp_dir.mkdir(parents=True, exist_ok=True)
        with (
            self._ended(session_id),
            kept_alive(self._catalog, session_id, ttl=self._ttl),
            closing(connect(self._limits)) as con,
        ):
            tally = Tally()
            landing = BatchLanding(
                catalog=self._catalog,
                store=self._store,
                con=con,
                threads=self._limits.threads,
                dataset=dataset,
                origin=Origin(source_id=record.id, address=source.address, zone=source.timezone),
                validator=Validator(dataset),
                session_id=session_id,
                clock=self._clock,
                actor=wishes.actor,
                tally=tally,
                checkpoints=lambda effects: self._held_checkpoints(session_id, source, effects),
            )
            session = _Session(
                catalog=self._catalog,
                dataset=dataset,
                source=source,
                record=record,
                session_id=session_id,
                topics=topics,
                landing=landing,
                tally=tally,
                wishes=wishes,
                clock=self._clock,
                monotonic=self._monotonic,
                unreachable_seconds=self._unreachable_seconds,
            )
            return session.run()

    def _held_checkpoints(self, session_id: int, source: KafkaSource, effects: Effects) -> Mapping[int, Position]:
        """Where the topic partitions stand, if they are still ours to read."""
        ids = list(effects.starts)
        if self._catalog.claim(session_id, ids) != set(ids):
            raise OvertakenError(f"{source.address}: another session reads some of its topic partitions by now")
        return self._catalog.checkpoints(ids)

    @contextmanager
    def _ended(self, session_id: int) -> Iterator[None]:
        try:
            yield
        finally:
            # an error that is under way matters more than this, and a session that is not ended expires
            with suppress(TimestoreError):
                self._catalog.end_session(session_id)


class _Session:
    """The loop of one session and what it keeps in mind."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        dataset: Dataset,
        source: KafkaSource,
        record: SourceRecord,
        session_id: int,
        topics: Topics,
        landing: BatchLanding,
        tally: Tally,
        wishes: Wishes,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        unreachable_seconds: float,
    ) -> None:
        self._catalog, self._dataset, self._source, self._record = catalog, dataset, source, record
        self._session_id, self._topics, self._landing, self._tally = session_id, topics, landing, tally
        self._wishes, self._clock, self._unreachable_seconds = wishes, clock, unreachable_seconds
        self._clocks: QuietClocks[Key] = QuietClocks(monotonic)
        self._recorded: dict[Key, timedelta] = {}  # quiet times as the catalog has them
        self._places = Places()
        self._positions: dict[Key, int] = {}
        self._targets: dict[Key, int] = {}
        self._gone: set[Key] = set()
        self._commits = 0
        self._paused = ""
        self._paused_since = self._paused_seconds = 0.0
        now = time.monotonic()
        self._began = self._last_record = self._next_look = self._next_judgement = self._next_mirror = self._next_word = now
        self._unreachable_since: float | None = None

    def run(self) -> StreamReport:
        ending, reason = self._start()
        if ending is not None:
            return self._report(ending, reason)
        reader = self._topics.reader()
        try:
            reader.assign(self._positions)
            ending, reason = self._loop(reader)
            self._note_quiet(everything=True)
        except OvertakenError as error:
            ending, reason = "overtaken", str(error)
        finally:
            reader.close(self._positions)
            if self._paused:
                self._keep_pause(self._paused)
        return self._report(ending, reason)

    # --- beginning and end

    def _start(self) -> tuple[Ending | None, str]:
        lag = self._topics.look(self._catalog.topic_partitions(self._record.id))
        if not lag.partitions:
            names = ", ".join(lag.missing)
            raise InputError(f"no topic of {self._dataset.name!r} exists on this cluster: {names}; create it or mend `topic:`")
        self._take(lag)
        self._targets = dict(self._places.highs)
        self._next_look = time.monotonic() + _LOOK_SECONDS
        if self._places.held:
            return None, ""
        if self._places.lost:
            return "lost_offsets", self._places.lost[0].reason
        return "held_elsewhere", "other sessions read all topic partitions of this shard"

    def _take(self, lag: SourceLag) -> dict[Key, int]:
        """Claim what is to be read; returns the positions of what is new to this session."""
        taken = take_places(
            self._catalog,
            self._record.id,
            self._source,
            lag,
            session_id=self._session_id,
            shard=self._wishes.shard,
            actor=self._wishes.actor,
        )
        fresh = {key: one.position for key, one in taken.held.items() if key not in self._positions or key in self._gone}
        for key in fresh:
            self._clocks.add(key, taken.held[key].quiet)
            self._recorded[key] = taken.held[key].quiet
        taken.held = {**self._places.held, **{key: taken.held[key] for key in fresh}}
        self._places = taken
        self._positions.update(fresh)
        self._gone -= fresh.keys()
        return fresh

    def _report(self, ending: Ending, reason: str) -> StreamReport:
        tally = self._tally
        lag = sum(max(0, high - self._positions.get(key, high)) for key, high in self._places.highs.items())
        source = next(one for one in self._catalog.sources(self._record.dataset_id) if one.id == self._record.id)
        return StreamReport(
            dataset=self._dataset.name,
            source=self._source.address,
            counters=tally.counters,
            manifest_version=self._catalog.manifest_version(self._record.dataset_id),
            partitions=tuple(key for _, key in sorted(tally.partitions)),
            schema_changes=tuple(tally.changes),
            seconds=time.monotonic() - self._began,
            commits=self._commits,
            ending=ending,
            reason=reason,
            lag=lag,
            watermark=source.watermark,
            paused_seconds=self._paused_seconds,
            lost=tuple(self._places.lost),
            missing_topics=self._places.missing,
            dead_letter_reasons=dict(tally.reasons),
        )

    # --- the loop

    def _loop(self, reader: TopicReader) -> tuple[Ending, str]:
        while True:
            fetched = reader.take(_TAKE_SECONDS)
            if fetched is not None:
                self._land(fetched)
            now = time.monotonic()
            self._note_quiet()
            if now >= self._next_look:
                self._look(reader)
            if now >= self._next_judgement:
                self._judge(reader)
            if now >= self._next_mirror:
                reader.mirror(self._positions)
                self._next_mirror = now + _MIRROR_SECONDS
            self._tell(now)
            ending = self._ending(now)
            if ending is not None:
                return ending

    def _land(self, fetched: Fetched) -> None:
        delivered = fetched.delivered
        self._clocks.moved(delivered, fetched.at_end)
        self._mark_gone(fetched.gone)
        spans = [self._span(key, end, delivered) for key, end in sorted(fetched.ends.items()) if key in self._positions]
        effects = self._effects(tuple(spans))
        if delivered:
            self._last_record = time.monotonic()
            ids = {key: one.id for key, one in self._places.held.items()}
            self._landing.land(fetched.batch(ids), effects)
        elif any(span.end > span.start for span in spans):
            self._landing.note(effects)
        else:
            return
        self._committed(fetched.ends, spans)

    def _span(self, key: Key, end: int, delivered: set[Key]) -> Span:
        start = self._positions[key]
        return Span(
            source_partition_id=self._places.held[key].id,
            start=Position(offset=start),
            end=Position(offset=max(start, end)),
            quiet=timedelta(0) if key in delivered and self._recorded[key] else None,
        )

    def _effects(self, spans: tuple[Span, ...]) -> Effects:
        late_before = None
        if self._dataset.late.policy != "correct":
            source = patiently(lambda: self._catalog.source(self._record.dataset_id, self._record.kind, self._record.address))
            late_before = closed_before(self._dataset, source.watermark)
        return Effects(
            spans=spans,
            claimed=True,
            watermark=WatermarkRule(over=self._places.whole, idle=self._source.idle, cap=self._clock()),
            late_before=late_before,
            forward=self._source.dead_letter_topic is not None,
            max_record_bytes=self._source.max_record_bytes,
        )

    def _committed(self, ends: Mapping[Key, int], spans: Sequence[Span]) -> None:
        self._commits += 1
        for key, end in ends.items():
            if key in self._positions:
                self._positions[key] = max(self._positions[key], end)
                self._places.highs[key] = max(self._places.highs.get(key, 0), end)
        quiet = {span.source_partition_id: span.quiet for span in spans if span.quiet is not None}
        for key, one in self._places.held.items():
            if one.id in quiet:
                self._recorded[key] = quiet[one.id]
        self._wishes.after_commit()

    def _note_quiet(self, *, everything: bool = False) -> None:
        """Let the watermark go on without topic partitions that have become idle; at the end, remember all quiet times."""
        idle, spans = self._source.idle, []
        for key, quiet in self._clocks.quiet().items():
            before = self._recorded[key]
            if (before < idle <= quiet) or (everything and quiet - before >= timedelta(seconds=1)):
                at = Position(offset=self._positions[key])
                spans.append(Span(source_partition_id=self._places.held[key].id, start=at, end=at, quiet=quiet))
        if spans:
            self._landing.note(self._effects(tuple(spans)))
            self._committed({}, spans)

    # --- between batches

    def _look(self, reader: TopicReader) -> None:
        """See what the brokers have now: more partitions, other ends, offsets that are gone."""
        now = time.monotonic()
        try:
            lag = self._topics.look(self._catalog.topic_partitions(self._record.id))
        except UnavailableError:
            self._unreachable_since = self._unreachable_since or now
            if now - self._unreachable_since > self._unreachable_seconds:
                raise
            self._next_look = now + _LOOK_SOON_SECONDS
            return
        self._unreachable_since = None
        self._next_look = time.monotonic() + _LOOK_SECONDS
        fresh = self._take(lag)
        if self._gone:
            reader.drop(self._gone)
            self._clocks.forget(self._gone)
        if fresh:
            reader.drop(fresh)
            reader.assign(fresh)
        self._clocks.behind(key for key, high in self._places.highs.items() if high > self._positions.get(key, high))

    def _mark_gone(self, keys: set[Key]) -> None:
        if keys:
            self._gone |= keys
            self._next_look = 0.0  # at once: the brokers no longer have what comes next

    def _judge(self, reader: TopicReader) -> None:
        """Pause or go on by what waits behind landing."""
        marks, now = self._wishes.marks, time.monotonic()
        self._next_judgement = now + (self._wishes.pause_seconds if self._paused else _JUDGE_SECONDS)
        if marks is None:
            return
        backlog = replace(self._wishes.gauge(), commit_ms=int(self._landing.last_write_seconds * 1000))
        reason = judge(backlog, marks, paused=bool(self._paused))
        if reason and not self._paused:
            reader.pause()
            self._paused_since = now
        elif self._paused and not reason:
            self._paused_seconds += now - self._paused_since
            self._landing.last_write_seconds = 0.0
            self._last_record = now
            reader.resume()
        if reason != self._paused:
            self._keep_pause(reason)
        self._paused = reason

    def _keep_pause(self, reason: str) -> None:
        with suppress(UnavailableError):
            self._catalog.pause(self._record.id, reason)

    def _tell(self, now: float) -> None:
        if self._wishes.progress is not None and now >= self._next_word:
            lag = sum(max(0, high - self._positions.get(key, high)) for key, high in self._places.highs.items())
            self._wishes.progress.committed(self._tally.counters, lag, self._paused)
            self._next_word = now + _TOLD_SECONDS

    def _ending(self, now: float) -> tuple[Ending, str] | None:
        limits = self._wishes.limits
        if self._wishes.stop.is_set():
            return "stopped", "it was asked to stop"
        if limits.longest is not None and now - self._began >= limits.longest.total_seconds():
            return "time_over", f"its {limits.longest.total_seconds():g} s are over"
        if self._paused:
            long_paused = now - self._paused_since >= limits.paused.total_seconds()
            return ("paused", f"paused for {limits.paused}: {self._paused}") if long_paused else None
        if self._gone >= self._positions.keys():
            return "lost_offsets", self._places.lost[0].reason if self._places.lost else "the topics are gone"
        if limits.until_caught_up and self._caught_up() and now - self._last_record >= limits.linger.total_seconds():
            return "caught_up", "it landed all that was there when it began"
        return None

    def _caught_up(self) -> bool:
        return all(self._positions[key] >= end for key, end in self._targets.items() if key not in self._gone)

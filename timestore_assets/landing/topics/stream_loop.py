"""What a session on topics does over and over: take what was read, land it, look at the brokers, judge whether it may go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from timestore_assets.catalog.commit_values import Span, TopicProgress, WatermarkRule
from timestore_assets.landing.committing.batch_commit import BatchCommit
from timestore_assets.landing.committing.newest_landed import LandedRows, itself
from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.landing.preparing.row_checks import closed_before
from timestore_assets.landing.topics.assignment import Assignment, assign
from timestore_assets.landing.topics.backpressure_gate import BackpressureGate
from timestore_assets.landing.topics.idle_timers import IdleTimers
from timestore_assets.landing.topics.session_options import Ending, SessionClock, StreamReport, StreamTask
from timestore_assets.landing.topics.topic_batch import TopicBatch
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import FrozenSchemaError, InputError, UnavailableError
from timestore_assets.model.position import Position
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.kafka.lag import Key, SourceLag

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.topic_reader import FetchedMessages, TopicReader

_TAKE_SECONDS = 0.1
_OUTWAIT_SECONDS = 0.5
_LOOK_SECONDS = 10.0
_LOOK_SOON_SECONDS = 2.0
_MIRROR_SECONDS = 1.0
_TOLD_SECONDS = 1.0


class StreamLoop:
    """One session's loop and what it keeps in mind.

    A batch is judged while the one before it is written and committed. `_positions` are where reading goes on, so ahead of the
    catalog by at most the batch that is being published.
    """

    def __init__(self, landing: BatchCommit, task: StreamTask, clock: SessionClock) -> None:
        context, record, wishes = landing.context, task.record, task.wishes
        self._context, self._catalog, self._landing = context, context.catalog, landing
        self._dataset, self._source, self._record = task.dataset, task.source, record
        self._session_id, self._topics = landing.origin.session_id, task.topics
        self._wishes, self._clock, self._unreachable_seconds = wishes, context.clock, clock.unreachable_seconds
        self._gate = BackpressureGate(context, record, wishes)
        self._clocks: IdleTimers[Key] = IdleTimers(clock.monotonic)
        self._recorded: dict[Key, timedelta] = {}  # quiet times as the catalog has them
        self._places = Assignment()
        self._positions: dict[Key, int] = {}
        self._targets: dict[Key, int] = {}
        self._gone: set[Key] = set()
        self._distrusted = False  # what was read since the last commit is to be read again
        self._commits = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: Future[Counters] | None = None
        self._began = self._last_record = self._next_look = self._next_mirror = self._next_word = time.monotonic()
        self._unreachable_since: float | None = None

    def run(self) -> StreamReport:
        """Read and land until the session's end; errors as `Streamer.stream`."""
        ending, reason = self._start()
        if ending is not None:
            return self._report(ending, reason)
        shown: Mapping[Key, int] | None = None
        self._reader = self._fresh_reader()
        try:
            self._note_quiet()
            ending, reason = self._loop()
            self._note_quiet(everything=True)
            shown = self._positions
        except OvertakenError as error:
            ending, reason = "overtaken", str(error)
        except FrozenSchemaError as error:
            ending, reason = "frozen", error.reason
            self._context.retry.run(lambda: self._catalog.sources.pause(self._record.id, reason))
        finally:
            self._pool.shutdown(wait=True)
            self._reader.close(shown)
        return self._report(ending, reason)

    # --- beginning and end

    def _start(self) -> tuple[Ending | None, str]:
        lag = self._topics.look(self._catalog.topics.partitions(self._record.id))
        if not lag.partitions:
            names = ", ".join(lag.missing)
            raise InputError(f"no topic of {self._dataset.name!r} exists on this cluster: {names}; create it or mend `topic:`")
        self._take(lag)
        if self._places.elsewhere and not self._places.held:
            lag = self._outwait(lag)
        self._targets = dict(self._places.end_offsets)
        self._next_look = time.monotonic() + _LOOK_SECONDS
        if self._places.held:
            return None, ""
        if self._places.lost:
            return "lost_offsets", self._places.lost[0].reason
        return "held_elsewhere", "other sessions read all topic partitions of this shard"

    def _outwait(self, lag: SourceLag) -> SourceLag:
        """Wait until a session that reads all of the shard is dead, or was seen to be alive; claim what it left."""
        patience = self._wishes.patience.total_seconds()
        until, first = time.monotonic() + patience, self._beats()
        if patience:
            self._wishes.waiting(f"another session reads these topics; waiting up to {patience:g} s to see whether it has died")
        while time.monotonic() < until and not self._wishes.stop.wait(_OUTWAIT_SECONDS):
            lag = self._topics.look(self._catalog.topics.partitions(self._record.id))
            self._take(lag)
            now = self._beats()
            living = first and all(now.get(one, 0) > beat for one, beat in first.items())
            if self._places.held or living:
                break
        return lag

    def _beats(self) -> dict[int, int]:
        """The last sign of life of each session that reads some of the source."""
        held = {one.session_id for one in self._catalog.topics.partitions(self._record.id)} - {None, self._session_id}
        return self._catalog.sessions.beats([one for one in held if one is not None])

    def _fresh_reader(self) -> TopicReader:
        reader = self._topics.reader()
        try:
            reader.assign({key: at for key, at in self._positions.items() if key not in self._gone})
            if self._gate.reason:
                reader.pause()
        except BaseException:
            reader.close()
            raise
        return reader

    def _report(self, ending: Ending, reason: str) -> StreamReport:
        source = next(one for one in self._catalog.sources.of(self._record.dataset_id) if one.id == self._record.id)
        return StreamReport(
            **self._landing.tally.reported(),
            dataset=self._dataset.name,
            source=self._source.address,
            manifest_version=self._catalog.manifest.version(self._record.dataset_id),
            seconds=time.monotonic() - self._began,
            commits=self._commits,
            ending=ending,
            reason=reason,
            lag=self._lag(),
            watermark=source.watermark,
            paused_seconds=self._gate.waited_seconds,
            lost=tuple(self._places.lost),
            missing_topics=self._places.missing,
            dead_letter_reasons=dict(self._landing.tally.reasons),
        )

    def _lag(self) -> int:
        return sum(max(0, high - self._positions.get(key, high)) for key, high in self._places.end_offsets.items())

    # --- the loop

    def _loop(self) -> tuple[Ending, str]:
        while True:
            fetched = self._reader.take(_TAKE_SECONDS)
            if fetched is not None:
                self._land(fetched)
            self._settle(wait=False)
            now = time.monotonic()
            self._note_quiet()
            if now >= self._next_look:
                self._settle()
                self._look(now)
            if self._gate.is_due:
                self._judge()
            if now >= self._next_mirror:
                self._settle()
                self._reader.mirror(dict(self._positions))
                self._next_mirror = now + _MIRROR_SECONDS
            self._tell(now)
            ending = self._ending(now)
            if ending is not None:
                self._settle()
                return ending

    def _land(self, fetched: FetchedMessages) -> None:
        """Judge what was read while the batch before it is written and committed, then have it written in its turn."""
        if self._distrusted:
            return
        delivered = fetched.delivered
        ids = self._topics.ask_ids({topic for topic, _ in delivered})
        self._clocks.moved(delivered, fetched.at_end)
        if fetched.gone - self._gone:
            self._gone |= fetched.gone
            self._next_look = 0.0  # at once: the brokers no longer have what comes next
        spans = self._spans(fetched.ends, delivered)
        if delivered:
            self._last_record = time.monotonic()
            records = fetched.batch({key: one.id for key, one in self._places.held.items()})
            batch = self._topic_batch(records, spans)
            prepared = self._prepared(batch)
            if self._made_again(ids()):
                self._distrusted, self._next_look = True, 0.0
                return
            self._settle()
            # here and not only in the other thread: the next batch is judged behind what comes of this one
            prepared = self._landing.judge.in_order(batch, prepared)
            self._publishing = self._pool.submit(self._landing.publish, batch, prepared)
        elif spans:
            self._note(spans)
        self._went_on(fetched.ends, spans)

    def _prepared(self, batch: TopicBatch) -> Prepared:
        try:
            return self._landing.prepare(batch)
        except FrozenSchemaError:
            self._settle()  # what was read before it lands
            raise

    def _made_again(self, ids: Mapping[str, str]) -> bool:
        """Whether a topic is no longer the one that was read: its records may be of either, so they are read again.

        The client goes on at the same offset of a topic that was deleted and made again, if that has come so far.
        """
        known = {topic: one.topic_id for (topic, _), one in self._places.held.items()}
        return any(known[topic] not in (None, found) for topic, found in ids.items())

    def _settle(self, *, wait: bool = True) -> None:
        """Take note of the batch that was being published; its error is the session's."""
        publishing = self._publishing
        if publishing is not None and (wait or publishing.done()):
            self._publishing = None
            publishing.result()
            self._commits += 1
            self._wishes.after_commit()

    def _note(self, spans: Sequence[Span]) -> None:
        self._settle()
        self._landing.note(TopicProgress(spans=tuple(spans), watermark=self._watermark()))

    def _spans(self, ends: Mapping[Key, int], delivered: Iterable[Key]) -> list[Span]:
        """How the checkpoints move; a partition that was idle and has delivered counts for the watermark again."""
        again = {key for key in delivered if self._recorded[key]}
        return [
            Span(
                source_partition_id=self._places.held[key].id,
                start=Position(offset=self._positions[key]),
                end=Position(offset=end),
                quiet=timedelta(0) if key in again else None,
            )
            for key, end in sorted(ends.items())
            if key in self._positions and end > self._positions[key]
        ]

    def _topic_batch(self, batch: Batch, spans: Sequence[Span]) -> TopicBatch:
        late_before = None
        if self._dataset.late.policy != "correct":
            self._settle()  # what is late is decided by the watermark after all that was read before
            source = self._context.retry.run(
                lambda: self._catalog.sources.ensure(self._record.dataset_id, self._record.kind, self._record.address)
            )
            late_before = closed_before(self._dataset, source.watermark)
        return TopicBatch(
            batch=batch,
            spans=tuple(spans),
            time=self._dataset.time,
            until=self._clock(),
            watermark=self._watermark(),
            late_before=late_before,
        )

    def _watermark(self) -> WatermarkRule | None:
        """What the source's watermark is raised by; not while others are to read what was idle and has records again."""
        rule = WatermarkRule(over=self._places.whole, idle=self._source.idle, cap=self._clock())
        return None if self._places.awakened else rule

    def _went_on(self, ends: Mapping[Key, int], spans: Sequence[Span]) -> None:
        """The next batch begins where this one ends; should it fail, so does the session."""
        for key, end in ends.items():
            if key in self._positions:
                self._positions[key] = max(self._positions[key], end)
                self._places.end_offsets[key] = max(self._places.end_offsets.get(key, 0), end)
        quiet = {span.source_partition_id: span.quiet for span in spans if span.quiet is not None}
        if quiet:
            self._recorded.update({key: quiet[one.id] for key, one in self._places.held.items() if one.id in quiet})

    def _note_quiet(self, *, everything: bool = False) -> None:
        """Tell the catalog which topic partitions the watermark no longer waits for, or waits for again.

        `everything`: remember all quiet times for the next session, unless nothing else is to be remembered of this one.
        """
        idle, spans = self._source.idle, []
        least = timedelta(0) if self._commits or self._publishing else timedelta(seconds=1)
        for key, quiet in self._clocks.quiet().items():
            before = self._recorded[key]
            if (before < idle) != (quiet < idle) or (everything and quiet - before > least):
                at = Position(offset=self._positions[key])
                spans.append(Span(source_partition_id=self._places.held[key].id, start=at, end=at, quiet=quiet))
        if spans:
            self._note(spans)
            self._went_on({}, spans)

    # --- between batches

    def _look(self, now: float) -> None:
        """See what the brokers have now: more partitions, other ends, offsets that are gone."""
        known = self._context.retry.run(lambda: self._catalog.topics.partitions(self._record.id))
        try:
            lag = self._topics.look(known)
        except UnavailableError:
            self._unreachable_since = self._unreachable_since or now
            if now - self._unreachable_since > self._unreachable_seconds:
                raise
            self._next_look = time.monotonic() + _LOOK_SOON_SECONDS
            return
        self._unreachable_since = None
        self._next_look = time.monotonic() + (_LOOK_SOON_SECONDS if self._gone else _LOOK_SECONDS)
        fresh, moved = self._take(lag)
        ends = {key: end for key, end in self._places.end_offsets.items() if key not in self._gone}
        if moved or self._distrusted or self._reader.is_stalled(ends):
            # what has been read, or is still being read, is not what comes next; or nothing is read any more
            self._distrusted = False
            if self._landing.judge.order is not None:
                self._landing.judge.order.go_back()
            self._reader.close()
            self._reader = self._fresh_reader()
        else:
            self._reader.drop(self._gone)
            if fresh:
                self._reader.assign(fresh)
        self._clocks.forget(self._gone)

    def _take(self, lag: SourceLag) -> tuple[dict[Key, int], bool]:
        """Claim what is not read yet; gives the positions of that, and whether any of it was read from elsewhere before."""
        taken = self._context.retry.run(
            lambda: assign(
                self._catalog,
                self._record.id,
                self._source,
                lag,
                session_id=self._session_id,
                shard=self._wishes.shard,
                actor=self._wishes.actor,
                reading={key: partition.id for key, partition in self._places.held.items() if key not in self._gone},
            )
        )
        fresh = {key: partition.position for key, partition in taken.held.items()}
        self._begin_order([partition.id for partition in taken.held.values()])
        moved = not fresh.keys().isdisjoint(self._positions) or bool(taken.replaced)
        for key, partition in taken.held.items():
            self._clocks.add(key, partition.quiet)
            self._recorded[key] = partition.quiet
            if key in self._targets:
                self._targets[key] = min(self._targets[key], taken.end_offsets[key])
        taken.held = {**self._places.held, **taken.held}
        self._places = taken
        self._positions.update(fresh)
        self._gone = (self._gone - fresh.keys()) | taken.replaced
        self._clocks.behind(key for key, high in taken.end_offsets.items() if high > self._positions.get(key, high))
        return fresh, moved

    def _begin_order(self, claimed: Sequence[int]) -> None:
        """What is in order is judged by what the sessions before this one have landed, and by what was read again of that."""
        order = self._landing.judge.order
        if order is not None and claimed:
            again = self._context.retry.run(lambda: self._catalog.reloads.standing_for(claimed))
            order.begin([*map(itself, claimed), *(LandedRows(source=one, stands_for=base) for one, base in again.items())])

    def _judge(self) -> None:
        """Pause or go on by what waits behind landing."""
        was_closed = bool(self._gate.reason)
        self._gate.judge(commit_seconds=self._landing.last_write_seconds)
        if self._gate.reason and not was_closed:
            self._reader.pause()
        elif was_closed and not self._gate.reason:
            self._landing.last_write_seconds = 0.0
            self._last_record = time.monotonic()
            self._reader.resume()

    def _tell(self, now: float) -> None:
        if self._wishes.progress is not None and now >= self._next_word:
            self._wishes.progress.committed(self._landing.tally.counters, self._lag(), self._gate.reason)
            self._next_word = now + _TOLD_SECONDS

    def _ending(self, now: float) -> tuple[Ending, str] | None:
        limits = self._wishes.limits
        if self._wishes.stop.is_set():
            return "stopped", "it was asked to stop"
        if limits.longest is not None and now - self._began >= limits.longest.total_seconds():
            return "time_over", f"its {limits.longest.total_seconds():g} s are over"
        if self._gate.reason:
            long_paused = self._gate.closed_seconds >= limits.paused.total_seconds()
            return ("paused", f"paused for {limits.paused}: {self._gate.reason}") if long_paused else None
        if self._gone >= self._positions.keys() and self._next_look > now and self._unreachable_since is None:
            return "lost_offsets", self._places.lost[0].reason if self._places.lost else "the topics are gone"
        if limits.until_caught_up and self._caught_up() and now - self._last_record >= limits.linger.total_seconds():
            return "caught_up", "it landed all that was there when it began"
        return None

    def _caught_up(self) -> bool:
        return all(self._positions[key] >= end for key, end in self._targets.items() if key not in self._gone)

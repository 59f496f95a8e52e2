"""A window of topics read again and swapped in at once: its old rows leave in the very commit that shows the new ones.

The checkpoints of the sessions that land the topics are not touched. A reload that is killed goes on from its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import token_hex

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.commit_values import IdempotencyKey, ReloadProgress, Span
from timestore_assets.catalog.lease_keeper import HeldLease, LeaseKeeper
from timestore_assets.catalog.records import TopicPartition
from timestore_assets.catalog.reloads import DONE_LINE, ReloadPart
from timestore_assets.landing.committing.batch_commit import BatchCommit
from timestore_assets.landing.committing.newest_landed import LandedRows, itself
from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.committing.source_session import source_session
from timestore_assets.landing.committing.tally import SessionReport
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.landing.topics.session_options import Topics
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import ConflictError, InputError, RefusedError, UnavailableError
from timestore_assets.model.position import Position
from timestore_assets.model.retraction import Retracted, Retraction
from timestore_assets.retry import CONFLICT
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.kafka.lag import Key

STALLED_SECONDS = 60.0
"""How long the brokers may give nothing of a window before a reload gives up; what it has read stays for the next."""
_TTL = timedelta(seconds=20)
_TAKE_SECONDS = 0.2

Losing = Callable[[Retracted], Sequence[datetime]]
"""Starts of the partitions that hold rows of these ranges now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadReport(SessionReport):
    """What a reload did in this call; one that was resumed has read some of its window before."""

    source: str
    windows: Mapping[str, tuple[int, int]]
    """Offsets `[first, end)` by topic partition, as `topic/3`."""
    is_done: bool
    """False when it was asked to stop: the next call goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadBatch:
    """Records of a window, see `SourceBatch`. None is late: a window is what it was."""

    batch: Batch
    reload: ReloadProgress
    late_before: datetime | None = None
    keys: tuple[IdempotencyKey, ...] = ()
    actor: str | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        return self.reload.spans

    def progress(self, _: Prepared, /) -> ReloadProgress:
        return self.reload

    def confirm(self) -> None:
        """Where its partitions stand says all."""


class TopicReloader:
    """`losing`: asked when a reload is complete."""

    def __init__(self, context: WriteContext, *, losing: Losing) -> None:
        self._context, self._catalog, self._losing = context, context.catalog, losing

    def reload(
        self,
        dataset: Dataset,
        source: KafkaSource,
        topics: Topics,
        windows: Sequence[tuple[TopicPartition, Retraction]],
        *,
        actor: str,
        stop: threading.Event,
    ) -> ReloadReport:
        """Read windows again, `[first, end)` of a topic partition each, and swap them in.

        Raises:
            RefusedError: the brokers have deleted some of it. ConflictError: another reload of the source is under way.
            UnavailableError: brokers, catalog or store stayed away; the next call goes on from the last commit.
        """
        began = time.monotonic()
        with source_session(self._context, dataset, source, actor=actor, max_record_bytes=source.max_record_bytes) as session:
            keeper = LeaseKeeper(self._catalog)
            holder = f"{self._context.holder}:{token_hex(4)}"
            lease = keeper.hold(f"reload:{session.source.id}", holder=holder, ttl=_TTL)
            try:
                if lease is None:
                    raise ConflictError(f"{source.address} is being reloaded by somebody else; wait for it")
                job = _Reload(self, session.commit(), topics, windows, lease, stop)
                is_done = job.run()
            finally:
                if lease is not None:
                    lease.release()
                keeper.close()
        return ReloadReport(
            **job.landing.tally.reported(),
            dataset=dataset.name,
            source=source.address,
            manifest_version=self._catalog.manifest.version(session.source.dataset_id),
            seconds=time.monotonic() - began,
            windows={
                f"{one.topic}/{one.number}": (part.first, part.end) for (one, _), part in zip(windows, job.parts, strict=True)
            },
            is_done=is_done,
        )


class _Reload:
    """One reload under way. `_at`: how far each topic partition was read again."""

    def __init__(
        self,
        of: TopicReloader,
        landing: BatchCommit,
        topics: Topics,
        windows: Sequence[tuple[TopicPartition, Retraction]],
        lease: HeldLease,
        stop: threading.Event,
    ) -> None:
        self.landing, self._topics, self._lease, self._stop = landing, topics, lease, stop
        self._catalog, self._losing = of._catalog, of._losing
        self._source_id, self._session_id = landing.origin.source_id, landing.origin.session_id
        ranges = [one for _, one in windows]
        self._ranges = ranges
        self.parts = self._catalog.reloads.begin(landing.judge.record.id, self._source_id, ranges)
        self._keys: dict[Key, ReloadPart] = {
            (one.topic, one.number): part for (one, _), part in zip(windows, self.parts, strict=True)
        }
        self._at: dict[Key, Position] = {key: part.position for key, part in self._keys.items()}
        if landing.judge.order is not None:
            landing.judge.order.begin(
                [one for part, of in zip(self.parts, ranges, strict=True) for one in self._before(part, of)]
            )

    def _before(self, part: ReloadPart, of: Retraction) -> list[LandedRows]:
        """What its records have to be in order with: what comes before the window, and what was read again of it already."""
        bases = [of.source, *self._catalog.reloads.standing_for([of.source])]
        return [itself(part.id), *(LandedRows(source=base, stands_for=part.id, below=part.first) for base in bases)]

    def run(self) -> bool:
        """Read to the end and swap; False when it was stopped before."""
        left = {key: at.offset for key, at in self._at.items() if at.offset < self._keys[key].end}
        reader = self._topics.reader()
        try:
            if left:
                reader.assign(left)
            heard = time.monotonic()
            while self._left():
                if self._stop.is_set():
                    return False
                fetched = reader.take(_TAKE_SECONDS)
                self._lease.check()
                if fetched is None:
                    if time.monotonic() - heard > STALLED_SECONDS:
                        raise UnavailableError("the brokers have given nothing of the window for a minute; reload it again later")
                    continue
                heard = time.monotonic()
                if gone := fetched.gone & self._left().keys():
                    (topic, number), *_ = sorted(gone)
                    raise RefusedError(
                        f"the brokers have deleted offset {self._at[topic, number].offset} of {topic}/{number}, so this window "
                        "can't be read again as a whole; nothing was changed"
                    )
                ids = {key: part.id for key, part in self._keys.items()}
                self._land(_within(fetched.batch(ids), {part.id: part.end for part in self.parts}), fetched.ends)
                reader.drop(set(fetched.ends) - self._left().keys())
        finally:
            reader.close()
        self._swap()
        return True

    def _left(self) -> dict[Key, int]:
        return {key: part.end for key, part in self._keys.items() if self._at[key].offset < part.end}

    def _land(self, batch: Batch, ends: Mapping[Key, int]) -> None:
        """Land what belongs to the window, to wait for the rest."""
        spans, moved = [], {}
        for key, end in sorted(ends.items()):
            part = self._keys.get(key)
            to = Position(offset=min(end, part.end)) if part else None
            if part is not None and to is not None and to > self._at[key]:
                spans.append(Span(source_partition_id=part.id, start=self._at[key], end=to))
                moved[key] = to
        if not spans:
            return
        reload = ReloadProgress(spans=tuple(spans), waits_for=self.parts[0].id, last=False)
        if batch.records.num_rows:
            self.landing.land(ReloadBatch(batch=batch, reload=reload))
        else:
            self.landing.note(reload)
        self._at |= moved

    def _swap(self) -> None:
        """Show the window's new rows, and take the old ones out: those of the topic, and of earlier reloads."""
        lead = next(key for key, part in self._keys.items() if part.id == self.parts[0].id)
        span = Span(source_partition_id=self.parts[0].id, start=self._at[lead], end=replace(self._at[lead], line=DONE_LINE))
        swap = ReloadProgress(spans=(span,), waits_for=self.parts[0].id, last=True)
        for _ in CONFLICT.tries():
            # what was replayed while the window was read leaves with its other rows
            known = self._catalog.reloads.replays(self.landing.judge.record.id, session_id=self._session_id)
            replaced = frozenset(replace(one, last_session=known.last_session) for one in self._replaced())
            losing = tuple(self._losing(replaced))
            try:
                self.landing.note(replace(swap, replaces=replaced, losing=losing, replays_until=known.newest))
            except OvertakenError:
                continue
            return
        raise ConflictError(f"dead letters of {self.landing.origin.address} kept being replayed; the same reload goes on")

    def _replaced(self) -> list[Retraction]:
        earlier = self._catalog.reloads.done(self._source_id)
        again = [
            Retraction(source=one.id, first=part.first, end=part.end)
            for part in self.parts
            for one in earlier
            if one.base == part.base and one.first < part.end and part.first < one.end
        ]
        return [*self._ranges, *again]


def _within(batch: Batch, ends: Mapping[int, int]) -> Batch:
    """The records of a batch before these ends, by source partition: a reader gives more than it was asked for."""
    if batch.source_partitions is None:
        raise InputError("records of topics name their partitions")
    before = pa.array([ends[source] for source in batch.source_partitions.to_pylist()], pa.int64())
    mask = pc.less(batch.positions, before)
    kept = pc.indices_nonzero(mask).to_pylist()
    if len(kept) == batch.records.num_rows:
        return batch
    envelope = batch.envelope
    return replace(
        batch,
        records=batch.records.filter(mask),
        positions=batch.positions.filter(mask),
        source_partitions=batch.source_partitions.filter(mask),
        raw=lambda index: batch.raw(kept[index]),
        envelope=None if envelope is None else lambda index: envelope(kept[index]),
    )

"""What is held of all of a dataset's topics at one moment, and which of it an answer merges.

A source's watermark moves on by these rows too, by the rule that landing follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

import numpy as np

from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.records import TopicPartition
from timestore_assets.landing.preparing.row_checks import closed_before
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import SOURCE_COLUMN
from timestore_assets.querying.answer import BufferState, FreshRows, Streaming
from timestore_assets.segments.partition_rows import cluster
from timestore_assets.segments.reader import IN_MEMORY_VERSION, InMemorySegment
from timestore_assets.tailing.buffered_rows import OffsetRun, RowBlock, beyond
from timestore_assets.tailing.tail import TailView


def moved_on(
    landed: datetime | None,
    topics: Sequence[TopicPartition],
    runs: Mapping[int, OffsetRun],
    *,
    idle: timedelta,
    now: datetime,
) -> datetime | None:
    """The watermark when everything held would be landed: never before `landed`, never after `now`.

    It is the smallest newest time of the topic partitions, those left out that have been quiet for `idle` and hold nothing new.
    One that never had a record, and is not idle, can deliver anything: then it stays where it is.
    """
    delivering = [one for one in topics if one.id in runs and (one.quiet < idle or runs[one.id].end > one.position)]
    newest = [_newest(one, runs[one.id]) for one in delivering]
    known = [time for time in newest if time is not None]
    if not known or len(known) < len(newest):
        return landed
    reached = min(min(known), now)
    return reached if landed is None else max(landed, reached)


def _newest(one: TopicPartition, run: OffsetRun) -> datetime | None:
    return max((time for time in (one.newest, run.newest) if time is not None), default=None)


_WORST: tuple[BufferState, ...] = ("unavailable", "full", "starting", "ready")


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferSnapshot:
    """A `querying.answer.UnlandedRows`. `views`: one for each topic source of the dataset."""

    dataset: Dataset
    dataset_id: int
    views: tuple[TailView, ...]
    now: datetime

    def beyond(self, topics: Sequence[TopicPartition], *, start: datetime | None, end: datetime | None) -> FreshRows:
        """See `UnlandedRows.beyond`."""
        pieces: list[RowBlock] = []
        states: dict[BufferState, str] = {}
        for view in self.views:
            mine = [one for one in topics if one.source_id == view.source_id]
            pieces += self._pieces(view, mine, start, end)
            state, reason = self._state(view, mine)
            states.setdefault(state, reason)
        worst = next(state for state in _WORST if state in states)
        streaming = Streaming(
            buffer_state=worst,
            merged_rows=sum(piece.rows.num_rows for piece in pieces),
            watermark=self._watermark(topics),
            fresh=worst == "ready",
            warning="" if worst == "ready" else _warning(worst, states[worst]),
        )
        return FreshRows(segments=tuple(self._segments(pieces)), streaming=streaming)

    def _pieces(
        self, view: TailView, topics: Sequence[TopicPartition], start: datetime | None, end: datetime | None
    ) -> list[RowBlock]:
        """What is held from the checkpoints on, of the topic partitions of which nothing is missing there."""
        held = view.progress.rows
        checkpoints = {one.id: one.position for one in topics if _is_whole(view, one)}
        late = closed_before(self.dataset, view.progress.watermark) if self.dataset.late.policy != "correct" else None
        first = max((time for time in (start, late) if time is not None), default=None)
        found = []
        for piece in held.pieces:
            mask = beyond(piece, checkpoints)
            if first is not None:
                mask &= piece.times >= to_micros(first)
            if end is not None:
                mask &= piece.times < to_micros(end)
            if mask.any():
                found.append(piece.where(mask))
        return found

    def _state(self, view: TailView, topics: Sequence[TopicPartition]) -> tuple[BufferState, str]:
        missing = [one for one in topics if one.id not in view.progress.known or not _is_whole(view, one, absent=True)]
        if view.state == "ready" and missing:
            return "starting", "some of its topic partitions are new"
        return view.state, view.reason

    def _watermark(self, topics: Sequence[TopicPartition]) -> datetime | None:
        """The earliest of all sources; None while one doesn't say."""
        found = []
        for view in self.views:
            mine = [one for one in topics if one.source_id == view.source_id]
            runs = view.progress.rows.runs
            found.append(moved_on(view.progress.watermark, mine, runs, idle=view.source.idle, now=self.now))
        known = [time for time in found if time is not None]
        return min(known) if len(known) == len(found) else None

    def _segments(self, pieces: Sequence[RowBlock]) -> list[InMemorySegment]:
        """Deltas by partition; each block makes its own, which spares copying them together."""
        numbers = count(1)
        made = []
        for piece in pieces:
            clusters = cluster(piece.times, self.dataset.window)
            rows, times = piece.rows, piece.times
            if clusters.order is not None:
                rows, times = rows.take(clusters.order), times[clusters.order]
            for first, number in clusters.spans():
                part = RowBlock(rows=rows.slice(first, number), written=piece.written, times=times[first : first + number])
                made.append(self._segment(part, next(numbers)))
        return made

    def _segment(self, piece: RowBlock, number: int) -> InMemorySegment:
        first, last = from_micros(int(piece.times.min())), from_micros(int(piece.times.max()))
        return InMemorySegment(
            id=-number,
            dataset_id=self.dataset_id,
            name=f"{self.dataset.name}/held-{number}",
            partition_start=self.dataset.window.start_of(first),
            kind="delta",
            format="memory",
            rows=piece.rows.num_rows,
            bytes=piece.rows.nbytes,
            min_time=first,
            max_time=last,
            schema_version=IN_MEMORY_VERSION,
            source_ids=tuple(np.unique(piece.rows.column(SOURCE_COLUMN).to_numpy()).tolist()),
            table=piece.rows,
            written=piece.written,
        )


def _is_whole(view: TailView, one: TopicPartition, *, absent: bool = False) -> bool:
    """Whether every record from the checkpoint on is held, as far as it was read. `absent`: what it is when it isn't tailed."""
    run = view.progress.rows.runs.get(one.id)
    return absent if run is None else run.start <= one.position


def _warning(state: BufferState, reason: str) -> str:
    shown = "the answer has what is landed" if state == "unavailable" else "the answer may lack the newest records"
    return f"{shown}: {reason}"

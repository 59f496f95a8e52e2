"""What is held of all of a dataset's topics at one moment, and which of it an answer merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.landing.cluster import cluster
from timestore_assets.landing.lateness import closed_before
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import SOURCE_COLUMN
from timestore_assets.querying.fresh import FreshRows
from timestore_assets.querying.streaming import BufferState, Streaming
from timestore_assets.storage.held import HELD_VERSION, HeldSegment
from timestore_assets.tailing.held_rows import Piece, beyond
from timestore_assets.tailing.tail import TailView
from timestore_assets.tailing.watermark import moved_on

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WORST: tuple[BufferState, ...] = ("unavailable", "full", "starting", "ready")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A `querying.fresh.Fresh`. `views`: one for each topic source of the dataset."""

    dataset: Dataset
    dataset_id: int
    views: tuple[TailView, ...]
    now: datetime

    def beyond(self, topics: Sequence[TopicPartition], *, start: datetime | None, end: datetime | None) -> FreshRows:
        """See `Fresh.beyond`."""
        pieces: list[Piece] = []
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
    ) -> list[Piece]:
        """What is held from the checkpoints on, of the topic partitions of which nothing is missing there."""
        held = view.progress.rows
        checkpoints = {one.id: one.position for one in topics if _is_whole(view, one)}
        late = closed_before(self.dataset, view.progress.watermark) if self.dataset.late.policy != "correct" else None
        first = max((time for time in (start, late) if time is not None), default=None)
        found = []
        for piece in held.pieces:
            mask = beyond(piece, checkpoints)
            if first is not None:
                mask &= piece.times >= _micros(first)
            if end is not None:
                mask &= piece.times < _micros(end)
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

    def _segments(self, pieces: Sequence[Piece]) -> list[HeldSegment]:
        """Deltas by partition; each piece makes its own, which spares copying them together."""
        numbers = count(1)
        made = []
        for piece in pieces:
            clusters = cluster(piece.times, self.dataset.window)
            rows, times = piece.rows, piece.times
            if clusters.order is not None:
                rows, times = rows.take(clusters.order), times[clusters.order]
            for first, number in clusters.spans():
                part = Piece(rows=rows.slice(first, number), written=piece.written, times=times[first : first + number])
                made.append(self._segment(part, next(numbers)))
        return made

    def _segment(self, piece: Piece, number: int) -> HeldSegment:
        first, last = _time(int(piece.times.min())), _time(int(piece.times.max()))
        return HeldSegment(
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
            schema_version=HELD_VERSION,
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


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)

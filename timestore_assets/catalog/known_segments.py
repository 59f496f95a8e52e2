"""Segments that this process has read before: planning then reads their ids from an index and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, null, select

from timestore_assets.catalog.moving import moves
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.stored_segments import COLUMNS, to_segments
from timestore_assets.catalog.tables import segment_stats, segments
from timestore_assets.model.segment import Segment

KEPT = 200_000
"""About 100 MB without statistics; beyond that the process starts afresh."""
_AT_ONCE = 5_000


class _Known(NamedTuple):
    """Segments of a dataset as they were after so many moves."""

    moved: int
    segments: dict[int, Segment]


class KnownSegments:
    """Segments by id. Nothing about a live segment ever changes but its removed version, which is compared, and where it is:
    a dataset that was moved is read anew.

    Threads may share one: the worst they do to each other is to read a segment twice.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], _Known] = {}

    def get(
        self, connection: Connection, dataset_id: int, found: Sequence[tuple[int, int | None]], *, with_stats: bool
    ) -> list[Segment]:
        """The segments of these (id, removed version) pairs, in their order."""
        known = self._of(dataset_id, moves(connection, dataset_id), with_stats=with_stats)
        missing = [segment_id for segment_id, removed in found if _outdated(known.get(segment_id), removed)]
        if not missing:
            return [known[segment_id] for segment_id, _ in found]
        read = {segment.id: segment for segment in _read(connection, dataset_id, missing, with_stats=with_stats)}
        answer = [read.get(segment_id) or known[segment_id] for segment_id, _ in found]
        known.update(read)
        return answer

    def _of(self, dataset_id: int, moved: int, *, with_stats: bool) -> dict[int, Segment]:
        if sum(len(one.segments) for one in list(self._known.values())) > KEPT:
            self._known = {}
        known = self._known.get((dataset_id, with_stats))
        if known is None or known.moved != moved:
            # a new dict, for a thread that has read the old places may still be filling the other
            known = self._known[dataset_id, with_stats] = _Known(moved, {})
        return known.segments


def _outdated(segment: Segment | None, removed_version: int | None) -> bool:
    return segment is None or segment.removed_version != removed_version


def _read(connection: Connection, dataset_id: int, ids: Sequence[int], *, with_stats: bool) -> list[Segment]:
    made: list[Segment] = []
    for chunk in chunked(ids, _AT_ONCE):
        result = connection.execute(_columns(with_stats).where(segments.c.id.in_(chunk)))
        # the driver's tuples, because wrapping 10,000 rows costs more than reading them
        made += to_segments(result.cursor.fetchall() if result.cursor else [], dataset_id)
    return made


def _columns(with_stats: bool) -> Select[Any]:
    chosen = [segments.c[name] for name in COLUMNS]
    if not with_stats:
        return select(*chosen, null())
    return select(*chosen, segment_stats.c.stats).outerjoin_from(segments, segment_stats)

"""Catalog rows to `Segment` values, ten thousand at a time, and their statistics as JSON text.

Segments that this process has read before are kept: planning then reads their ids from an index and nothing else.
"""

from __future__ import annotations

import gc
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, null, select

from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import among, chunked
from timestore_assets.catalog.stored_objects import moves
from timestore_assets.catalog.tables import segment_stats, segments
from timestore_assets.model.segment import ColumnStats, Segment

COLUMNS = (
    "id",
    "partition_start",
    "name",
    "kind",
    "format",
    "storage",
    "rows",
    "bytes",
    "min_time",
    "max_time",
    "schema_version",
    "level",
    "semantic_key",
    "sorted_by",
    "deduplicated",
    "source_ids",
    "content_hash",
    "first_row",
    "object_bytes",
    "added_version",
    "removed_version",
)
"""What `to_segments` expects in a row, followed by the statistics' text or None."""

_NO_STATS: Mapping[str, ColumnStats] = {}


class StoredStats(Mapping[str, ColumnStats]):
    """Column statistics that stay text until a planner asks for a column."""

    __slots__ = ("_columns", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._columns: dict[str, list[Any]] | None = None

    def __getitem__(self, name: str) -> ColumnStats:
        smallest, largest, nulls = self._decoded()[name]
        return ColumnStats(min=smallest, max=largest, nulls=nulls)

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return f"StoredStats({self._text!r})"

    def _decoded(self) -> dict[str, list[Any]]:
        if self._columns is None:
            self._columns = json.loads(self._text)
        return self._columns


def stats_text(stats: Mapping[str, ColumnStats]) -> str:
    return json.dumps({name: [one.min, one.max, one.nulls] for name, one in stats.items()}, separators=(",", ":"))


def to_segments(rows: Sequence[Sequence[Any]], dataset_id: int) -> list[Segment]:
    """Segments of raw rows, in their order.

    Fills the values column by column through their slots: a third of the time that their own `__init__` takes, and planning
    a query over many segments is mostly this.
    """
    made: list[Segment] = list(map(_new, repeat(Segment, len(rows))))
    for (name, convert), values in zip(_FIELDS, zip(*rows, strict=True), strict=False):
        _fill(name, made, values if convert is None else map(convert, values))
    _fill("dataset_id", made, repeat(dataset_id))
    _fill("sha256", made, repeat(None))
    return made


def _fill(name: str, made: Iterable[Segment], values: Iterable[Any]) -> None:
    deque(map(_SLOTS[name], made, values), maxlen=0)


def ids_text(ids: Iterable[int]) -> str:
    """Ids as digits and commas, which parse three times faster than JSON."""
    return ",".join(map(str, sorted(ids)))


def parse_ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


@lru_cache(maxsize=4096)
def _texts(text: str | None) -> tuple[Any, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _stats(text: str | None) -> Mapping[str, ColumnStats]:
    return _NO_STATS if text is None else StoredStats(text)


_new: Callable[[type[Segment]], Segment] = object.__new__
_CONVERT: dict[str, Callable[[Any], Any]] = {
    "partition_start": lru_cache(maxsize=4096)(from_micros),
    "min_time": from_micros,
    "max_time": from_micros,
    "semantic_key": _texts,
    "sorted_by": _texts,
    "source_ids": lru_cache(maxsize=4096)(parse_ids),
    "deduplicated": bool,
    "stats": _stats,
}
_FIELDS = tuple((name, _CONVERT.get(name)) for name in (*COLUMNS, "stats"))
_SLOTS: dict[str, Callable[[Segment, Any], None]] = {
    name: getattr(Segment, name).__set__ for name in (*COLUMNS, "stats", "dataset_id", "sha256")
}


KEPT = 200_000
"""About 100 MB without statistics; beyond that the process starts afresh."""
_AT_ONCE = 5_000


Listed = tuple[int, int | None, int]
"""A segment as an index knows it: its id, its removed version, and its partition's start in microseconds."""


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

    def get(self, connection: Connection, dataset_id: int, found: Sequence[Listed], *, with_stats: bool) -> list[Segment]:
        """The segments that are listed, in their order."""
        known = self._of(dataset_id, moves(connection, dataset_id), with_stats=with_stats)
        missing = [segment_id for segment_id, removed, _ in found if _outdated(known.get(segment_id), removed)]
        if not missing:
            return [known[segment_id] for segment_id, _, _ in found]
        read = {segment.id: segment for segment in _read(connection, dataset_id, missing, with_stats=with_stats)}
        answer = [read.get(segment_id) or known[segment_id] for segment_id, _, _ in found]
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
    with _uncollected():
        for chunk in chunked(ids, _AT_ONCE):
            result = connection.execute(_columns(with_stats).where(among(connection, segments.c.id, chunk)))
            # the driver's tuples, because wrapping 10,000 rows costs more than reading them
            made += to_segments(result.cursor.fetchall() if result.cursor else [], dataset_id)
    return made


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: so many new values would set off several over everything in the process, 40 ms each, for none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _columns(with_stats: bool) -> Select[Any]:
    chosen = [segments.c[name] for name in COLUMNS]
    if not with_stats:
        return select(*chosen, null())
    return select(*chosen, segment_stats.c.stats).outerjoin_from(segments, segment_stats)

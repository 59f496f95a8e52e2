"""Filling the read cache for a window of a dataset, before anybody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.planning.column_names_in_sql import find_column, unique
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.reading.rows import fetched

_AT_ONCE = 16
"""Objects between two reports of progress, fetched beside one another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrimeReport:
    """What a window holds."""

    dataset: str
    manifest_version: int
    objects: int
    #: Of all `objects`, those on this machine anyway.
    local_objects: int
    #: Of the others, whole.
    bytes: int


def prime(
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    columns: Sequence[str] | None = None,
    room_bytes: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PrimeReport:
    """Fetch what questions about `[start, end)` read, so that they find it on this machine.

    Args:
        columns: what the questions select and filter by, beside the time; all when None.
        room_bytes: what the cache keeps at most.
        progress: is told bytes of objects that are done, of all.

    Raises:
        InputError: there is no such column, or the window has more than the cache keeps.
        UnavailableError: an object or its target can't be reached. StorageFullError: the cache's disk is full.
    """
    claim = querier.claim(record)
    try:
        dataset, record = querier.in_force(dataset, record, claim.version)
        needed = None if columns is None else [find_column(record.schema, name, dataset=dataset.name).name for name in columns]
        chosen = querier.planned(dataset, record, version=claim.version, start=start, end=end)
        pinned = querier.pinned(dataset, record, version=claim.version)
        remote = [one for one in chosen.whole.segments if querier.storage.path(one) is None]
        total = sum(one.bytes for one in remote)
        if needed is None:
            _require_room(total, room_bytes)
        done = 0
        for group in _groups(remote):
            if needed is None:
                reading: AbstractContextManager[object] = querier.storage.reading(group)
            else:
                reading = fetched(group, chosen.whole, pinned, needed=unique([*needed, dataset.time]))
            with reading:
                claim.renew_if_due()
            done += sum(one.bytes for one in group)
            progress(done, total)
    finally:
        claim.release()
    return PrimeReport(
        dataset=dataset.name,
        manifest_version=claim.version,
        objects=chosen.scanned,
        local_objects=chosen.scanned - len(remote),
        bytes=total,
    )


def _require_room(total: int, room_bytes: int) -> None:
    if total > room_bytes:
        raise InputError(
            f"the window holds {total:,} bytes and the cache keeps {room_bytes:,} at most; "
            "narrow it, name --columns, or raise TIMESTORE_QUERY_CACHE_MAX_BYTES"
        )


def _groups(segments: Sequence[Segment]) -> list[Sequence[Segment]]:
    return [segments[first : first + _AT_ONCE] for first in range(0, len(segments), _AT_ONCE)]

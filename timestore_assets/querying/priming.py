"""Filling the read cache for a window of a dataset, before anybody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.execute import Querier
from timestore_assets.querying.names import find_column, unique
from timestore_assets.querying.rows import fetched

_AT_ONCE = 16
"""Objects between two reports of progress, fetched beside one another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrimeReport:
    """What a window holds. `local_objects`: of all `objects`, those on this machine anyway. `bytes`: of the others, whole."""

    dataset: str
    manifest_version: int
    objects: int
    local_objects: int
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
    needed = None if columns is None else [find_column(record.schema, name, dataset=dataset.name).name for name in columns]
    claim = querier.claim(record)
    try:
        chosen = querier.planned(dataset, record, version=claim.version, start=start, end=end)
        pinned = querier.pinned(dataset, record, version=claim.version)
        remote = [one for one in chosen.whole.segments if querier.storage.path(one) is None]
        total = sum(one.bytes for one in remote)
        if needed is None and total > room_bytes:
            raise InputError(
                f"the window holds {total:,} bytes and the cache keeps {room_bytes:,} at most; "
                "narrow it, name --columns, or raise TIMESTORE_QUERY_CACHE_MAX_BYTES"
            )
        done = 0
        read = pinned.schema.names if needed is None else unique([*needed, dataset.time])
        for group in _groups(remote):
            if needed is None:
                with querier.storage.reading(group):
                    claim.keep()
            else:
                with fetched(group, chosen.whole, pinned, needed=read):
                    claim.keep()
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


def _groups(segments: Sequence[Segment]) -> list[Sequence[Segment]]:
    return [segments[first : first + _AT_ONCE] for first in range(0, len(segments), _AT_ONCE)]

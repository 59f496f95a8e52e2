"""Proving the catalog's rows about a dataset against its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from secrets import token_hex
from typing import Literal

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord, Lease, PartitionRecord
from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.model.objects import ObjectName, Placed
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.window import format_time
from timestore_assets.storage.engine import EngineLimits, connect
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.afresh import Afresh
from timestore_assets.upkeep.inspect import SegmentReader

Problem = Literal["missing", "unreadable", "bytes", "rows", "times", "statistics", "content"]
_LOST = frozenset({"missing", "unreadable"})
_LEASE = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is not as catalogued. `object`: an object's name, or a partition's key for `content`."""

    object: str
    problem: Problem
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was looked at in a manifest version, and what was wrong.

    `rows`, `bytes`: of the segments, as catalogued. `hashed_partitions`: sealed ones whose content was compared.
    `orphans`: names of files below the dataset's that the catalog doesn't know; harmless, and `gc` removes old ones.
    """

    dataset: str
    manifest_version: int
    segments: int
    rows: int
    bytes: int
    hashed_partitions: int
    findings: tuple[Finding, ...]
    orphans: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(catalog: Catalog, storage: Storage, limits: EngineLimits, record: DatasetRecord) -> VerifyReport:
    """Read every live segment of a dataset, from where it is stored, and compare it with what the catalog says.

    Memory is bounded by `limits`: one segment is read at a time. Of remote objects those of one partition are on the
    disk at a time. The version is pinned meanwhile, so builds and collections beside it are no findings.

    Raises:
        UnavailableError: the store can't be listed, or the pin on the version was lost.
    """
    with _pinned(catalog, record) as pin, connect(limits) as con, _afresh(storage) as objects:
        version = pin.version
        segments = catalog.segments(record.id, version=version)
        listing = _Listing(storage, record.name)
        known = {ObjectName(target, name) for target in storage.names for name in catalog.known_objects(target)}
        reader = SegmentReader(con=con, storage=objects, catalog=catalog, record=record)
        sealed = _sealed(catalog.partitions(record.id), version)
        findings = _dead_letters(catalog, record, listing)
        hashed = 0
        for start, group in groupby(segments, key=lambda segment: segment.partition_start):
            members = list(group)
            wrong = [finding for segment in members for finding in _segment(segment, listing, reader, pin)]
            findings += wrong
            if start in sealed and _LOST.isdisjoint(finding.problem for finding in wrong):
                findings += _content(sealed[start], members, reader, pin)
                hashed += 1
            objects.forget()
    return VerifyReport(
        dataset=record.name,
        manifest_version=version,
        segments=len(segments),
        rows=sum(segment.rows for segment in segments),
        bytes=sum(segment.bytes for segment in segments),
        hashed_partitions=hashed,
        findings=tuple(findings),
        orphans=tuple(sorted(place.name for place in listing.names if place not in known)),
    )


@contextmanager
def _afresh(storage: Storage) -> Iterator[Afresh]:
    objects = Afresh(storage)
    try:
        yield objects
    finally:
        objects.forget()


@dataclass(slots=True)
class _Pin:
    """The pinned version; `keep` renews its lease when half of it has gone."""

    catalog: Catalog
    version: int
    lease: Lease

    def keep(self) -> None:
        if self.lease.expires_at - datetime.now(UTC) > _LEASE / 2:
            return
        renewed = self.catalog.renew(self.lease, ttl=_LEASE)
        if renewed is None:
            raise UnavailableError("verify was held up so long that its version may have been collected; run it again")
        self.lease = renewed


@contextmanager
def _pinned(catalog: Catalog, record: DatasetRecord) -> Iterator[_Pin]:
    version, lease = catalog.pin(record.id, version=None, holder=f"verify:{token_hex(4)}", ttl=_LEASE)
    pin = _Pin(catalog=catalog, version=version, lease=lease)
    try:
        yield pin
    finally:
        catalog.release(pin.lease)


class _Listing:
    """Sizes of a dataset's objects in all targets; what is in no listing is looked at itself, since listings may lag."""

    def __init__(self, storage: Storage, dataset: str) -> None:
        self._storage = storage
        self.names = {
            ObjectName(target, found.name): found.bytes
            for target in storage.names
            for found in storage.target(target).list(f"{dataset}/")
        }

    def size(self, placed: Placed) -> int | None:
        """Bytes of an object, None if it is gone."""
        known = self.names.get(ObjectName(placed.storage, placed.name))
        return known if known is not None else self._storage.target(placed.storage).size(placed.name)


def _dead_letters(catalog: Catalog, record: DatasetRecord, listing: _Listing) -> list[Finding]:
    return [
        Finding(object=file.name, problem="missing", detail=f"{file.rows:,} dead letters are gone")
        for _, file, _ in catalog.dead_letter_files(record.id)
        if listing.size(file) is None
    ]


def _sealed(partitions: list[PartitionRecord], version: int) -> dict[datetime, PartitionRecord]:
    """Sealed partitions by start, but for those that changed after the version."""
    return {
        found.partition.start: found
        for found in partitions
        if found.state == "sealed" and found.content_hash and found.manifest_version <= version
    }


def _segment(segment: Segment, listing: _Listing, reader: SegmentReader, pin: _Pin) -> Iterator[Finding]:
    pin.keep()
    size = listing.size(segment)
    if size is None:
        yield Finding(object=segment.name, problem="missing", detail=f"{segment.rows:,} rows are gone")
        return
    if size != segment.bytes:
        detail = f"the file has {size:,} bytes, the catalog says {segment.bytes:,}"
        yield Finding(object=segment.name, problem="bytes", detail=detail)
    try:
        facts = reader.facts(segment)
    except UnicodeDecodeError:
        yield Finding(object=segment.name, problem="unreadable", detail="texts in it are no texts: the file is damaged")
        return
    except (duckdb.Error, BadFileError, UnavailableError) as error:
        yield Finding(object=segment.name, problem="unreadable", detail=str(error).splitlines()[0])
        return
    if facts.rows != segment.rows:
        detail = f"the file has {facts.rows:,} rows, the catalog says {segment.rows:,}"
        yield Finding(object=segment.name, problem="rows", detail=detail)
    else:
        yield from _differences(segment, facts.stats, reader.time_column)


def _differences(segment: Segment, found: Mapping[str, ColumnStats], time: str) -> Iterator[Finding]:
    """What pruning relies on and is not so."""
    spanned, said = (_time(found[time].min), _time(found[time].max)), (segment.min_time, segment.max_time)
    if segment.rows and spanned != said:
        detail = f"the file spans {_span(*spanned)}, the catalog says {_span(*said)}"
        yield Finding(object=segment.name, problem="times", detail=detail)
    wrong = [name for name, stats in segment.stats.items() if name in found and not _agree(stats, found[name])]
    if wrong:
        detail = f"bounds or nulls of {', '.join(wrong)} are not as catalogued"
        yield Finding(object=segment.name, problem="statistics", detail=detail)


def _agree(said: ColumnStats, found: ColumnStats) -> bool:
    """Whether what the catalog says is so; a bound it doesn't know is no disagreement."""
    bounds = ((said.min, found.min), (said.max, found.max))
    return said.nulls == found.nulls and all(one is None or one == other for one, other in bounds)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def _span(first: datetime | None, last: datetime | None) -> str:
    return f"{format_time(first) if first else '?'} to {format_time(last) if last else '?'}"


def _content(partition: PartitionRecord, segments: list[Segment], reader: SegmentReader, pin: _Pin) -> Iterator[Finding]:
    pin.keep()
    found = reader.content_hash(segments)
    if found != partition.content_hash:
        detail = f"the rows hash to {found}, the catalog says {partition.content_hash}"
        yield Finding(object=partition.partition.key, problem="content", detail=detail)

"""Proving the catalog's rows about a dataset against its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from secrets import token_hex

import duckdb

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, PartitionRecord
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.segment import ColumnStats, ObjectName, Placed, Segment, object_size
from timestore_assets.model.window import format_time
from timestore_assets.ownership.target_claim import confirm
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.held_objects import archive_findings, digest_findings, tag_findings
from timestore_assets.upkeep.inspect import SegmentReader, UncachedReader
from timestore_assets.upkeep.verify_findings import LOST, Finding

_LEASE = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was looked at in a manifest version, and what was wrong.

    `rows`, `bytes`: of the segments, as catalogued. `hashed_partitions`: sealed ones whose content was compared.
    `foreign_hashes`: sealed ones that another DuckDB hashed, of which nothing but the files' digests could be compared.
    `undigested`: segments and files of dead letters of before there were digests, whose bytes nothing can be compared with.
    `portable_hashes`: by key of sealed partition, the content hash that any engine can compute, where it was asked for.
    `orphans`: names of files below the dataset's that the catalog doesn't know; harmless, and `gc` removes old ones.
    """

    dataset: str
    manifest_version: int
    segments: int
    rows: int
    bytes: int
    hashed_partitions: int
    foreign_hashes: int
    undigested: int
    findings: tuple[Finding, ...]
    orphans: tuple[str, ...]
    portable_hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(
    catalog: Catalog, storage: Storage, limits: EngineLimits, record: DatasetRecord, *, portable: bool = False
) -> VerifyReport:
    """Read every object of a dataset that counts, from where it is stored, and compare it with what the catalog says.

    Memory is bounded by `limits`: one segment is read at a time. Of remote objects those of one partition are on the
    disk at a time. The version is pinned meanwhile, so builds and collections beside it are no findings. `portable`: compute the
    content hashes that do not depend on DuckDB, too.

    Raises:
        OwnershipError: a storage target of the dataset is not this catalog's.
        UnavailableError: the store can't be listed, or the pin on the version was lost.
    """
    for target in sorted({record.storage, *catalog.moving.held(record.id)}):
        confirm(catalog, storage, target)
    with _pinned(catalog, record) as pin, connect(limits) as con, _afresh(storage) as objects:
        version = pin.version
        segments = catalog.manifest.segments(record.id, version=version)
        listing = _Listing(storage, record.name)
        known = {ObjectName(target, name) for target in storage.names for name in catalog.objects.known(target)}
        reader = SegmentReader(con=con, storage=objects, catalog=catalog, record=record)
        sealed = _sealed(catalog.partitions.of(record.id), version)
        letters = [file for _, file, _ in catalog.dead_letters.of(record.id)]
        findings = [finding for file in letters for finding in _dead_letters(file, listing, objects, pin)]
        digests = catalog.manifest.digests([segment.id for segment in segments])
        proving = _Proving(segments, digests, listing, reader)
        hashed = foreign = 0
        portables: dict[str, str] = {}
        for start, group in groupby(segments, key=lambda segment: segment.partition_start):
            members = list(group)
            wrong = [one for segment in members for one in _segment(segment, proving, pin)]
            # what is wrong with an object is said once, whatever shares it
            findings += [one for one in wrong if one not in findings]
            if start in sealed and LOST.isdisjoint(finding.problem for finding in wrong):
                found = _content(sealed[start], members, reader, pin)
                findings += found or ()
                if portable:
                    portables[sealed[start].partition.key] = reader.portable_hash(members)
                hashed, foreign = hashed + (found is not None), foreign + (found is None)
            objects.forget(but=proving.shared)
        objects.forget()
        findings += archive_findings(catalog, storage, record, size=listing.size, reader=objects)
        live = frozenset(segment.name for segment in segments)
        findings += tag_findings(catalog, record, live=live, size=listing.size, reader=objects)
    return VerifyReport(
        dataset=record.name,
        manifest_version=version,
        segments=len(segments),
        rows=sum(segment.rows for segment in segments),
        bytes=sum(segment.bytes for segment in segments),
        hashed_partitions=hashed,
        foreign_hashes=foreign,
        undigested=len(segments) - len(digests) + sum(file.sha256 is None for file in letters),
        findings=tuple(findings),
        orphans=tuple(sorted(place.name for place in listing.names if place not in known)),
        portable_hashes=portables,
    )


@contextmanager
def _afresh(storage: Storage) -> Iterator[UncachedReader]:
    objects = UncachedReader(storage)
    try:
        yield objects
    finally:
        objects.forget()


@contextmanager
def _pinned(catalog: Catalog, record: DatasetRecord) -> Iterator[SnapshotPin]:
    """The newest version, pinned however long a segment is read."""
    with LeaseKeeper(catalog) as keeper:
        pin = keeper.keep(SnapshotPin(catalog, record.id, version=None, holder=f"verify:{token_hex(4)}", ttl=_LEASE))
        yield pin
        pin.confirm()


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


def _dead_letters(file: DeadLetterFile, listing: _Listing, objects: UncachedReader, pin: SnapshotPin) -> Iterator[Finding]:
    pin.check()
    if listing.size(file) is None:
        yield Finding(object=file.name, problem="missing", detail=f"{file.rows:,} dead letters are gone")
    elif file.sha256 is not None:
        yield from digest_findings(file, file.sha256, objects)
        objects.forget()


def _sealed(partitions: list[PartitionRecord], version: int) -> dict[datetime, PartitionRecord]:
    """Sealed partitions by start, but for those that changed after the version."""
    return {
        found.partition.start: found
        for found in partitions
        if found.state == "sealed" and found.content_hash and found.manifest_version <= version
    }


class _Proving:
    """Proves objects, each once, however many segments share it."""

    def __init__(self, segments: Iterable[Segment], digests: Mapping[int, str], listing: _Listing, reader: SegmentReader) -> None:
        self._digests, self._listing, self.reader = digests, listing, reader
        self._damage: dict[ObjectName, list[Finding]] = {}
        self._rows = Counter[ObjectName]()
        for one in segments:
            self._rows[ObjectName(one.storage, one.name)] += one.rows

    @property
    def shared(self) -> frozenset[ObjectName]:
        """Objects whose other segments may be still to come."""
        return frozenset(self._damage)

    def size(self, segment: Segment) -> int | None:
        """Bytes of its object, None if it is gone."""
        return self._listing.size(segment)

    def rows(self, segment: Segment) -> int:
        """Rows that go with its object."""
        return self._rows[ObjectName(segment.storage, segment.name)]

    def damage(self, segment: Segment) -> list[Finding]:
        """What is wrong with the bytes of its object."""
        digest = self._digests.get(segment.id)
        if digest is None:
            return []
        if not segment.is_shared:
            return list(digest_findings(segment, digest, self.reader.storage))
        name = ObjectName(segment.storage, segment.name)
        if name not in self._damage:
            self._damage[name] = list(digest_findings(segment, digest, self.reader.storage))
        return self._damage[name]


def _segment(segment: Segment, proving: _Proving, pin: SnapshotPin) -> Iterator[Finding]:
    pin.check()
    reader, size = proving.reader, proving.size(segment)
    if size is None:
        yield Finding(object=segment.name, problem="missing", detail=f"{proving.rows(segment):,} rows are gone")
        return
    if size != object_size(segment):
        detail = f"the file has {size:,} bytes, the catalog says {object_size(segment):,}"
        yield Finding(object=segment.name, problem="bytes", detail=detail)
    damage = proving.damage(segment)
    yield from damage
    if damage:
        return  # whatever else its rows say is no news, and DuckDB need not try them
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
        yield from _differences(segment, facts.stats, reader.time_column(segment))


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


def _content(
    partition: PartitionRecord, segments: list[Segment], reader: SegmentReader, pin: SnapshotPin
) -> tuple[Finding, ...] | None:
    """What is wrong with a partition's content; None where its hash is one that this DuckDB can't make."""
    pin.check()
    found = reader.content_hash(segments, wanted=partition.content_hash or EMPTY)
    if found in (None, partition.content_hash):
        return None if found is None else ()
    detail = f"the rows hash to {found}, the catalog says {partition.content_hash}"
    return (Finding(object=partition.partition.key, problem="content", detail=detail),)

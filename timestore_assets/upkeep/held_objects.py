"""Proving what is kept beside the newest version: archives of dropped columns, and the versions that tags name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.repairs import ArchiveFile
from timestore_assets.model.errors import BadFileError, InputError, UnavailableError
from timestore_assets.model.segment import Placed, object_size
from timestore_assets.storage.object_store import ObjectReader, sha256_of
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.verify_findings import Finding

Size = Callable[[Placed], int | None]
"""Bytes of an object, None if it is gone."""


def digest_findings(placed: Placed, said: str, storage: ObjectReader, *, of: str = "") -> Iterator[Finding]:
    """What is wrong with the bytes of an object. `of`: what it belongs to, as the detail's end says it."""
    try:
        with storage.reading([placed]) as (path,):
            found = sha256_of(path)
    except (BadFileError, UnavailableError) as error:
        yield Finding(object=placed.name, problem="unreadable", detail=f"{error}{of}")
    except OSError as error:
        yield Finding(object=placed.name, problem="unreadable", detail=f"the file can't be read: {error.strerror or error}{of}")
    else:
        yield from _compared(placed.name, said, found, of)


def archive_findings(
    catalog: Catalog, storage: Storage, record: DatasetRecord, *, size: Size, reader: ObjectReader
) -> Iterator[Finding]:
    """What is wrong with the archives of a dataset."""
    for archive in catalog.repairs.archives(record.id):
        if Path(archive.storage).is_absolute():
            yield from _in_folder(archive, Path(archive.storage) / archive.name)
        elif archive.storage not in storage.names:
            yield Finding(object=archive.name, problem="missing", detail=f"its storage target {archive.storage} is not set up")
        else:
            yield from _stored(archive, size, reader)


def tag_findings(
    catalog: Catalog, record: DatasetRecord, *, live: frozenset[str], size: Size, reader: ObjectReader
) -> Iterator[Finding]:
    """Tags whose version can't be read, and what is wrong with the segments that they alone keep. `live`: names of the others."""
    seen = set(live)
    for tag in catalog.repairs.tags(record.id):
        if not tag.is_readable:
            detail = f"version {tag.version} can't be read any more; remove the tag"
            yield Finding(object=f"tag {tag.name}", problem="tag", detail=detail)
            continue
        kept = [
            one for one in catalog.manifest.segments(record.id, version=tag.version, with_stats=False) if one.name not in seen
        ]
        digests = catalog.manifest.digests([segment.id for segment in kept])
        seen.update(segment.name for segment in kept)
        for segment in kept:
            of = f" (kept by the tag {tag.name})"
            found = size(segment)
            if found is None:
                yield Finding(object=segment.name, problem="missing", detail=f"{segment.rows:,} rows are gone{of}")
            elif found != object_size(segment):
                detail = f"the file has {found:,} bytes, the catalog says {object_size(segment):,}{of}"
                yield Finding(object=segment.name, problem="bytes", detail=detail)
            elif segment.id in digests:
                yield from digest_findings(segment, digests[segment.id], reader, of=of)


def _stored(archive: ArchiveFile, size: Size, reader: ObjectReader) -> Iterator[Finding]:
    found = size(archive)
    if found is None:
        yield _gone(archive)
    elif found != archive.bytes:
        yield _other_size(archive, found)
    else:
        yield from digest_findings(archive, archive.sha256, reader, of=" (an archive)")


def _in_folder(archive: ArchiveFile, path: Path) -> Iterator[Finding]:
    try:
        found = path.stat().st_size
        digest = sha256_of(path) if found == archive.bytes else ""
    except FileNotFoundError:
        yield _gone(archive)
    except (OSError, InputError) as error:
        yield Finding(object=archive.name, problem="unreadable", detail=f"the archive can't be read: {error}")
    else:
        if found != archive.bytes:
            yield _other_size(archive, found)
        else:
            yield from _compared(archive.name, archive.sha256, digest, " (an archive)")


def _gone(archive: ArchiveFile) -> Finding:
    return Finding(object=archive.name, problem="missing", detail=f"{archive.rows:,} archived values are gone")


def _other_size(archive: ArchiveFile, found: int) -> Finding:
    detail = f"the archive has {found:,} bytes, the catalog says {archive.bytes:,}"
    return Finding(object=archive.name, problem="bytes", detail=detail)


def _compared(name: str, said: str, found: str, of: str) -> Iterator[Finding]:
    if found != said:
        detail = f"damaged: its bytes hash to {found[:12]}…, those that were committed to {said[:12]}…{of}"
        yield Finding(object=name, problem="digest", detail=detail)

"""The files of a source, wherever its prefix is: by address, as a person names them, and by the time they hold.

A file is known by where it is, also when its content can't be had.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import FileSource
from timestore_assets.sources.files.file_listing import ListedFile, Listing, glob_pattern, list_files
from timestore_assets.sources.files.input_file import FileIdentity, InputFile, LocalFile, as_text, path_at
from timestore_assets.sources.objects.bucket_listing import ObjectFolder
from timestore_assets.sources.objects.object_file import ObjectFile

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.sources.objects.bucket_listing import Settled


def address_of(path: Path, base: Path) -> str:
    """What a file is known by: its path below the base, or its absolute path; `/`-separated."""
    absolute, root = (Path(os.path.abspath(one)) for one in (path, base))  # noqa: PTH100 - a link is known by its own name
    return as_text((absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix())


def local_file(path: Path, base: Path) -> LocalFile:
    """A local file, known by its path below the base, or by its absolute path."""
    return LocalFile(path, address_of(path, base))


def outside_identity(file: InputFile) -> FileIdentity | None:
    """Stands for the identity of a file whose content can't be had: where it is and what it looks like from outside."""
    status = file.looks()
    if status is None:
        return None
    digest = hashlib.sha256(f"unreadable\0{file.address}\0{status.etag}".encode()).hexdigest()
    return FileIdentity(sha256=digest, etag=status.etag, size=status.size)


class SourceFiles(ABC):
    """The files of a source, wherever its prefix is. Addresses are relative to it."""

    @abstractmethod
    def file(self, address: str, expected_bytes: int = 0) -> InputFile:
        """The file at an address that a listing or the catalog gave."""

    @abstractmethod
    def known_as(self, given: Path | InputFile) -> InputFile:
        """A file that a person named, with the address that it has in this source; in full when it lies elsewhere."""

    @abstractmethod
    def pages(self, start: datetime, end: datetime) -> Iterator[Sequence[ListedFile]]:
        """What lies in the folders of `[start, end)` (all, when they aren't named by time), in order of address."""

    def unsettled(self, start: datetime, end: datetime, settled: Settled) -> Iterator[InputFile]:
        """Those files of that time whose fate is not decided yet, in order of address."""
        for files in self.pages(start, end) if start < end else ():
            known = settled([file.address for file in files])
            yield from (self.file(file.address, file.size) for file in files if known.get(file.address) != file.etag)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFolder(SourceFiles):
    """Files of this machine below `folder`."""

    source: FileSource
    folder: Path

    def file(self, address: str, expected_bytes: int = 0) -> LocalFile:  # noqa: ARG002 - nothing is saved by knowing it
        """See `SourceFiles`."""
        return LocalFile(path_at(self.folder, address), address)

    def known_as(self, given: Path | InputFile) -> InputFile:
        """See `SourceFiles`."""
        return local_file(given, self.folder) if isinstance(given, Path) else given

    def listing(self, start: datetime, end: datetime) -> Listing:
        """Everything, or what lies in the folders of `[start, end)` when they are named by time; and what can't be listed."""
        times = self.source.times
        if times is None:
            return list_files(self.folder, self.source.glob)
        roots = [self.folder / name for name in times.folders(start, end)]
        found = [list_files(root, self.source.glob, base=self.folder) for root in roots if root.exists()]
        return Listing(
            files=tuple(file for one in found for file in one.files),
            problems=tuple(problem for one in found for problem in one.problems),
        )

    def pages(self, start: datetime, end: datetime) -> Iterator[Sequence[ListedFile]]:
        """See `SourceFiles`; one page."""
        yield self.listing(start, end).files


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketFolder(SourceFiles):
    """Objects of a bucket below `folder`, whose `times` are those of the source."""

    folder: ObjectFolder

    def file(self, address: str, expected_bytes: int = 0) -> ObjectFile:
        """See `SourceFiles`."""
        return self.folder.file(address, expected_bytes=expected_bytes)

    def known_as(self, given: Path | InputFile) -> InputFile:
        """See `SourceFiles`."""
        if isinstance(given, Path):
            return LocalFile(given)
        if isinstance(given, ObjectFile) and given.uri.startswith(self.folder.uri):
            return ObjectFile(given.bucket, given.key, given.uri.removeprefix(self.folder.uri))
        return given

    def pages(self, start: datetime, end: datetime) -> Iterator[Sequence[ListedFile]]:
        """See `SourceFiles`."""
        times = self.folder.times
        after, before = times.bounds(start, end) if times else ("", None)
        for page in self.folder.pages(after=after, before=before):
            yield page.files


def source_files(settings: Settings, source: FileSource) -> SourceFiles:
    """The files of a source. Errors as `bucket_folder`."""
    return local_folder(settings, source) if source.scheme is None else bucket_folder(settings, source)


def local_folder(settings: Settings, source: FileSource) -> LocalFolder:
    """The folder of a source without a scheme; relative prefixes lie in TIMESTORE_HOME."""
    return LocalFolder(source=source, folder=settings.home_folder / _base(source))


def bucket_folder(settings: Settings, source: FileSource) -> BucketFolder:
    """The objects of a source with a scheme.

    Raises:
        InputError: a setting or the glob makes no sense. UnavailableError: there are no credentials.
    """
    from timestore_assets.storage.remote.buckets import open_bucket

    glob_pattern(source.glob)
    bucket = open_bucket(settings, _base(source))
    root = f"{bucket.prefix.strip('/')}/" if bucket.prefix.strip("/") else ""
    return BucketFolder(folder=ObjectFolder(bucket=bucket, root=root, glob=source.glob, times=source.times))


def _base(source: FileSource) -> str:
    return source.times.base if source.times else source.prefix

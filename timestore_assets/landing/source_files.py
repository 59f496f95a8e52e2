"""The files of a source, wherever its prefix is: by address, as a person names them, and by the time they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.landing.addresses import local_file
from timestore_assets.model.dataset import FileSource
from timestore_assets.sources.files.input_file import InputFile, LocalFile
from timestore_assets.sources.files.listing import ListedFile, Listing, glob_pattern, list_files
from timestore_assets.sources.objects.file import ObjectFile
from timestore_assets.sources.objects.listing import ObjectFolder

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.sources.objects.round import Settled


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFiles:
    """`folder`: what addresses are relative to."""

    source: FileSource
    folder: Path | ObjectFolder

    def file(self, address: str, expected_bytes: int = 0) -> InputFile:
        """The file at an address that a listing or the catalog gave."""
        if isinstance(self.folder, ObjectFolder):
            return self.folder.file(address, expected_bytes=expected_bytes)
        return local_file(self.folder / address, self.folder)

    def known_as(self, given: Path | InputFile) -> InputFile:
        """A file that a person named, with the address that it has in this source; in full when it lies elsewhere."""
        if isinstance(given, Path):
            return local_file(given, self.folder) if isinstance(self.folder, Path) else LocalFile(given)
        if isinstance(given, ObjectFile) and isinstance(self.folder, ObjectFolder) and given.uri.startswith(self.folder.uri):
            return ObjectFile(given.bucket, given.key, given.uri.removeprefix(self.folder.uri))
        return given

    def listing(self, start: datetime, end: datetime) -> Listing:
        """What a local folder holds: everything, or what lies in the folders of `[start, end)` when they are named by time."""
        if not isinstance(self.folder, Path):
            raise TypeError(f"{self.source.prefix} is no local folder")
        times = self.source.times
        if times is None:
            return list_files(self.folder, self.source.glob)
        roots = [self.folder / name for name in times.folders(start, end)]
        found = [list_files(root, self.source.glob, base=self.folder) for root in roots if root.exists()]
        return Listing(
            files=tuple(file for one in found for file in one.files),
            problems=tuple(problem for one in found for problem in one.problems),
        )

    def unsettled(self, start: datetime, end: datetime, settled: Settled) -> Iterator[InputFile]:
        """The files of that time (all, when the path has no time in it) whose fate is not decided yet, in order of address."""
        for files in self._pages(start, end):
            known = settled([file.address for file in files])
            yield from (self.file(file.address, file.size) for file in files if known.get(file.address) != file.etag)

    def _pages(self, start: datetime, end: datetime) -> Iterator[Sequence[ListedFile]]:
        if start >= end:
            return
        if not isinstance(self.folder, ObjectFolder):
            yield self.listing(start, end).files
            return
        times = self.source.times
        after, before = times.bounds(start, end) if times else ("", None)
        for page in self.folder.pages(after=after, before=before):
            yield page.files


def source_files(settings: Settings, source: FileSource) -> SourceFiles:
    """The files of a source; relative prefixes lie in TIMESTORE_HOME.

    Raises:
        InputError: a setting or the glob makes no sense. UnavailableError: there are no credentials.
    """
    base = source.times.base if source.times else source.prefix
    if source.scheme is None:
        return SourceFiles(source=source, folder=settings.home_folder / base)
    from timestore_assets.storage.remote.buckets import open_bucket

    glob_pattern(source.glob)
    bucket = open_bucket(settings, base)
    root = f"{bucket.prefix.strip('/')}/" if bucket.prefix.strip("/") else ""
    return SourceFiles(source=source, folder=ObjectFolder(bucket=bucket, root=root, glob=source.glob, times=source.times))

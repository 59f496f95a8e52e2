"""The port every object store implements. Objects are immutable: written once under a new name, read, deleted.

Names are those that every store can hold; which are not, and why, is said here. The digest of an object's bytes is made where its
file is finished, kept by the catalog, and compared before the bytes count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from timestore_assets.model.errors import DamagedError, InputError
from timestore_assets.model.segment import ObjectName, Placed, Segment

_LONGEST_PART = 255  # bytes; the limit of a file name on the usual file systems

MARKS = "_warehouse/"
"""Below it lie the marks that say whose a target is; no dataset can be named so."""


def is_listed(name: str, prefix: str) -> bool:
    """Whether a listing by that prefix shows the object: marks only to those who ask for them."""
    return name.startswith(prefix) and (prefix.startswith(MARKS) or not name.startswith(MARKS))


def checked(name: str) -> str:
    """The name, when every store can hold it below its root.

    Parts are separated by `/`; none is empty, begins with a dot, or holds a backslash or control character.

    Raises:
        InputError: the name could lead outside the root, into the staging area, or nowhere.
    """
    for part in name.split("/"):
        if not part or part.startswith(".") or "\\" in part or not part.isprintable() or len(part.encode()) > _LONGEST_PART:
            raise InputError(f"{name!r} is no object name: its part {part!r} is empty, too long, hidden or has odd characters")
    return name


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """An object as the store lists it."""

    #: Path inside the store, `/`-separated.
    name: str
    #: Its size.
    bytes: int
    #: When its content was written (aware, UTC), by the store's clock.
    modified: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRequest:
    """An object about to be read. `bytes`: its size. `columns`: of a Parquet segment only these, everything when None."""

    name: str
    bytes: int
    columns: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A finished local file and the name it gets in the store. `sha256`: its digest in hex, where that is known already."""

    staged: Path
    name: str
    sha256: str | None = None


class ObjectStore(Protocol):
    """One storage target, where segments and dead letters live.

    Names are validated (no `..`, no absolute path, no backslash); nothing outside the root is reachable. Whatever can't be
    reached raises UnavailableError with one sentence that names the target and holds no secret.
    """

    def staging(self, label: str) -> Path:
        """A new empty local folder in which files are written before `promote`; gone ones are swept by `sweep_staging`."""

    def promote(self, uploads: Sequence[Upload]) -> list[str]:
        """Make the staged files appear under their names, durable when this returns; the files may be gone then.

        Returns their digests (SHA-256, hex): made here, where hashing goes on while the disk or the network is waited for.

        Raises:
            ConflictError: a name already exists (objects are never overwritten).
            StorageFullError: no room is left. Objects of the call that were already made stay, for the collector.
        """

    def mark(self, upload: Upload) -> None:
        """Make an object that is no content but says whose the target is; as `promote`."""

    def reading(self, wanted: Sequence[ObjectRequest]) -> AbstractContextManager[list[Path]]:
        """Local files with the objects' content, in order; they stay what and where they are inside the `with`.

        Raises:
            UnavailableError: an object is missing.
        """

    def fetch(self, name: str, to: Path) -> None:
        """Write the object's content, verified where the store can tell, to a new local file; for copying it elsewhere.

        Raises:
            MissingObjectError: there is none. BadFileError: it is not what was written.
        """

    def address(self, name: str) -> str:
        """The URI of the object."""

    def path(self, name: str) -> Path | None:
        """The object's own file, for as long as the object is there; None when the target is no folder of this machine."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose names start with `prefix`, in name order. One that was made a moment ago may be left out.

        Those below `MARKS` are shown only to whoever asks for them.
        """

    def size(self, name: str) -> int | None:
        """Bytes of one object, by looking at it alone; None when there is none."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; a missing one is no error."""

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging folders left by dead processes; returns how many."""


class ObjectReader(Protocol):
    """Objects of any target as local files; `storage.targets.Storage` is the usual one."""

    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> AbstractContextManager[list[Path]]:
        """Local files with the objects' content, in order, valid inside the `with`.

        `columns`: of Parquet segments only these (and hidden ones among them) are going to be read, all when None; the rest of
        such a file may then be a hole.

        Raises:
            UnavailableError: an object is missing, or its target can't be reached. InputError: no such target is set up.
        """


_THREADS = 4  # hashing leaves Python alone, and whoever waits for a disk leaves the cores to the others


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(paths: Iterable[Path]) -> list[str]:
    """The digests of several files, in their order, some of them at the same time."""
    files = list(paths)
    if len(files) < 2:
        return [sha256_of(path) for path in files]
    with ThreadPoolExecutor(min(_THREADS, len(files))) as pool:
        try:
            return list(pool.map(sha256_of, files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def first_damaged(segments: Sequence[Segment], digests: Mapping[int, str], *, storage: ObjectReader) -> Segment | None:
    """The first of these segments whose bytes are not those that were committed; None when all are.

    `digests`: by segment id, as `Manifest.digests` gives them; a segment without one passes.

    Raises:
        UnavailableError: an object is missing, or its target can't be reached. BadFileError: it did not arrive as it was sent.
    """
    first_of: dict[ObjectName, Segment] = {}  # what several of them share is hashed once
    for segment in segments:
        if segment.id in digests:
            first_of.setdefault(ObjectName(segment.storage, segment.name), segment)
    known = list(first_of.values())
    with storage.reading(known) as paths:
        found = digests_of(paths)
    return next((one for one, digest in zip(known, found, strict=True) if digest != digests[one.id]), None)


def damaged(kind: str, name: str, what: str) -> DamagedError:
    """The error that names a damaged object. `kind`: what it is; `what`: how the sentence ends."""
    return DamagedError(name, f"{kind} {name} is damaged: its bytes are not those that were committed; {what}")

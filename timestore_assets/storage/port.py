"""The port every object store implements. Objects are immutable: written once under a new name, read, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from timestore_assets.model.objects import Placed


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """An object as the store lists it. `name`: path inside the store, `/`-separated. `bytes`: its size.

    `modified`: when its content was written (aware, UTC), by the store's clock.
    """

    name: str
    bytes: int
    modified: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An object about to be read. `bytes`: its size. `columns`: of a Parquet segment only these, everything when None."""

    name: str
    bytes: int
    columns: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A finished local file and the name it gets in the store."""

    staged: Path
    name: str


class ObjectStore(Protocol):
    """One storage target, where segments and dead letters live.

    Names are validated (no `..`, no absolute path, no backslash); nothing outside the root is reachable. Whatever can't be
    reached raises UnavailableError with one sentence that names the target and holds no secret.
    """

    def staging(self, label: str) -> Path:
        """A new empty local folder in which files are written before `promote`; gone ones are swept by `sweep_staging`."""

    def promote(self, uploads: Sequence[Upload]) -> None:
        """Make the staged files appear under their names, durable when this returns; the files may be gone then.

        Raises:
            ConflictError: a name already exists (objects are never overwritten).
            StorageFullError: no room is left. Objects of the call that were already made stay, for the collector.
        """

    def reading(self, wanted: Sequence[Wanted]) -> AbstractContextManager[list[Path]]:
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
        """Objects whose names start with `prefix`, in name order. One that was made a moment ago may be left out."""

    def size(self, name: str) -> int | None:
        """Bytes of one object, by looking at it alone; None when there is none."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; a missing one is no error."""

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging folders left by dead processes; returns how many."""


class Readable(Protocol):
    """Objects of any target as local files; `storage.targets.Storage` is the usual one."""

    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> AbstractContextManager[list[Path]]:
        """Local files with the objects' content, in order, valid inside the `with`.

        `columns`: of Parquet segments only these (and hidden ones among them) are going to be read, all when None; the rest of
        such a file may then be a hole.

        Raises:
            UnavailableError: an object is missing, or its target can't be reached. InputError: no such target is set up.
        """

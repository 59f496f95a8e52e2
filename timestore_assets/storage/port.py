"""The port every object store implements. Objects are immutable: written once under a new name, read, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """An object as the store lists it. `name`: path inside the store, `/`-separated. `bytes`: its size.

    `modified`: when its content was written (aware, UTC), by the store's clock.
    """

    name: str
    bytes: int
    modified: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A finished local file and the name it gets in the store."""

    staged: Path
    name: str


class ObjectStore(Protocol):
    """Where segments and dead letters live.

    Names are validated (no `..`, no absolute path, no backslash); nothing outside the root is reachable.
    """

    def staging(self, label: str) -> Path:
        """A new empty local folder in which files are written before `promote`; gone ones are swept by `sweep_staging`."""

    def promote(self, uploads: Sequence[Upload]) -> None:
        """Sync the staged files and make them appear under their names, durable when this returns.

        Raises:
            ConflictError: a name already exists (objects are never overwritten).
            StorageFullError: no room is left. Objects of the call that were already made stay, for the collector.
        """

    def local_path(self, name: str) -> Path:
        """A local file with the object's content, for DuckDB to read; remote stores go through the read cache.

        Raises:
            UnavailableError: the object is missing or the store can't be reached.
        """

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose names start with `prefix`, in name order."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; a missing one is no error."""

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging folders left by dead processes; returns how many."""

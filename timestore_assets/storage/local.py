"""An object store in a local folder. Objects appear whole, durable and under a new name, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from timestore_assets.file_access import make_folder, seal, sync
from timestore_assets.model.errors import ConflictError, MissingObjectError
from timestore_assets.storage.disk_errors import file_failures
from timestore_assets.storage.object_store import ObjectRequest, StoredObject, Upload, checked, is_listed, sha256_of
from timestore_assets.storage.staging import StagingArea

T = TypeVar("T")

_SYNC_THREADS = 8  # a sync waits for the disk, not for a core; the file system batches those that wait together
_SYNCED_AT_ONCE = 32
"""Files that one thread syncs before it comes back for more: handing over each costs as much as syncing it."""
_ATTEMPTS = 100


class LocalStore:
    """`storage.object_store.ObjectStore` on a local file system.

    Staging has to lie on the same file system as the root, because an object appears by a hard link to its staged file:
    that is atomic and, unlike a rename, fails when the name is taken.
    """

    def __init__(self, root: Path, *, staging_root: Path) -> None:
        self.root, self._staging_root = root, staging_root
        self._staging = StagingArea(staging_root)
        with file_failures(root):
            make_folder(root)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the same folders."""
        return partial(LocalStore, staging_root=self._staging_root), (self.root,)

    def staging(self, label: str) -> Path:
        """A new empty folder for files that `promote` will take."""
        with file_failures(self.root):
            return self._staging.folder(label)

    def promote(self, uploads: Sequence[Upload]) -> list[str]:
        """Sync the staged files, link them under their names, and sync the folders they appeared in; returns their digests."""
        return self._make(uploads)

    def mark(self, upload: Upload) -> None:
        """The same for one that says whose the folder is."""
        self._make([upload])

    def _make(self, uploads: Sequence[Upload]) -> list[str]:
        targets = [(upload.staged, self.root / checked(upload.name)) for upload in uploads]
        if not targets:
            return []
        needed = sum(staged.stat().st_size for staged, _ in targets)
        with file_failures(self.root, needed=needed), ThreadPoolExecutor(min(_SYNC_THREADS, len(targets))) as pool:
            digests = list(chain.from_iterable(pool.map(_seal_all, _handed_out(uploads))))
            made: set[Path] = set()
            for staged, target in targets:
                self._place(staged, target, made)
            for _ in pool.map(_sync_all, _handed_out(list(self._folders_of(made)))):
                pass
        for staged, _ in targets:
            staged.unlink(missing_ok=True)
        return digests

    def local_path(self, name: str) -> Path:
        """The object's own file."""
        path = self.root / checked(name)
        with file_failures(self.root):
            if not path.is_file():
                raise MissingObjectError(f"object {name} is missing from {self.root}; run `timestore verify` to see what else is")
        return path

    @contextmanager
    def reading(self, wanted: Sequence[ObjectRequest]) -> Iterator[list[Path]]:
        """The objects' own files."""
        yield [self.local_path(one.name) for one in wanted]

    def fetch(self, name: str, to: Path) -> None:
        """Copy the object's file."""
        with file_failures(to.parent):
            shutil.copyfile(self.local_path(name), to)

    def address(self, name: str) -> str:
        """The `file:` URI of the object."""
        return (self.root / checked(name)).as_uri()

    def path(self, name: str) -> Path:
        """The object's own file."""
        return self.root / checked(name)

    def size(self, name: str) -> int | None:
        """Bytes of the object; None when there is none."""
        path = self.path(name)
        with file_failures(self.root):
            return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects in order of their names; hidden files and folders (the staging area among them) are none."""
        with file_failures(self.root):
            yield from _walk(self.root, "", prefix)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, and folders that become empty by it."""
        with file_failures(self.root):
            for name in names:
                path = self.root / checked(name)
                path.unlink(missing_ok=True)
                _prune(path.parent, self.root)

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging folders of processes that are gone."""
        with file_failures(self.root):
            return self._staging.sweep(older_than_seconds)

    def _place(self, staged: Path, target: Path, made: set[Path]) -> None:
        """Link a staged file under its name. `made`: folders that are there, as far as is known."""
        folder = target.parent
        for attempt in range(_ATTEMPTS):
            try:
                if attempt or folder not in made:
                    make_folder(folder)
                    made.add(folder)
                os.link(staged, target)
                return
            except FileExistsError:
                raise ConflictError(
                    f"object {target.relative_to(self.root)} exists already; objects are never overwritten"
                ) from None
            except FileNotFoundError:
                # `delete` pruned the folder between the two calls
                if attempt == _ATTEMPTS - 1 or not staged.exists():
                    raise

    def _folders_of(self, folders: Iterable[Path]) -> set[Path]:
        """All folders from the root down to these: a new entry lasts once the folder that lists it is synced."""
        found = {self.root}
        for folder in folders:
            while folder not in found:
                found.add(folder)
                folder = folder.parent
        return found


def _handed_out(items: Sequence[T]) -> list[Sequence[T]]:
    """Items in parts for threads, small ones where there are few."""
    each = max(1, min(_SYNCED_AT_ONCE, len(items) // _SYNC_THREADS))
    return [items[at : at + each] for at in range(0, len(items), each)]


def _sync_all(folders: Sequence[Path]) -> None:
    for folder in folders:
        sync(folder)


def _seal_all(uploads: Sequence[Upload]) -> list[str]:
    return [_seal(upload) for upload in uploads]


def _seal(upload: Upload) -> str:
    # read-only, so that a DuckDB shell opened on a segment can neither change it nor lock out the readers
    seal(upload.staged)
    digest = upload.sha256 or sha256_of(upload.staged)
    sync(upload.staged)
    return digest


def _walk(folder: Path, at: str, prefix: str) -> Iterator[StoredObject]:
    try:
        entries = [(entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in os.scandir(folder)]
    except FileNotFoundError:
        return
    # with the slash the order of a folder among its neighbours is that of the whole names below it
    for key, entry in sorted(entries, key=lambda pair: pair[0]):
        name = at + key
        shared = min(len(name), len(prefix))
        # folders that no name with the prefix lies in are not looked into
        if key.startswith(".") or name[:shared] != prefix[:shared]:
            continue
        if key.endswith("/"):
            yield from _walk(Path(entry.path), name, prefix)
        elif is_listed(name, prefix) and entry.is_file(follow_symlinks=False):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # collected by somebody else since the folder was read
            yield StoredObject(name=name, bytes=status.st_size, modified=datetime.fromtimestamp(status.st_mtime, UTC))


def _prune(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent

"""The declaration files of the configured folders, read once and again when one of them changes.

A file that is wrong by now does not take away what it declared before: a process that runs goes on by its last good text, and
says so. What a process begins with has to be right.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from timestore_assets.declarations import by_name, datasets_in_project, declaration_files, declared_twice, read_declaration
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError, RefusedError

LOG = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int]
"""Of a file: device, inode, size, nanoseconds of its last change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeclaredFile:
    """A declaration file. `written`: when it was last changed. `problem`: why `dataset` is not what it says now, if so."""

    path: Path
    dataset: Dataset | None
    written: datetime
    problem: str = ""


class DeclarationFiles:
    """Not thread-safe: one thread looks at a time. What is read of it is replaced, and never changed.

    Attributes: `by_name`, the file of each dataset; `problems`, a sentence for each file that can't be followed, with file and
    line where that is known.
    """

    by_name: Mapping[str, DeclaredFile]
    problems: Sequence[str]

    def __init__(self, folders: Iterable[Path], *, project: Path | None = None) -> None:
        """Read all.

        `project`: the folder of a Dagster project's components, whose datasets are read now and stay; a project is deployed anew.

        Raises:
            DeclarationError: a declaration is wrong, or two declare the same name. InputError: a folder is a file.
        """
        self._folders = tuple(folders)
        self._stamps = _stamps(self._folders)
        self._files = {path: _read(path) for path in declaration_files(self._folders)}
        self._in_project = [] if project is None else _in_project(project, but={path.resolve() for path in self._files})
        all_of_them = (*self._files.values(), *self._in_project)
        by_name((file.path, file.dataset) for file in all_of_them if file.dataset is not None)
        self._take_up()

    def look(self, accept: Callable[[DeclaredFile], None]) -> bool:
        """Read again what has changed; whether anything had.

        `accept`: called with each that was read; a RefusedError of it leaves the file's dataset as it was.
        """
        stamps = _stamps(self._folders)
        if stamps == self._stamps:
            return False
        changed = {path for path, stamp in stamps.items() if self._stamps.get(path) != stamp}
        # a folder that has become a file holds none
        folders = [folder for folder in self._folders if not folder.is_file()]
        present = [path for path in declaration_files(folders) if str(path) in stamps]
        before = self._files
        self._files = {
            path: before[path] if path in before and str(path) not in changed else _read_again(path, before.get(path), accept)
            for path in present
        }
        self._stamps = stamps
        self._take_up()
        return True

    def _take_up(self) -> None:
        served: Mapping[str, DeclaredFile] = getattr(self, "by_name", {})
        # of two that declare the same name, the one that did so first goes on
        ordered = sorted(
            (file for file in (*self._files.values(), *self._in_project) if file.dataset is not None),
            key=lambda file: served.get(_name(file), file).path != file.path,
        )
        found: dict[str, DeclaredFile] = {}
        problems = [file.problem for file in self._files.values() if file.problem]
        for file in ordered:
            other = found.setdefault(_name(file), file)
            if other is not file:
                problems.append(str(declared_twice(_name(file), file.path, other.path)))
        for problem in problems:
            if problem not in getattr(self, "problems", ()):
                LOG.warning("%s", problem)
        self.by_name, self.problems = found, tuple(problems)


def _name(file: DeclaredFile) -> str:
    return file.dataset.name if file.dataset else ""


def _in_project(project: Path, *, but: Collection[Path]) -> list[DeclaredFile]:
    return [
        DeclaredFile(path=path, dataset=dataset, written=_written(path))
        for dataset, path in datasets_in_project(project)
        if path.resolve() not in but
    ]


def _read(path: Path) -> DeclaredFile:
    written = _written(path)  # first: what is changed while it is read is newer, and read again
    return DeclaredFile(path=path, dataset=read_declaration(path), written=written)


def _read_again(path: Path, before: DeclaredFile | None, accept: Callable[[DeclaredFile], None]) -> DeclaredFile:
    written = _written(path)
    goes_on = "; until then its last good declaration counts" if before and before.dataset else ""
    kept = before or DeclaredFile(path=path, dataset=None, written=written)
    try:
        found = _read(path)
    except DeclarationError as error:
        return replace(kept, problem=f"{error}{goes_on}")
    try:
        accept(found)
    except (RefusedError, DeclarationError) as error:
        return replace(kept, problem=f"{path}: {error}{goes_on}")
    return found


def _written(path: Path) -> datetime:
    with suppress(OSError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return datetime.now(UTC)


def _stamps(folders: Iterable[Path]) -> dict[str, Stamp]:
    """What tells whether a file has changed, by path; strings and `os`, because each request may ask."""
    found: dict[str, Stamp] = {}
    for folder in folders:
        root = os.fspath(folder)
        names = [os.path.join(root, "defs.yaml")]  # noqa: PTH118 - Path's takes ten times as long
        with suppress(OSError), os.scandir(root) as entries:
            names += sorted(f"{entry.path}/defs.yaml" for entry in entries)
        for name in names:
            with suppress(OSError):
                status = os.stat(name)  # noqa: PTH116 - as above
                found[name] = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return found

"""Who but its owner may read what this package writes on this machine. Like a umask it belongs to the whole process."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

Access = Literal["private", "group", "umask"]
VARIABLE = "TIMESTORE_FILE_ACCESS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Modes:
    """`folder`, `file`, `sealed`: modes of what is made, of finished files the last. `umask`: what files of libraries lack."""

    folder: int
    file: int
    sealed: int
    umask: int | None


_MODES: dict[Access, Modes] = {
    "private": Modes(folder=0o700, file=0o600, sealed=0o400, umask=0o077),
    "group": Modes(folder=0o750, file=0o640, sealed=0o440, umask=0o027),
    "umask": Modes(folder=0o777, file=0o666, sealed=0o444, umask=None),
}
_chosen: Access | None = None
_persons_umask: int | None = None


def use(access: Access) -> None:
    """From now on this holds in this process."""
    global _chosen
    _chosen = access


def modes() -> Modes:
    """What holds: as `use` said last, else the environment."""
    if _chosen is not None:
        return _MODES[_chosen]
    named = os.environ.get(VARIABLE, "private")
    return _MODES[cast(Access, named) if named in get_args(Access) else "private"]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; one that is there keeps its mode. OSError as `Path.mkdir`."""
    wanted = modes()
    if wanted.umask is None:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        try:
            folder.mkdir(wanted.folder)
        except FileExistsError:
            if not folder.is_dir():
                raise
        else:
            # the umask may have taken what the group shall have; bits that a folder inherits stay
            made = stat.S_IMODE(folder.stat().st_mode)
            if made & 0o777 != wanted.folder:
                folder.chmod((made & 0o7000) | wanted.folder)


def is_wider(folder: Path) -> bool:
    """Whether a folder that is there lets in more people than one that would be made now. OSError as `Path.stat`."""
    return bool(folder.stat().st_mode & 0o777 & ~modes().folder)


def make_file(path: Path) -> None:
    """Make an empty file for a library that would make it by the umask; one that is there stays. OSError as `os.open`."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, modes().file)
        try:
            if modes().umask is not None:
                os.fchmod(handle, modes().file)
        finally:
            os.close(handle)


def seal(path: Path) -> None:
    """Make a finished file read-only, also for its owner."""
    path.chmod(modes().sealed)


def sync(path: Path) -> None:
    """Wait until what a file holds, or which names a folder has, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def as_umask() -> Iterator[None]:
    """While entered, files of libraries are kept to ourselves too. For processes that are this package's own."""
    global _chosen, _persons_umask
    _chosen = None
    wanted = modes().umask
    if wanted is None:
        yield
        return
    _persons_umask = before = os.umask(wanted)
    try:
        yield
    finally:
        os.umask(before)
        _persons_umask = None


def persons_umask() -> int:
    """What the umask was before `as_umask`, -1 where it still is: for a person's own files and programs."""
    return -1 if _persons_umask is None else _persons_umask


def hand_over(path: Path) -> None:
    """Give a file that a person asked for somewhere else the mode that it has with any other program."""
    if (umask := persons_umask()) >= 0:
        path.chmod(0o666 & ~umask)

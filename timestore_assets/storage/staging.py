"""Folders in which files are written before they become objects, and how those of dead processes are told from live ones."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import secrets
import shutil
import threading
import time
import weakref
from pathlib import Path

from timestore_assets.file_access import make_folder, modes

_LOCK = "lock"
_YOUNG_SECONDS = 60.0


class StagingArea:
    """One folder a process, held by a lock that the kernel drops when the process dies, whatever it died of.

    A process id alone would not do: ids are used again, after a reboot at the latest.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)
        self._own: Path | None = None
        self._owner = 0

    def folder(self, label: str) -> Path:
        """A new empty folder; `label` is only there for people who look at the disk."""
        made = self._process_folder() / f"{next(self._numbers):06d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', label)[:80]}"
        make_folder(made)
        return made

    def sweep(self, older_than_seconds: float) -> int:
        """Remove folders whose process is gone and that nobody touched for so long; returns how many."""
        removed = 0
        for folder in sorted(self._root.glob("*/")):
            if folder != self._own and _age(folder) >= older_than_seconds and _remove_dead(folder):
                removed += 1
        return removed

    def _process_folder(self) -> Path:
        with self._guard:
            # after a fork the child must not use its parent's folder: the parent may end first and others sweep it
            if self._own is None or self._owner != os.getpid() or not self._own.exists():
                self._own, handle = _claim(self._root)
                self._owner = os.getpid()
                weakref.finalize(self, _leave, self._own, handle, self._owner)
            return self._own


def _claim(root: Path) -> tuple[Path, int]:
    while True:
        folder = root / f"{os.getpid()}-{secrets.token_hex(6)}"
        make_folder(folder)
        handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, modes().file)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # a sweep may have taken the lock between the two calls, and the folder with it
        if os.fstat(handle).st_nlink:
            return folder, handle
        os.close(handle)


def _leave(folder: Path, handle: int, owner: int) -> None:
    """Give up a folder: it goes at once when nothing but the lock is left in it, else with the next sweep."""
    if owner != os.getpid():
        return
    with contextlib.suppress(OSError):
        if [found.name for found in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
    os.close(handle)


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return -1.0


def _remove_dead(folder: Path) -> bool:
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # its process is, or died, between making the folder and the lock
        if _age(folder) < _YOUNG_SECONDS:
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)

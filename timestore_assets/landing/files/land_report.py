"""What a landing call says about itself, while it runs and when it is done.

What its threads do is told as progress of files, by one at a time.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from timestore_assets.catalog.records import FileState
from timestore_assets.landing.committing.tally import SessionReport, Tally
from timestore_assets.model.counters import Counters

BUSY = "another session is landing it"
"""Why a file that is landed elsewhere is not landed here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """What this call did with one file."""

    address: str
    state: FileState
    """Where it stands now; `duplicate` also for one that had landed before under the same address."""
    reason: str = ""
    """Why it is not landed."""
    counters: Counters = field(default_factory=Counters)
    """Of the records this call disposed of, not of earlier calls."""
    bytes: int = 0
    """Stored size."""


@dataclass(kw_only=True)
class FileOutcome:
    """What became of a file in one call."""

    report: FileReport
    tally: Tally = field(default_factory=Tally)
    parts: int = 0
    """How many this call landed to their ends."""

    @property
    def is_busy(self) -> bool:
        return self.report.reason == BUSY

    def after(self, earlier: FileOutcome) -> FileOutcome:
        """This outcome of a second look, with what was landed before it counted."""
        if not earlier.tally.counters.read:
            return self
        tally = earlier.tally
        if self.report.state == "duplicate":
            # others have landed the rest of it meanwhile
            report = replace(self.report, state="landed", reason="", counters=tally.counters)
        else:
            tally += self.tally
            report = replace(self.report, counters=tally.counters)
        return FileOutcome(report=report, tally=tally, parts=earlier.parts + self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class LandReport(SessionReport):
    """What one call did with files."""

    files: tuple[FileReport, ...]
    dead_letter_reasons: Mapping[str, int] = field(default_factory=dict)
    """Refused records by reason code."""
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    """Values left out by `columns: discard_value`, by column."""
    discarded_values: Mapping[str, int] = field(default_factory=dict)
    """Values left out by `types: discard_value`, by column."""
    unread_path_columns: tuple[str, ...] = ()
    """Names that folders of the files' paths give to values, which are no columns of the dataset."""
    bytes: int = 0
    """Stored ones of the files that were read."""
    parts: int = 0
    """Files, and parts of large ones, that were landed to their ends."""
    segments: int = 0
    """How many were written."""


def unread_path_sentence(report: LandReport) -> str:
    """What to do about folders whose values were left out; empty when there are none."""
    if not report.unread_path_columns:
        return ""
    names = ", ".join(f"{name}=" for name in report.unread_path_columns)
    return f"{names} in the path of files is not read; `path_columns: hive` at the source makes columns of it"


class LandingListener(Protocol):
    """Told about each file; called by one of the landing threads at a time, so it should be quick."""

    def file_started(self, address: str, size_bytes: int) -> None: ...
    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """Bytes and rows of this file read and judged so far, by all its parts; a commit may follow later."""

    def file_done(self, report: FileReport) -> None: ...


class CombinedProgress:
    """Adds up the parts of each file. Thread-safe; tells nobody when `progress` is None."""

    def __init__(self, progress: LandingListener | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._parts: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)

    def started(self, address: str, size_bytes: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress.file_started(address, size_bytes)

    def advanced(self, address: str, part: int, bytes_read: int, rows: int) -> None:
        """`bytes_read`, `rows`: of this part so far; what earlier calls did may be told as a part of its own."""
        if self._progress is None:
            return
        with self._lock:
            parts = self._parts[address]
            parts[part] = bytes_read, rows
            self._progress.advanced(address, sum(one for one, _ in parts.values()), sum(one for _, one in parts.values()))

    def done(self, report: FileReport) -> None:
        if self._progress is not None:
            with self._lock:
                self._parts.pop(report.address, None)
                self._progress.file_done(report)

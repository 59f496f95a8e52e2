"""What a landing call says about itself, while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from timestore_assets.catalog.records import Counters, FileState, SchemaChange


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """What this call did with one file.

    `state`: where the file stands now; `duplicate` also for one that had landed before under the same address.
    `counters`: of the records this call disposed of, not of earlier calls. `bytes`: stored size. `reason`: why it is not landed.
    """

    address: str
    state: FileState
    reason: str = ""
    counters: Counters = field(default_factory=Counters)
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LandReport:
    """What one call did. `partitions`: keys that got rows, in order. `dead_letter_reasons`: records by reason code.

    `ignored_columns`: values left out by `new_columns: ignore`, by column. `bytes`: stored bytes of the files that were read.
    `parts`: files, and parts of large ones, that were landed to their ends. `segments`: how many were written.
    """

    dataset: str
    files: tuple[FileReport, ...]
    counters: Counters
    manifest_version: int
    partitions: tuple[str, ...]
    schema_changes: tuple[SchemaChange, ...]
    seconds: float
    dead_letter_reasons: Mapping[str, int] = field(default_factory=dict)
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    parts: int = 0
    segments: int = 0


class Progress(Protocol):
    """Told about each file; called by one of the landing threads at a time, so it should be quick."""

    def file_started(self, address: str, size_bytes: int) -> None: ...
    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """Bytes and rows of this file read and judged so far, by all its parts; a commit may follow later."""

    def file_done(self, report: FileReport) -> None: ...

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

    `ignored_columns`: values left out by `new_columns: ignore`, by column.
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


class Progress(Protocol):
    """Told about each file; called from the landing thread, so it should be quick."""

    def file_started(self, address: str, size_bytes: int) -> None: ...
    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """Bytes and rows of this file read and committed so far."""

    def file_done(self, report: FileReport) -> None: ...

"""Spreadsheets of Excel and OpenDocument: each row below the header as a JSON object.

Cells have types and columns have none, so rows go the way of JSON: a whole number is written without a fraction, a date or a
time in ISO 8601, an empty cell is null. A sheet is held in memory as a whole, by a process of its own.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.arrow_json import clock_text
from timestore_assets.sources.batches import BadRecord, FileBatch
from timestore_assets.sources.files.csv.csv_header import check_names
from timestore_assets.sources.files.input_file import InputFile, unreadable
from timestore_assets.sources.files.json_lines import VALUE_COLUMN
from timestore_assets.sources.files.optional_library import format_library
from timestore_assets.sources.files.sheet_worker import SheetWorker
from timestore_assets.sources.files.sheet_worker_process import DURATION
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES, too_long

_BATCH_ROWS = 100_000
_BATCH_BYTES = 32 << 20
_LARGEST_WHOLE = 1e15


@dataclass(kw_only=True)
class SpreadsheetReader:
    """Reads one sheet as `json` batches; a position is the number of rows above the next one. Making one reads the header.

    Raises:
        BadFileError: it can't be read, is too large for the memory, has no such sheet, or names that can't be told apart;
            `missing_package` when python-calamine is not installed.
    """

    file: InputFile
    source: FileSource
    whole_bytes: int | None = None
    chunk_rows: int | None = None
    names: tuple[str, ...] = field(init=False)
    bytes_read: int = field(init=False, default=0)
    _sheet: SheetWorker = field(init=False, repr=False)
    _header: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._sheet = self._opened()
        for number, row in enumerate(self._sheet.all_rows()):
            if number >= self.source.csv.skip and any(cell != "" for cell in row):
                self._header, self.names = number, _names(row)
                break
        else:
            raise BadFileError("empty_file", f"{self.file.name} has an empty sheet {self._sheet.name!r}")
        check_names(self.names, self.file.name)

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`; such a file is not cut into parts."""
        assert until is None  # noqa: S101 - nobody cuts it
        first = end = max(start.offset, self._header + 1)
        limit = self.source.max_record_bytes
        piece = _Piece(start=start)
        for number, row in enumerate(self._sheet.all_rows()):
            if number < first:
                continue
            end = number + 1
            if any(cell != "" for cell in row):
                piece.add(number, _record(self.names, row), limit)
            if len(piece.values) >= min(self.chunk_rows or _BATCH_ROWS, _BATCH_ROWS) or piece.size > _BATCH_BYTES:
                self.bytes_read = self.file.expected_bytes * number // max(self._sheet.rows, number)
                yield piece.batch(Position(offset=end, line=end), last=False)
                piece = _Piece(start=Position(offset=end, line=end))
        self.bytes_read = self.file.expected_bytes
        yield piece.batch(Position(offset=end, line=end), last=True)

    def first_rows(self, count: int) -> list[Sequence[Any]]:
        """Cells of the first rows; an empty one is an empty text."""
        return list(islice(self._sheet.all_rows(), count))

    def _opened(self) -> SheetWorker:
        with format_library("spreadsheets"):
            import python_calamine  # noqa: F401 - it is used in the other process
        return SheetWorker(self._content(), file=self.file.name, wanted=self.source.sheet, whole_bytes=self.whole_bytes)

    def _content(self) -> bytes:
        limit = self.whole_bytes
        try:
            with self.file.open() as stored:
                content = stored.read(-1 if limit is None else limit + 1)
                while limit is None or len(content) <= limit:
                    more = stored.read(1 << 20)
                    if not more:
                        break
                    content += more
        except OSError as error:
            raise unreadable(self.file.name, error) from None
        if limit is not None and max(len(content), _unpacked(content)) > limit:
            raise BadFileError(
                "too_large",
                f"{self.file.name} is a spreadsheet that is only read whole, and larger than the memory takes; save it as CSV, "
                "or raise TIMESTORE_MEMORY",
            )
        return content


def _unpacked(content: bytes) -> int:
    try:
        return sum(item.file_size for item in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return len(content)


@dataclass(kw_only=True)
class _Piece:
    """Rows until they are a batch."""

    start: Position
    size: int = 0
    values: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)

    def add(self, number: int, record: bytes, limit: int) -> None:
        if len(record) > limit:
            reason, raw = too_long(limit), record[:MAX_RAW_BYTES]
            self.bad.append(BadRecord(code="too_long", reason=reason, raw=raw, position=number, line=number + 1))
            return
        self.size += len(record)
        self.values.append(record)
        self.numbers.append(number)

    def batch(self, end: Position, *, last: bool) -> FileBatch:
        return FileBatch(
            start=self.start,
            end=end,
            last=last,
            encoding="json",
            records=pa.table([pa.array(self.values, pa.binary())], names=[VALUE_COLUMN]),
            positions=pa.array(self.numbers, pa.int64()),
            lines=pa.array([number + 1 for number in self.numbers], pa.int64()),
            bad=tuple(self.bad),
            raw=lambda index: self.values[index],
        )


def _names(row: Sequence[Any]) -> tuple[str, ...]:
    names = [str(_value(cell) if cell != "" else "").strip() for cell in row]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _record(names: Sequence[str], row: Sequence[Any]) -> bytes:
    cells = {name: _value(row[place]) if place < len(row) else None for place, name in enumerate(names)}
    return json.dumps(cells, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _value(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _LARGEST_WHOLE:
        return int(cell)
    if isinstance(cell, dict):
        return clock_text(cell[DURATION], "us")
    return cell

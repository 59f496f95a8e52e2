"""How the records of a file are reached: the dialect of text, the array inside a JSON document, the header of a sheet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.dialect import Found, find_dialect, is_delimited
from timestore_assets.model.dataset import CsvDialect, FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START

if TYPE_CHECKING:
    from timestore_assets.sources.files.compression import DecodedStream
    from timestore_assets.sources.files.input_file import LocalFile

_HEAD_BYTES = 8 << 20
_HEAD_ROWS = 50

_USUAL = Found(csv=CsvDialect(), units={})

RecordPath = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileShape:
    """`found`: the dialect of CSV; of a sheet its `skip`. `path`: members that lead to the records of a JSON document.
    `other_paths`: those that lead to other arrays of objects."""

    found: Found
    path: RecordPath = ()
    other_paths: tuple[RecordPath, ...] = ()


def shape_of(file: LocalFile) -> FileShape:
    """Look at the beginning of a file."""
    from timestore_assets.sources.files.format_detection import binary_format

    binary, _ = binary_format(file)
    if binary == "spreadsheet":
        return FileShape(found=Found(csv=CsvDialect(skip=_rows_above(file)), units={}))
    if binary is not None:
        return FileShape(found=_USUAL)
    if is_delimited(file.path):
        return FileShape(found=find_dialect(file.path))
    path, *others = _arrays(file) or [()]
    return FileShape(found=_USUAL, path=path, other_paths=tuple(others))


def _rows_above(file: LocalFile) -> int:
    """Rows of a sheet above the first one that is as wide as most are."""
    from timestore_assets.sources.files.spreadsheet import SpreadsheetReader

    rows = SpreadsheetReader(file=file, source=FileSource(prefix="")).first_rows(_HEAD_ROWS)
    widths = [sum(cell != "" for cell in row) for row in rows]
    filled = Counter(width for width in widths if width)
    usual = max(filled, key=lambda width: (filled[width], width), default=0)
    header = next((place for place, width in enumerate(widths) if width >= usual), 0)
    return header if any(widths[:header]) else 0


def _arrays(file: LocalFile) -> list[RecordPath]:
    """Paths of the arrays of objects in a document that is one object; none for other files, whose objects are records."""
    from timestore_assets.sources.files.compression import DecodedStream
    from timestore_assets.sources.files.json_head import JsonHead
    from timestore_assets.sources.files.json_lines import begin_text

    found: list[RecordPath] = []
    with DecodedStream(file) as stream:
        begin = begin_text(stream, START)
        head = JsonHead(_Beginning(stream), begin, file.name)
        try:
            if head.peek() != "{":
                return []
            found.extend(head.arrays())
        except BadFileError:
            # a document that goes on behind what is looked at is none of many
            return found if head.position.offset >= _HEAD_BYTES else []
        return found if not head.peek() else []


class _Beginning:
    """Implements `compression.ByteStream`: the first bytes of another."""

    def __init__(self, stream: DecodedStream) -> None:
        self._stream = stream

    @property
    def offset(self) -> int:
        return self._stream.offset

    def fill(self, buffer: memoryview) -> int:
        return self._stream.fill(buffer[: max(0, _HEAD_BYTES - self._stream.offset)])

    def at_end(self) -> bool:
        return self._stream.offset >= _HEAD_BYTES or self._stream.at_end()

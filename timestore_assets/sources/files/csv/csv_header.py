"""The header of a CSV file: the names of its fields, and where the records begin behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.model.text_encoding import UTF_8, WIDE
from timestore_assets.sources.files.compression import ByteStream
from timestore_assets.sources.files.csv.quoting import Scanned, scan_record
from timestore_assets.sources.files.format_detection import BOM

MAX_HEADER_BYTES = 16 << 20
UNNAMED_INDEX = "__index_level_0__"
"""What a first column without a name is called: pandas, R and InfluxDB write one, and pandas calls it so in Parquet."""
_FIRST_READ = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The header of a file."""

    #: Of the fields, in order.
    names: tuple[str, ...]
    #: Position of the first record.
    end: Position
    #: The physical line it stands on, from 1.
    line: int = 1
    #: What the row behind it says, where there is one.
    units: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """The beginning of a file. `final`: it is the whole file."""

    data: bytes
    final: bool
    dialect: CsvDialect
    name: str

    def record(self, start: int) -> tuple[int, Scanned] | None:
        """The first record from `start` on that is no blank line and no comment, with its place; None when more is needed."""
        comment = (self.dialect.comment or "").encode()
        while True:
            start = len(self.data) - len(self.data[start:].lstrip(b"\r\n"))
            if not comment or not self.data.startswith(comment, start):
                break
            feed = self.data.find(b"\n", start)
            if feed < 0 and not self.final:
                return None
            start = feed + 1 if feed >= 0 else len(self.data)
        view, size = memoryview(self.data), len(self.data)
        found = scan_record(view, start, size, final=self.final, limit=MAX_HEADER_BYTES, dialect=self.dialect)
        if found is None and not self.final:
            return None
        if not isinstance(found, Scanned):
            line = self.data.count(b"\n", 0, start) + 1
            reason = f"the header of {self.name}, line {line}, has a quoted name that is not closed properly"
            raise BadFileError("bad_header", reason)
        return start, found

    def first_line(self) -> int | None:
        """Where the lines that are skipped end; None when more is needed."""
        at = len(BOM) if self.data.startswith(BOM) else 0
        for _ in range(self.dialect.skip):
            feed = self.data.find(b"\n", at)
            if feed < 0:
                return len(self.data) if self.final else None
            at = feed + 1
        return at

    def header(self) -> Header | None:
        """What it says; None when more is needed."""
        first = self.first_line()
        found = None if first is None else self.record(first)
        if found is None:
            return None
        start, record = found
        if record.end == start:
            raise BadFileError("empty_file", f"{self.name} holds nothing but {self._nothing()}")
        line = self.data.count(b"\n", 0, start) + 1
        names, end, units = _names(record, self.dialect, self.name, line), record.next, tuple[str, ...]()
        if self.dialect.units_row:
            row = self.record(end)
            if row is None:
                return None
            units, end = tuple(_text(field, self.dialect, self.name) for field in row[1].fields)[: len(names)], row[1].next
        return Header(names=names, end=Position(offset=end, line=self.data.count(b"\n", 0, end)), line=line, units=units)

    def _nothing(self) -> str:
        left_out = self.dialect.skip or self.dialect.comment is not None
        return "lines that are skipped or comments" if left_out else "blanks"


def read_header(stream: ByteStream, dialect: CsvDialect, *, name: str) -> Header:
    """The first record that is not blank, no comment and not skipped, as field names; reads from the stream's beginning.

    A delimiter at its end names no column; the first column may lack a name, see `UNNAMED_INDEX`.

    Raises:
        BadFileError: there is none, it is not of its encoding, its quoting is broken, or names are empty or not distinct.
    """
    size, data = _FIRST_READ, b""
    while True:
        more = bytearray(size - len(data))
        data += bytes(more[: stream.fill(memoryview(more))])
        final = len(data) < size or stream.at_end()
        found = _Head(data=data, final=final, dialect=dialect, name=name).header()
        if found is not None:
            return found
        if size > MAX_HEADER_BYTES:
            raise BadFileError("bad_header", f"the header of {name} does not end within {MAX_HEADER_BYTES >> 20} MB")
        size *= 4


def _names(record: Scanned, dialect: CsvDialect, file: str, line: int) -> tuple[str, ...]:
    fields = record.fields[:-1] if len(record.fields) > 1 and not record.fields[-1] else record.fields
    names = tuple(_text(field, dialect, file) for field in fields)
    if len(names) > 1 and not names[0].strip():
        names = (UNNAMED_INDEX, *names[1:])
    try:
        check_names(names, file)
    except BadFileError as error:
        raise BadFileError(error.code, f"{error.reason} (line {line} was taken for the header)") from None
    return names


def _text(field: bytes, dialect: CsvDialect, file: str) -> str:
    quote = dialect.quote.encode()
    if dialect.trim:
        field = field.strip(b" \t")
    if quote and field.startswith(quote):
        field = field[1:-1].replace(quote + quote, quote)
    encoding = UTF_8 if dialect.encoding in WIDE else dialect.encoding
    try:
        return field.decode(encoding)
    except UnicodeDecodeError:
        hint = "save the file as UTF-8, or name its `encoding:`" if encoding == UTF_8 else "its source names another `encoding:`"
        shown = "UTF-8" if encoding == UTF_8 else encoding
        raise BadFileError("not_utf8", f"the header of {file} is not {shown}; {hint}") from None


def check_names(names: tuple[str, ...], file: str) -> None:
    """Refuse column names that could not be told apart.

    Raises:
        BadFileError: `empty_column_name`, `duplicate_columns` or `ambiguous_columns`, naming them.
    """
    empty = [str(i) for i, name in enumerate(names, 1) if not name.strip()]
    if empty:
        raise BadFileError("empty_column_name", f"the header of {file} has no name for column {_some(empty)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadFileError("duplicate_columns", f"{file} has more than one column named {_some([repr(name) for name in twice])}")
    folded = Counter(name.casefold() for name in names)
    alike = [repr(name) for name in names if folded[name.casefold()] > 1]
    if alike:
        raise BadFileError("ambiguous_columns", f"{file} has columns that differ in case only: {_some(alike)}")


def _some(items: list[str]) -> str:
    return ", ".join(items[:10]) + (f" and {len(items) - 10} more" if len(items) > 10 else "")

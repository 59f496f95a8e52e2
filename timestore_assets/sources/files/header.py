"""The header of a CSV file: the names of its fields, and where the records begin behind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.sources.files.compression import ByteStream
from timestore_assets.sources.files.quoting import Scanned, scan_record
from timestore_assets.sources.files.sniff import BOM

MAX_HEADER_BYTES = 16 << 20
_FIRST_READ = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """`names`: of the fields, in order. `end`: position of the first record."""

    names: tuple[str, ...]
    end: Position


def read_header(stream: ByteStream, dialect: CsvDialect, *, name: str) -> Header:
    """The first record that is not blank, as field names; reads from the stream's beginning.

    Raises:
        BadFileError: there is none, it is not UTF-8, its quoting is broken, or names are empty or not distinct.
    """
    size, data = _FIRST_READ, b""
    while True:
        more = bytearray(size - len(data))
        data += bytes(more[: stream.fill(memoryview(more))])
        final = len(data) < size or stream.at_end()
        start = _first_record(data)
        found = scan_record(memoryview(data), start, len(data), final=final, limit=MAX_HEADER_BYTES, dialect=dialect)
        if isinstance(found, Scanned):
            break
        if found is not None or final or size > MAX_HEADER_BYTES:
            raise BadFileError("bad_header", f"the header of {name} has a quoted name that is not closed properly")
        size *= 4
    if found.end == start:
        raise BadFileError("empty_file", f"{name} holds nothing but blanks")
    names = tuple(_name(field, dialect, name) for field in found.fields)
    check_names(names, name)
    return Header(names=names, end=Position(offset=found.next, line=data.count(b"\n", 0, found.next)))


def _first_record(data: bytes) -> int:
    at = len(BOM) if data.startswith(BOM) else 0
    return at + len(data[at:]) - len(data[at:].lstrip(b"\r\n"))


def _name(field: bytes, dialect: CsvDialect, file: str) -> str:
    quote = dialect.quote.encode()
    if quote and field.startswith(quote):
        field = field[1:-1].replace(quote + quote, quote)
    try:
        return field.decode()
    except UnicodeDecodeError:
        raise BadFileError("not_utf8", f"the header of {file} is not UTF-8; save the file as UTF-8") from None


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

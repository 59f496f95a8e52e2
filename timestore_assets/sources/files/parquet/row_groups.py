"""Row groups of a Parquet file, and how much memory one takes at most once it is decoded.

What the file says of its own size counts encoded values: a dictionary or a run repeats a long one for a few bits. How often is
in the metadata (the number of values), and how long the longest is in the dictionary itself, which can be read alone.

A reader also has to hold each page of a column whole, unpacked. How large it is then, the page says in its header, which is a
struct of Thrift's compact protocol (`PageHeader` in the format's `parquet.thrift`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

_HEADER_BYTES = 1 << 12
_LONGEST_HEADER_BYTES = 1 << 26
"""Bounds of the values may stand in a header, and may be as long as values are."""
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_UNPACKED, _STORED = 2, 3  # fields of the header


class Seekable(Protocol):
    """A file opened for reading."""

    def seek(self, position: int, /) -> object: ...

    def read(self, count: int, /) -> bytes: ...


def largest_page(file: Seekable, start: int, end: int) -> int:
    """Bytes, unpacked, of the largest page of the column chunk that lies at `[start, end)` of the file.

    Raises:
        ValueError: the headers are malformed.
    """
    largest, at = 0, start
    while at < end:
        unpacked, stored, length = _page(file, at, end)
        if unpacked < 0 or stored < 0:
            raise ValueError("a page has a negative size")
        largest = max(largest, unpacked)
        at += length + stored
    return largest


def _page(file: Seekable, at: int, end: int) -> tuple[int, int, int]:
    """Unpacked and stored bytes of the page at `at`, and those of its header."""
    window = _HEADER_BYTES
    while True:
        file.seek(at)
        header = _Compact(file.read(min(window, end - at)))
        try:
            fields = header.struct()
            return fields[_UNPACKED], fields[_STORED], header.at
        except IndexError:
            if window >= min(end - at, _LONGEST_HEADER_BYTES):
                raise ValueError("the header of a page is cut off") from None
            window *= 16
        except KeyError:
            raise ValueError("the header of a page lacks its size") from None


class _Compact:
    """Reads one struct; `at`: how far. IndexError when the bytes end before it does."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The whole numbers among the struct's fields, by number; other fields are passed over."""
        found: dict[int, int] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            if head & 15 in _INTEGERS:
                found[number] = self._signed()
            else:
                self._skip(head & 15, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if depth > 8:
            raise ValueError("the header of a page is nested too deeply")
        if kind in _INTEGERS:
            self._varint()
        elif kind == _BINARY:
            self._move(self._varint())
        elif kind in (_BYTE, _DOUBLE):
            self._move(1 if kind == _BYTE else 8)
        elif kind == _STRUCT:
            self.struct(depth + 1)
        elif kind in (_LIST, _SET):
            head = self._byte()
            for _ in range(head >> 4 if head >> 4 < 15 else self._varint()):
                self._skip_item(head & 15, depth)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"the header of a page holds a field of type {kind}")

    def _skip_item(self, kind: int, depth: int) -> None:
        # inside a list a bool is a byte of its own
        self._move(1) if kind in (_TRUE, _FALSE) else self._skip(kind, depth + 1)

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number in the header of a page is too long")

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _move(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError


_OFFSET_BYTES = 4
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_WIDEST = 16
"""Of a value of fixed length that becomes a decimal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """Rows `[start, end)`, the bytes of its encoded values uncompressed, and `stored` in the file."""

    start: int
    end: int
    bytes: int
    stored: int

    @property
    def rows(self) -> int:
        return self.end - self.start


def row_groups(metadata: pq.FileMetaData) -> tuple[RowGroup, ...]:
    """The row groups of a file, in order."""
    groups, at = [], 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        stored = sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        groups.append(RowGroup(start=at, end=at + group.num_rows, bytes=group.total_byte_size, stored=stored))
        at += group.num_rows
    return tuple(groups)


def decoded_bytes(
    metadata: pq.FileMetaData, index: int, *, limit: int, with_dictionaries: Callable[[list[str]], pq.ParquetFile]
) -> int:
    """Most bytes that the values of a row group can take once decoded.

    `limit`: below it a cruder bound will do. `with_dictionaries`: opens the file so that these columns keep their dictionaries.
    """
    group, certain, crude = metadata.row_group(index), 0, 0
    repeated: list[pq.ColumnChunkMetaData] = []
    for place in range(group.num_columns):
        column = group.column(place)
        if column.physical_type != "BYTE_ARRAY":
            widest = max(metadata.schema.column(place).length, _WIDEST)
            certain += column.num_values * _WIDTHS.get(column.physical_type, widest)
            continue
        certain += column.total_uncompressed_size + column.num_values * _OFFSET_BYTES
        if column.has_dictionary_page:
            repeated.append(column)
            crude += column.num_values * column.total_uncompressed_size
    if certain + crude <= limit or not repeated:
        return certain + crude
    paths = [column.path_in_schema for column in repeated]
    longest = _longest_values(with_dictionaries(paths), index, paths)
    for column in repeated:
        known = longest.get(_field_of(column.path_in_schema, longest), column.total_uncompressed_size)
        certain += column.num_values * known
    return certain


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnChunk:
    """The values of a column in a row group."""

    #: The column's path.
    column: str
    #: Where they lie in the file.
    start: int
    end: int


def large_chunks(metadata: pq.FileMetaData, index: int, *, limit: int) -> Iterator[ColumnChunk]:
    """Those of a row group that take more than `limit` bytes uncompressed: smaller ones have no larger page."""
    group = metadata.row_group(index)
    for place in range(group.num_columns):
        column = group.column(place)
        if column.total_uncompressed_size > limit:
            start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            yield ColumnChunk(column=column.path_in_schema, start=start, end=start + column.total_compressed_size)


def _longest_values(file: pq.ParquetFile, index: int, paths: list[str]) -> dict[str, int]:
    """Bytes of the longest value in the dictionaries of each column; the first row brings them whole."""
    found: dict[str, int] = {}
    with file:
        first = next(file.iter_batches(1, row_groups=[index], columns=paths), None)
        for name, values in zip(first.schema.names, first.columns, strict=True) if first is not None else ():
            lengths = [length for length in map(_longest_value, _dictionaries(values)) if length is not None]
            if lengths:
                found[name] = max(lengths)
    return found


def _dictionaries(values: pa.Array) -> Iterator[pa.Array]:
    kind = values.type
    if pt.is_dictionary(kind):
        yield values.dictionary
    elif pt.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _dictionaries(values.field(place))
    elif pt.is_map(kind):
        yield from _dictionaries(values.keys)
        yield from _dictionaries(values.items)
    elif pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        yield from _dictionaries(values.values)


def _longest_value(dictionary: pa.Array) -> int | None:
    longest: int | None = pc.max(pc.binary_length(dictionary)).as_py()
    return longest


def _field_of(path: str, names: Iterable[str]) -> str:
    """The field of the table that a leaf's path lies in; names may hold dots themselves."""
    return max((name for name in names if path == name or path.startswith(f"{name}.")), key=len, default="")

"""Where a large file is cut into parts that can be read one without the other."""

from __future__ import annotations

from timestore_assets.model.position import START, Position
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.csv import CsvReader
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.jsonl import JsonLinesReader
from timestore_assets.sources.files.open import FileReader
from timestore_assets.sources.files.parquet import ParquetReader


def part_ends(opened: FileReader, *, chunk_bytes: int) -> list[Position]:
    """Where parts of about so many stored bytes end, the last one with the file; none when the file stays whole.

    Parquet is cut between row groups, text where a record begins: that is found by cutting all records in order, since a quote
    may change what every line behind it is. Compressed text stays whole, because no part of it could be read alone, and so
    do envelopes, whose keys are looked up in order.

    Raises:
        BadFileError: the file can't be read or changed meanwhile.
    """
    if opened.size <= chunk_bytes:
        return []
    reader = opened.reader
    if isinstance(reader, ParquetReader):
        ends = _ends_of_groups(reader, chunk_bytes)
    elif isinstance(reader, CsvReader | JsonLinesReader) and _is_plain(opened.file):
        ends = _ends_of_records(reader, chunk_bytes)
    else:
        return []
    opened.check_unchanged()
    return ends if len(ends) > 1 else []


def _ends_of_groups(reader: ParquetReader, chunk_bytes: int) -> list[Position]:
    ends: list[Position] = []
    rows = size = 0
    for end, stored in reader.group_ends:
        rows, size = end, size + stored
        if size >= chunk_bytes:
            ends.append(Position(offset=rows))
            size = 0
    if rows and (not ends or ends[-1].offset < rows):
        ends.append(Position(offset=rows))
    return ends


def _ends_of_records(reader: CsvReader | JsonLinesReader, chunk_bytes: int) -> list[Position]:
    ends: list[Position] = []
    begun, last = 0, START
    for block in reader.records():
        starts, last = block.cut.starts + block.origin, block.end
        while (index := int(starts.searchsorted(begun + chunk_bytes))) < len(starts):
            ends.append(block.position(index))
            begun = ends[-1].offset
    return [*ends, last] if last.offset > begun else ends


def _is_plain(file: InputFile) -> bool:
    with DecodedStream(file) as stream:
        return stream.compression == "plain"

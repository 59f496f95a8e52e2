"""NDJSON envelopes: each line carries records with an idempotency key, as message queues and HTTP batches are archived."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.files.blocks import Block, blocks
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.jsonl import KEY_COLUMN, VALUE_COLUMN, begin_text
from timestore_assets.sources.files.records import MAX_RAW_BYTES, Cut, Stretch, bad_between, cut_lines, too_long
from timestore_assets.sources.port import BadRecord, FileBatch

MIN_LINE_LIMIT = 16 << 20
"""An envelope holds many records, so its line may be longer than `max_record_bytes`, which holds for each record."""
_BLOCK_LINES = 20_000
_BLANKS = re.compile(r"[ \t\r\n]*")
_SCAN: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_SCAN_ANY_NUMBER: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(parse_int=str).scan_once  # type: ignore[attr-defined]
"""Slower, but takes integers of more digits than Python converts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """`key`: idempotency key of all its records, None without one. `records`: their raw JSON texts, in order."""

    key: str | None
    records: tuple[str, ...]


def open_envelope(line: str) -> Envelope:
    """Take an envelope apart without changing a byte of its records.

    The form is `{"offset": 7, "idempotencyKey": "k", "ingestion": …}`; `ingestion` is one record object, or an object
    whose `records` or `rows` is an array of records. Other keys are ignored.

    Raises:
        ValueError: it is not of that form; the text says why.
    """
    found = _Found()
    end = _members(line, _blanks(line, 0), "the envelope", {"ingestion": found.ingestion, "idempotencyKey": found.key_span})
    if _blanks(line, end) != len(line):
        raise ValueError("the envelope is followed by something else")
    if found.records is None:
        raise ValueError("the envelope has no `ingestion`")
    return Envelope(key=_key(line, found.key), records=tuple(line[begin:end] for begin, end in found.records))


@dataclass(kw_only=True, slots=True)
class _Found:
    """What a walk through an envelope came by: spans of the line. Each value is scanned once only."""

    key: tuple[int, int] | None = None
    records: list[tuple[int, int]] | None = None

    def ingestion(self, line: str, at: int) -> int:
        end = _members(line, at, "`ingestion`", {"records": self.listed, "rows": self.listed})
        if self.records is None:
            self.records = [(at, end)]
        return end

    def listed(self, line: str, at: int) -> int:
        if line[at : at + 1] != "[":
            return _value_end(line, at)
        if self.records is not None:
            raise ValueError("`ingestion` holds both `records` and `rows`")
        self.records, end = _elements(line, at)
        return end

    def key_span(self, line: str, at: int) -> int:
        end = _value_end(line, at)
        self.key = (at, end)
        return end


def _key(line: str, span: tuple[int, int] | None) -> str | None:
    value = None if span is None else json.loads(line[slice(*span)])
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError("`idempotencyKey` is not a string")


def _members(line: str, at: int, what: str, visit: Mapping[str, Callable[[str, int], int]]) -> int:
    """Walk through an object; `visit` takes the begin of a member's value and returns its end. Returns the object's end."""
    if line[at : at + 1] != "{":
        raise ValueError(f"{what} is not an object")
    names: set[str] = set()
    at = _blanks(line, at + 1)
    while line[at : at + 1] != "}":
        if line[at : at + 1] != '"':
            raise ValueError(f"{what} is not valid JSON at character {at}")
        name, at = scanstring(line, at + 1, True)
        at = _blanks(line, at)
        if line[at : at + 1] != ":":
            raise ValueError(f"{what} is not valid JSON at character {at}")
        if name in names:
            raise ValueError(f"{what} has {name!r} twice")
        names.add(name)
        at = _next(line, visit.get(name, _value_end)(line, _blanks(line, at + 1)), "}", what)
    return at + 1


def _elements(line: str, at: int) -> tuple[list[tuple[int, int]], int]:
    """Where the elements of an array begin and end, and where the array ends."""
    found: list[tuple[int, int]] = []
    at = _blanks(line, at + 1)
    while line[at : at + 1] != "]":
        end = _value_end(line, at)
        found.append((at, end))
        at = _next(line, end, "]", "the list of records")
    return found, at + 1


def _next(line: str, at: int, closing: str, what: str) -> int:
    """Go over a comma to the next member, or stop at the closing bracket."""
    at = _blanks(line, at)
    if line[at : at + 1] == closing:
        return at
    after = _blanks(line, at + 1)
    if line[at : at + 1] != "," or line[after : after + 1] == closing:
        raise ValueError(f"{what} is not valid JSON at character {at}")
    return after


def _value_end(line: str, at: int) -> int:
    try:
        _, end = _SCAN(line, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg.lower()} at character {error.pos}") from None
    except StopIteration as error:
        raise ValueError(f"not valid JSON at character {error.value}") from None
    except ValueError:
        _, end = _SCAN_ANY_NUMBER(line, at)
    return end


def _blanks(line: str, at: int) -> int:
    found = _BLANKS.match(line, at)
    return found.end() if found else at


@dataclass(kw_only=True)
class EnvelopesReader:
    """Reads one file of envelopes as `json` batches with an `idempotency_key` column.

    A record's position is its line's byte offset plus its index in the envelope, which stays below the next line's offset.
    A batch ends with an envelope, so `chunk_rows` counts envelopes here. A refused envelope counts as one record.
    """

    path: Path
    source: FileSource
    block_bytes: int
    chunk_rows: int | None = None
    bytes_read: int = field(init=False, default=0)

    @property
    def _line_limit(self) -> int:
        return max(MIN_LINE_LIMIT, self.source.max_record_bytes)

    def batches(self, start: Position = START) -> Iterator[FileBatch]:
        """See `BatchReader.batches`."""
        rows = min(self.chunk_rows or _BLOCK_LINES, _BLOCK_LINES)
        with DecodedStream(self.path) as stream:
            begin = begin_text(stream, start)
            found = blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=self._line_limit, max_records=rows)
            for block in found:
                self.bytes_read = stream.stored_bytes_read
                for first in range(0, max(len(block.cut), 1), rows):
                    batch = self._batch(block, start, first, min(first + rows, len(block.cut)))
                    yield batch
                    start = batch.end

    def _cut(self, stretch: Stretch) -> Cut:
        return cut_lines(stretch, limit=self._line_limit)

    def _batch(self, block: Block, start: Position, first: int, until: int) -> FileBatch:
        end = block.position(until)
        opened = _Opened(limit=self.source.max_record_bytes)
        for i in range(first, until):
            raw = block.buffer[int(block.cut.starts[i]) : int(block.cut.ends[i])].tobytes()
            opened.add(raw, block.origin + int(block.cut.starts[i]), int(block.cut.lines[i]))
        bad = sorted((*bad_between(block.cut.bad, start, end), *opened.bad), key=lambda record: record.position)
        columns: list[pa.Array[Any]] = [pa.array(opened.values, pa.binary()), pa.array(opened.keys, pa.string())]
        return FileBatch(
            start=start,
            end=end,
            last=block.last and until == len(block.cut),
            encoding="json",
            records=pa.Table.from_arrays(columns, names=[VALUE_COLUMN, KEY_COLUMN]),
            positions=pa.array(np.array(opened.positions, np.int64)),
            lines=pa.array(np.array(opened.lines, np.int64)),
            bad=tuple(bad),
            raw=opened.raw,
        )


@dataclass(kw_only=True, slots=True)
class _Opened:
    """The records of a batch's envelopes as they are opened."""

    limit: int
    values: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)

    def add(self, raw: bytes, position: int, line: int) -> None:
        """Open one envelope; a malformed one is refused as a whole, an over-long record by itself."""
        try:
            envelope = open_envelope(raw.decode())
        except UnicodeDecodeError:
            self._refuse("invalid_utf8", "the envelope is not valid UTF-8", raw, position, line)
            return
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            self._refuse("bad_envelope", reason, raw, position, line)
            return
        for index, text in enumerate(envelope.records):
            value = text.encode()
            if len(value) > self.limit:
                self._refuse("too_long", too_long(self.limit), value, position + index, line)
                continue
            self.values.append(value)
            self.keys.append(envelope.key)
            self.positions.append(position + index)
            self.lines.append(line)

    def raw(self, index: int) -> bytes:
        return self.values[index]

    def _refuse(self, code: str, reason: str, raw: bytes, position: int, line: int) -> None:
        self.bad.append(BadRecord(code=code, reason=reason, raw=raw[:MAX_RAW_BYTES], position=position, line=line))

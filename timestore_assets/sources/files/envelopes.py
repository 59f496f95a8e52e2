"""NDJSON envelopes: each line carries records with an idempotency key, as message queues and HTTP batches are archived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import BadRecord, FileBatch
from timestore_assets.sources.files.blocks import Block, blocks, ended
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.json_lines import KEY_COLUMN, VALUE_COLUMN, begin_text
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES, Cut, TextSpan, bad_between, cut_lines, too_long
from timestore_assets.sources.files.wide_text import open_text
from timestore_assets.sources.json_walk import after_blanks, elements, members, value_end

MIN_LINE_LIMIT = 16 << 20
"""An envelope holds many records, so its line may be longer than `max_record_bytes`, which holds for each record."""
_BLOCK_LINES = 20_000


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
    end = members(line, after_blanks(line, 0), "the envelope", {"ingestion": found.ingestion, "idempotencyKey": found.key_span})
    if after_blanks(line, end) != len(line):
        raise ValueError("the envelope is followed by something else")
    if found.records is None:
        raise ValueError("the envelope has no `ingestion`")
    return Envelope(key=_key(line, found.key), records=tuple(found.records))


@dataclass(kw_only=True, slots=True)
class _Found:
    """What a walk through an envelope came by: where its key is, and texts of records. Each value is scanned once only."""

    key: tuple[int, int] | None = None
    records: list[str] | None = None

    def ingestion(self, line: str, at: int) -> int:
        end = members(line, at, "`ingestion`", {"records": self.listed, "rows": self.listed})
        if self.records is None:
            self.records = [line[at:end]]
        return end

    def listed(self, line: str, at: int) -> int:
        if line[at : at + 1] != "[":
            return value_end(line, at)
        if self.records is not None:
            raise ValueError("`ingestion` holds both `records` and `rows`")
        self.records, end = elements(line, at)
        return end

    def key_span(self, line: str, at: int) -> int:
        end = value_end(line, at)
        self.key = (at, end)
        return end


def _key(line: str, span: tuple[int, int] | None) -> str | None:
    value = None if span is None else json.loads(line[slice(*span)])
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError("`idempotencyKey` is not a string")


@dataclass(kw_only=True)
class EnvelopesReader:
    """Reads one file of envelopes as `json` batches with an `idempotency_key` column.

    A record's position is its line's byte offset plus its index in the envelope, which stays below the next line's offset.
    A batch ends with an envelope, so `chunk_rows` counts envelopes here. A refused envelope counts as one record.
    """

    file: InputFile
    source: FileSource
    block_bytes: int
    chunk_rows: int | None = None
    bytes_read: int = field(init=False, default=0)

    @property
    def _line_limit(self) -> int:
        return max(MIN_LINE_LIMIT, self.source.max_record_bytes)

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`."""
        rows = min(self.chunk_rows or _BLOCK_LINES, _BLOCK_LINES)
        with open_text(self.file, self.source.csv.encoding) as stream:
            begin = begin_text(stream, start)
            found = blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=self._line_limit, max_records=rows)
            for block in ended(found, until):
                self.bytes_read = stream.stored_bytes_read
                for first in range(0, max(len(block.cut), 1), rows):
                    batch = self._batch(block, start, first, min(first + rows, len(block.cut)))
                    yield batch
                    start = batch.end

    def _cut(self, stretch: TextSpan) -> Cut:
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

"""Dead letters made into a batch again, to be judged by the rules of today as if they came from their source now."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.column_names import PANDAS_INDEX
from timestore_assets.decoding.rejections import Rows
from timestore_assets.model.dataset import CsvDialect, FileSource, HttpSource, KafkaSource, Source
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.files.blocks import Block
from timestore_assets.sources.files.csv.csv_fields import FieldParser, find_faults
from timestore_assets.sources.files.csv.csv_records import cut_csv
from timestore_assets.sources.files.text_records import Cut, Rewritten, TextSpan

FINAL_CODES = frozenset({"key_reused", "bad_envelope"})
"""Reasons that lie in what a record came with, not in what it says: no declaration can mend them."""
_ESCAPED_BYTE = b"\\\\x"


@dataclass(frozen=True, kw_only=True, slots=True)
class UncutRecord:
    """Why a record could not even be cut into fields this time. `record`: its index."""

    record: int
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """`batch`: one row for each of `rows`, which are indices of the records. `refused`: those that are not among them."""

    batch: Batch
    rows: Rows
    refused: tuple[UncutRecord, ...] = ()


def can_be_tried(records: pa.Table, *, typed: bool) -> npt.NDArray[np.bool_]:
    """Which dead letters hold all that landing needs: whole bytes, refused for a reason that a declaration can mend.

    `typed`: rows of a typed file, kept as JSON, in which bytes that are no text can't be told from their escapes.
    """
    final = pc.is_in(records.column("code"), pa.array(sorted(FINAL_CODES)))
    lost = pc.or_(final, pc.fill_null(records.column("is_prefix"), False))
    if typed:
        escaped = pc.fill_null(pc.match_substring(records.column("raw"), _ESCAPED_BYTE), False)
        lost = pc.or_(lost, pc.or_(escaped, pc.equal(records.column("code"), "invalid_utf8")))
    triable: npt.NDArray[np.bool_] = pc.invert(lost).to_numpy()
    return triable


def batch_again(records: pa.Table, rows: Rows, *, encoding: str, fields: Sequence[str], source: Source) -> Again:
    """Make dead letters into a batch.

    Args:
        records: of `dead_letters.SCHEMA`.
        rows: which of them to try.
        encoding: of the batch they came from.
        fields: names of the fields of `text` records.
        source: where they came from, as it is declared now: its CSV dialect cuts `text` records.
    """
    raws = records.column("raw").take(pa.array(rows))
    if encoding != "text":
        values = _without_index(raws, source.form.named_fields) if encoding == "typed" else raws
        return Again(batch=_batch("json", records, rows, pa.table({"value": values})), rows=rows)
    if isinstance(source, KafkaSource):
        raise TypeError("records of topics are no text")
    lines = _RecordLines.cut(raws.to_pylist(), source)
    table, cut, refused = lines.parsed(tuple(fields), source.csv)
    cut_rows = rows[cut]
    return Again(
        batch=_batch("text", records, cut_rows, table),
        rows=cut_rows,
        refused=tuple(UncutRecord(record=int(rows[at]), code=code, reason=reason) for at, code, reason in refused),
    )


def _batch(encoding: Any, records: pa.Table, rows: Rows, table: pa.Table) -> Batch:
    positions, partitions = (
        records.column(name).take(pa.array(rows)).combine_chunks() for name in ("position", "source_partition")
    )
    raw = records.column("raw")
    return Batch(
        encoding=encoding,
        records=table,
        positions=positions,
        lines=None,
        bad=(),
        raw=lambda index: raw[int(rows[index])].as_py(),
        source_partitions=partitions,
    )


def _without_index(raws: pa.ChunkedArray, named: Collection[str]) -> pa.ChunkedArray:
    """Rows of a typed file without pandas' index columns, which landing leaves out of such files; `named` ones are kept."""
    mark = PANDAS_INDEX.encode()
    if not pc.any(pc.match_substring(raws, mark)).as_py():
        return raws
    plain = [raw if raw is None or mark not in raw else _dropped(raw, named) for raw in raws.to_pylist()]
    return pa.chunked_array([pa.array(plain, pa.binary())])


def _dropped(raw: bytes, named: Collection[str]) -> bytes:
    row = {name: value for name, value in json.loads(raw).items() if name in named or not name.startswith(PANDAS_INDEX)}
    return json.dumps(row, ensure_ascii=False).encode()


@dataclass(kw_only=True, slots=True)
class _RecordLines:
    """Lines of CSV, each cut by itself: an open quote must not reach into the next. `at`: their indices, of the good ones."""

    texts: list[bytes] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    rewritten: dict[int, Rewritten] = field(default_factory=dict)
    refused: list[tuple[int, str, str]] = field(default_factory=list)

    @classmethod
    def cut(cls, raws: Sequence[bytes | None], source: FileSource | HttpSource) -> _RecordLines:
        lines = cls()
        quote = source.csv.quote.encode()
        for index, raw in enumerate(raws):
            text = raw or b""
            plain = b"\r" not in text and b"\n" not in text and not (quote and quote in text)
            if plain and len(text) <= source.max_record_bytes:
                lines._keep(index, text)
            else:
                lines._cut(index, text, source)
        return lines

    def _keep(self, index: int, text: bytes, rewritten: Rewritten | None = None) -> None:
        if rewritten is not None:
            self.rewritten[len(self.texts)] = rewritten
        self.texts.append(text)
        self.at.append(index)

    def _cut(self, index: int, text: bytes, source: FileSource | HttpSource) -> None:
        buffer = np.frombuffer(text, np.uint8)
        stretch = TextSpan(buffer=buffer, start=0, stop=len(text), origin=0, line=0, final=True)
        cut = cut_csv(stretch, limit=source.max_record_bytes, dialect=source.csv)
        if len(cut) == 1 and not cut.bad and int(cut.ends[0]) == len(text):
            self._keep(index, text, cut.rewritten.get(0))
        elif cut.bad:
            self.refused.append((index, cut.bad[0].code, cut.bad[0].reason))
        else:
            self.refused.append((index, "ragged", "by its source's present dialect it is not one record"))

    def parsed(self, names: tuple[str, ...], dialect: CsvDialect) -> tuple[pa.Table, Rows, list[tuple[int, str, str]]]:
        """Fields of the good lines, which lines these are, and why the others are not."""
        block, at = self._block(), np.array(self.at, np.int64)
        parser = FieldParser(names=names, dialect=dialect)
        index = np.arange(len(at), dtype=np.int64)
        table, faults = parser.parse(block, index), list[tuple[int, str, str]]()
        if table is None:
            index, bad, until = find_faults(block, 0, len(at), fields=len(names), dialect=dialect)
            table = parser.parse(block, index)
            places = {int(start): number for number, start in enumerate(block.cut.starts)}
            faults = [(int(at[places[one.position]]), one.code, one.reason) for one in bad]
            if table is None or until < len(at):
                raise ValueError("a line that the reader cut before can't be parsed any more")
        return table, at[index], [*self.refused, *faults]

    def _block(self) -> Block:
        lengths = np.array([len(text) for text in self.texts], np.int64)
        ends = np.cumsum(lengths + 1) - 1
        buffer = np.frombuffer(b"\n".join([*self.texts, b""]), np.uint8)
        cut = Cut(
            starts=ends - lengths,
            ends=ends,
            lines=np.arange(1, len(ends) + 1, dtype=np.int64),
            next=buffer.size,
            line=len(ends),
            rewritten=self.rewritten,
            multiline=any(b"\n" in text for text in self.texts),
        )
        return Block(buffer=buffer, origin=0, cut=cut, start=START, end=Position(offset=buffer.size), last=True)

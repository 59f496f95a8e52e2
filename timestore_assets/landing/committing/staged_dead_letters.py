"""The dead-letter store: Parquet objects of refused records with their original bytes and why each was refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind, LateRows
from timestore_assets.decoding.poison import cause, is_poison, log_poison
from timestore_assets.decoding.rejections import REFUSAL_SCHEMA, RowMask, Rows
from timestore_assets.landing.committing.staged_segments import DEAD_LETTER_FOLDER, Provenance
from timestore_assets.landing.preparing.row_checks import LATE
from timestore_assets.model.dataset import Dataset
from timestore_assets.sources.batches import BadRecord, Batch, ManyRawRows, RawRows, RecordMetadata
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES
from timestore_assets.storage.disk_errors import not_written
from timestore_assets.storage.object_store import Upload

SCHEMA = pa.schema(
    [
        ("source_id", pa.int64()),
        ("source", pa.string()),
        ("source_partition", pa.int64()),
        ("position", pa.int64()),
        ("line", pa.int64()),
        ("code", pa.string()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.binary()),
        ("is_prefix", pa.bool_()),
        ("recorded_at", pa.timestamp("us", tz="UTC")),
        ("session", pa.int64()),
        ("key", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)
"""`source`: file address or topic. `position`, `line`: as in `sources.batches.BadRecord`, line 0 when there are none. `column`:
empty when no single one is at fault. `raw`: original bytes (a row of a typed file as JSON; null for a record without a value);
`is_prefix`: only the beginning of them, because the source kept no more. `key`, `headers`, `timestamp`: the broker's, null for
files."""

ENCODING_KEY = "timestore.encoding"
"""Metadata of a dead-letter file: the encoding of the batch its records come from, and for `text` its field names (JSON)."""
FIELDS_KEY = "timestore.fields"

NOT_RENDERED = "(the record can't be shown"
"""How the bytes begin that stand for a record none of whose bytes could be had; they count as a prefix of nothing."""
_NOT_RENDERED = NOT_RENDERED.encode()

_ROWS_A_PIECE = 10_000
_BYTES_A_PIECE = 32_000_000
_ROWS_MADE = 500
"""Raw rows that are made together: enough to be fast, and few enough to be small beside their batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedDeadLetters:
    """A finished file of refused records that is not yet in the store."""

    file: DeadLetterFile
    upload: Upload


def write_dead_letters(
    batch: Batch,
    row_mask: RowMask,
    *,
    dataset: Dataset,
    source: str,
    provenance: Provenance,
    folder: Path,
    now: datetime,
    forward: bool = False,
    late: tuple[LateRows, ...] = (),
) -> list[StagedDeadLetters]:
    """Write what the source and the row mask refused of a batch, by position: one file for each disposition, none for nothing.

    A batch of several source partitions has no `bad` records: brokers cut none. `late`: which partitions the late ones are of.

    Raises:
        StorageFullError, UnavailableError: the staging folder takes no more.
    """
    refused = row_mask.refused()
    if not refused.num_rows and not batch.bad:
        return []
    is_late = pc.equal(refused.column("code"), LATE)
    kept_back = refused.filter(is_late)
    kept: list[tuple[DeadLetterKind, pa.Table, tuple[BadRecord, ...]]] = [
        ("refused", refused.filter(pc.invert(is_late)), batch.bad),
        ("late_dropped" if dataset.late.policy == "drop" else "held", kept_back, ()),
    ]
    common = {
        "source_id": provenance.source_id,
        "source": source,
        "session": provenance.session_id,
        "recorded_at": now.astimezone(UTC),
    }
    only = provenance.spans[0].source_partition_id
    staged = []
    for kind, rows, bad in kept:
        if rows.num_rows or bad:
            path = folder / f"{kind}.parquet"
            reasons = _write(path, common, batch, _Refused.of(batch, rows, bad, only))
            name = f"{dataset.name}/{DEAD_LETTER_FOLDER}/{provenance.label}-{kind}.parquet"
            file = DeadLetterFile(
                name=name,
                rows=sum(reasons.values()),
                bytes=path.stat().st_size,
                reasons=dict(reasons),
                kind=kind,
                forward=forward and kind == "refused",
                late=() if kind == "refused" else late,
            )
            staged.append(StagedDeadLetters(file=file, upload=Upload(staged=path, name=name)))
    return staged


def _write(path: Path, common: Mapping[str, Any], batch: Batch, refused: _Refused) -> Counter[str]:
    """Write one file; returns its records by reason."""
    reasons: Counter[str] = Counter()
    fields = batch.records.column_names if batch.encoding == "text" else []
    schema = SCHEMA.with_metadata({ENCODING_KEY: batch.encoding, FIELDS_KEY: json.dumps(fields)})
    try:
        with open_writer(path, schema) as writer:
            for piece in refused.pieces():
                reasons.update(by_code(piece.column("code")))
                constants = [pa.repeat(pa.scalar(common[name], SCHEMA.field(name).type), len(piece)) for name in common]
                columns = dict(zip([*piece.column_names, *common], [*piece.columns, *constants], strict=True))
                writer.write_table(pa.table([columns[name] for name in SCHEMA.names], schema=schema))
    except OSError as error:
        raise not_written(path.parent, "writing dead letters", error) from error
    return reasons


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """What writes a dead-letter file; pages carry checksums, which pyarrow looks at when it reads them."""
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def by_code(codes: pa.ChunkedArray) -> dict[str, int]:
    """How many records have each reason code."""
    return {counted["values"]: counted["counts"] for counted in pc.value_counts(codes).to_pylist()}


_PLACES = pa.schema([*REFUSAL_SCHEMA, ("source_partition", pa.int64()), ("position", pa.int64())])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refused:
    """Refused records of a batch by source partition and position. `places`: of `_PLACES`, without their bytes.

    In its column `row` those of the batch count from 0 up, and what the source refused from -1 down.
    """

    batch: Batch
    bad: tuple[BadRecord, ...]
    places: pa.Table

    @classmethod
    def of(cls, batch: Batch, refused: pa.Table, bad: tuple[BadRecord, ...], only: int) -> _Refused:
        """`refused`: of `REFUSAL_SCHEMA`. `only`: the source partition, unless the batch has several."""
        rows = refused.column("row")
        alone = pa.repeat(pa.scalar(only, pa.int64()), len(rows))
        partitions = alone if batch.source_partitions is None else batch.source_partitions.take(rows)
        own = refused.append_column("source_partition", partitions).append_column("position", batch.positions.take(rows))
        by_source = [_place(number, record, only) for number, record in enumerate(bad)]
        together = pa.concat_tables([own.select(_PLACES.names).cast(_PLACES), pa.Table.from_pylist(by_source, _PLACES)])
        order = [("source_partition", "ascending"), ("position", "ascending")]
        return cls(batch=batch, bad=bad, places=together.sort_by(order))

    def pieces(self) -> Iterator[pa.Table]:
        """The records with their bytes, at most so many and about so large at a time; the constant columns are missing."""
        rows: Rows = self.places.column("row").to_numpy()
        start, size, raws = 0, 0, list[bytes | None]()
        for raw in self._raws(rows):
            raws.append(raw)
            size += len(raw or b"")
            if size >= _BYTES_A_PIECE or len(raws) == _ROWS_A_PIECE:
                yield self._piece(start, rows[start : start + len(raws)], raws)
                start, size, raws = start + len(raws), 0, []
        if raws:
            yield self._piece(start, rows[start:], raws)

    def _raws(self, rows: Rows) -> Iterator[bytes | None]:
        """Original bytes, in the order of the rows."""
        raw = self.batch.raw
        for start in range(0, len(rows), _ROWS_MADE):
            some = rows[start : start + _ROWS_MADE]
            own = some[some >= 0].tolist()
            made = _made(raw, own)
            for row in some.tolist():
                yield self.bad[-1 - row].raw if row < 0 else next(made)

    def _piece(self, start: int, rows: Rows, raws: list[bytes | None]) -> pa.Table:
        numbers = rows.tolist()
        # what the source refused it kept in full only below its limit
        prefixes = [
            (row < 0 and len(raw or b"") >= MAX_RAW_BYTES) or (raw or b"").startswith(_NOT_RENDERED)
            for row, raw in zip(numbers, raws, strict=True)
        ]
        lines = self.batch.lines
        known = [0] * len(rows) if lines is None or not len(lines) else lines.take(pa.array(rows.clip(min=0))).to_pylist()
        columns = {
            "line": [self.bad[-1 - row].line if row < 0 else line for row, line in zip(numbers, known, strict=True)],
            "raw": raws,
            "is_prefix": prefixes,
            **self._envelopes(numbers),
        }
        piece = self.places.slice(start, len(rows)).drop_columns("row")
        for name, values in columns.items():
            piece = piece.append_column(name, pa.array(values, SCHEMA.field(name).type))
        return piece

    def _envelopes(self, rows: list[int]) -> dict[str, list[Any]]:
        """What the broker keeps beside the values."""
        find = self.batch.envelope
        if find is None:
            return {name: [None] * len(rows) for name in ("key", "headers", "timestamp")}
        envelopes = [_envelope(find, row) if row >= 0 else RecordMetadata() for row in rows]
        return {
            "key": [one.key for one in envelopes],
            "headers": [[{"name": name, "value": value} for name, value in one.headers] or None for one in envelopes],
            "timestamp": [one.timestamp for one in envelopes],
        }


def _made(raw: RawRows, rows: Sequence[int]) -> Iterator[bytes | None]:
    """Original bytes of rows; of one that can't be rendered at all, a text that says so."""
    if isinstance(raw, ManyRawRows):
        try:
            return iter(raw.many(rows))
        except Exception as error:
            if not is_poison(error):
                raise
    return (_made_alone(raw, row) for row in rows)


def _made_alone(raw: RawRows, row: int) -> bytes | None:
    try:
        return raw(row)
    except Exception as error:
        if not is_poison(error):
            raise
        log_poison("a record that is already refused", error)
        return f"{NOT_RENDERED}: {cause(error)})".encode()


def _envelope(find: Callable[[int], RecordMetadata], row: int) -> RecordMetadata:
    try:
        return find(row)
    except Exception as error:
        if not is_poison(error):
            raise
        log_poison("what came beside a record that is already refused", error)
        return RecordMetadata()


def _place(number: int, bad: BadRecord, source_partition: int) -> dict[str, Any]:
    place = {"row": -1 - number, "code": bad.code, "column": "", "reason": bad.reason, "position": bad.position}
    return {**place, "source_partition": source_partition}

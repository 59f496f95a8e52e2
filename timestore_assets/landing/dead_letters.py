"""The dead-letter store: Parquet objects of refused records with their original bytes and why each was refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind
from timestore_assets.landing.delta_files import not_written
from timestore_assets.landing.lateness import LATE
from timestore_assets.landing.sieve import REFUSAL_SCHEMA, Rows, Sieve
from timestore_assets.landing.write import DEAD_LETTER_FOLDER, Provenance
from timestore_assets.model.dataset import Dataset
from timestore_assets.sources.port import BadRecord, Batch, Envelope, ManyRawRows
from timestore_assets.storage.port import ObjectStore, Upload

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
        ("recorded_at", pa.timestamp("us", tz="UTC")),
        ("session", pa.int64()),
        ("key", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)
"""`source`: file address or topic. `position`, `line`: as in `sources.port.BadRecord`, line 0 when there are none. `column`:
empty when no single one is at fault. `raw`: original bytes (a row of a typed file as JSON; a prefix when over 1 MiB; null for a
record without a value). `key`, `headers`, `timestamp`: the broker's, null for files."""

ENCODING_KEY = "timestore.encoding"
"""Metadata of a dead-letter file: the encoding of the batch its records come from, and for `text` its field names (JSON)."""
FIELDS_KEY = "timestore.fields"

_ROWS_A_TIME = 10_000
_BYTES_A_TIME = 32_000_000
_ROWS_READ = 1_000
_SHOWN_COLUMNS = ("source", "position", "line", "code", "column", "reason", "raw", "recorded_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedDeadLetters:
    """A finished file of refused records that is not yet in the store."""

    file: DeadLetterFile
    upload: Upload


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One refused record, see `SCHEMA`."""

    source: str
    position: int
    line: int
    code: str
    column: str
    reason: str
    raw: bytes | None
    recorded_at: datetime


def write_dead_letters(
    batch: Batch,
    sieve: Sieve,
    *,
    dataset: Dataset,
    source: str,
    provenance: Provenance,
    folder: Path,
    now: datetime,
    forward: bool = False,
) -> list[StagedDeadLetters]:
    """Write what the source and the sieve refused of a batch, by position: one file for each disposition, none for nothing.

    Raises:
        StorageFullError, UnavailableError: the staging folder takes no more.
    """
    refused = sieve.refused()
    if not refused.num_rows and not batch.bad:
        return []
    is_late = pc.equal(refused.column("code"), LATE)
    late = refused.filter(is_late)
    kept: list[tuple[DeadLetterKind, pa.Table, tuple[BadRecord, ...]]] = [
        ("refused", refused.filter(pc.invert(is_late)), batch.bad),
        ("late_dropped" if dataset.late.policy == "drop" else "held", late, ()),
    ]
    common = {
        "source_id": provenance.source_id,
        "source": source,
        "session": provenance.session_id,
        "recorded_at": now.astimezone(UTC),
    }
    if batch.source_partitions is None:
        common["source_partition"] = provenance.spans[0].source_partition_id
    staged = []
    for kind, rows, bad in kept:
        if rows.num_rows or bad:
            path = folder / f"{kind}.parquet"
            reasons = _write(batch, rows, bad, common, path)
            name = f"{dataset.name}/{DEAD_LETTER_FOLDER}/{provenance.label}-{kind}.parquet"
            file = DeadLetterFile(
                name=name,
                rows=sum(reasons.values()),
                bytes=path.stat().st_size,
                reasons=dict(reasons),
                kind=kind,
                forward=forward and kind == "refused",
            )
            staged.append(StagedDeadLetters(file=file, upload=Upload(staged=path, name=name)))
    return staged


def _write(batch: Batch, refused: pa.Table, bad: Sequence[BadRecord], common: Mapping[str, Any], path: Path) -> Counter[str]:
    """Write one file; returns its records by reason."""
    reasons: Counter[str] = Counter()
    fields = batch.records.column_names if batch.encoding == "text" else []
    schema = SCHEMA.with_metadata({ENCODING_KEY: batch.encoding, FIELDS_KEY: json.dumps(fields)})
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for piece in _pieces(batch, refused, bad):
                for counted in pc.value_counts(piece.column("code")).to_pylist():
                    reasons[counted["values"]] += counted["counts"]
                constants = [pa.repeat(pa.scalar(common[name], SCHEMA.field(name).type), len(piece)) for name in common]
                columns = dict(zip([*piece.column_names, *common], [*piece.columns, *constants], strict=True))
                writer.write_table(pa.table([columns[name] for name in SCHEMA.names], schema=schema))
    except OSError as error:
        raise not_written(path.parent, "writing dead letters", error) from error
    return reasons


def _pieces(batch: Batch, refused: pa.Table, bad: Sequence[BadRecord]) -> Iterator[pa.Table]:
    """Refused records by position, at most so many and so large at a time. The constant columns are missing."""
    rows = refused.column("row").to_numpy()
    places = batch.positions.to_numpy(zero_copy_only=False)[rows]
    refused = refused.append_column("position", pa.array(places))
    # rows of the batch count from 0, what the source refused from -1 downwards
    by_source = pa.Table.from_pylist([_place(number, record) for number, record in enumerate(bad)], _PLACES)
    together = pa.concat_tables([refused.select(_PLACES.names).cast(_PLACES), by_source]).sort_by("position")
    which = together.column("row").to_numpy()
    start = 0
    while start < len(which):
        raws = _raws(batch, which[start : start + _ROWS_A_TIME])
        chosen = which[start : start + len(raws)]
        piece = together.slice(start, len(raws)).drop_columns("row")
        lines = pa.array([_line(batch, int(row)) for row in chosen], pa.int64())
        piece = piece.append_column("line", lines).append_column("raw", pa.array(raws, pa.binary()))
        yield _with_envelopes(piece, batch, chosen)
        start += len(raws)


def _with_envelopes(piece: pa.Table, batch: Batch, rows: Rows) -> pa.Table:
    """Add what the broker keeps beside the values, and the rows' source partitions."""
    envelopes = [batch.envelope(int(row)) if batch.envelope and row >= 0 else Envelope() for row in rows]
    columns = {
        "key": [one.key for one in envelopes],
        "headers": [[{"name": name, "value": value} for name, value in one.headers] or None for one in envelopes],
        "timestamp": [one.timestamp for one in envelopes],
    }
    for name, values in columns.items():
        piece = piece.append_column(name, pa.array(values, SCHEMA.field(name).type))
    if batch.source_partitions is not None:
        piece = piece.append_column("source_partition", batch.source_partitions.take(pa.array(rows)))
    return piece


_PLACES = pa.schema([*REFUSAL_SCHEMA, ("position", pa.int64())])


def _place(number: int, bad: BadRecord) -> dict[str, Any]:
    return {"row": -1 - number, "code": bad.code, "column": "", "reason": bad.reason, "position": bad.position}


def _raws(batch: Batch, which: Rows) -> list[bytes | None]:
    """Original bytes of the first of these records, at least one and as many as the memory for them allows."""
    if isinstance(batch.raw, ManyRawRows):
        made = dict(zip(own := which[which >= 0], batch.raw.many(own.tolist()), strict=True))
    else:
        made = {}
    raws: list[bytes | None] = []
    size = 0
    for row in which:
        raw = batch.bad[-1 - row].raw if row < 0 else made[row] if made else batch.raw(int(row))
        raws.append(raw)
        size += len(raw or b"")
        if size > _BYTES_A_TIME:
            break
    return raws


def _line(batch: Batch, row: int) -> int:
    if row < 0:
        return batch.bad[-1 - row].line
    line: int = batch.lines[row].as_py() if batch.lines is not None else 0
    return line


def read_dead_letters(
    catalog: Catalog, store: ObjectStore, dataset_id: int, *, limit: int, code: str | None = None
) -> Iterator[DeadLetter]:
    """Refused records of a dataset, those of the newest file first and by position inside one.

    Args:
        limit: at most so many; memory stays bounded by one piece of a file, whatever it is.
        code: only those refused for this reason.

    Raises:
        UnavailableError: an object can't be reached.
    """
    newest_first = sorted(catalog.dead_letter_files(dataset_id), key=lambda found: found[2], reverse=True)
    for _, file, _ in newest_first:
        if code is not None and code not in file.reasons:
            continue
        with pq.ParquetFile(store.local_path(file.name)) as opened:
            for piece in opened.iter_batches(batch_size=min(limit, _ROWS_READ), columns=[*_SHOWN_COLUMNS]):
                chosen = piece if code is None else piece.filter(pc.equal(piece.column("code"), code))
                for row in chosen.slice(0, limit).to_pylist():
                    yield DeadLetter(**row)
                limit -= min(limit, chosen.num_rows)
                if limit == 0:
                    return

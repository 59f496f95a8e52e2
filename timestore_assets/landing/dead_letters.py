"""The dead-letter store: Parquet objects of refused records with their original bytes and why each was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DeadLetterFile
from timestore_assets.landing.delta_files import not_written
from timestore_assets.landing.sieve import Sieve
from timestore_assets.landing.write import DEAD_LETTER_FOLDER, Provenance
from timestore_assets.sources.port import Batch
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
    ]
)
"""`source`: file address or topic. `position`, `line`: as in `sources.port.BadRecord`, line 0 when there are none. `column`:
empty when no single one is at fault. `raw`: original bytes (a row of a typed file as JSON; a prefix when over 1 MiB)."""

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
    raw: bytes
    recorded_at: datetime


def write_dead_letters(
    batch: Batch, sieve: Sieve, *, dataset: str, source: str, provenance: Provenance, folder: Path, now: datetime
) -> StagedDeadLetters | None:
    """Write what the source and the sieve refused of a batch, by position; None when nothing was.

    Raises:
        StorageFullError, UnavailableError: the staging folder takes no more.
    """
    refused = sieve.refused()
    if not refused.num_rows and not batch.bad:
        return None
    path = folder / "deadletters.parquet"
    common = {
        "source_id": provenance.source_id,
        "source": source,
        "session": provenance.session_id,
        "recorded_at": now.astimezone(UTC),
    }
    common["source_partition"] = provenance.source_partition_id
    reasons: Counter[str] = Counter()
    try:
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            for columns in _pieces(batch, refused):
                reasons.update(columns["code"])
                count = len(columns["code"])
                columns |= {name: [value] * count for name, value in common.items()}
                writer.write_table(pa.table(columns, schema=SCHEMA))
    except OSError as error:
        raise not_written(folder, "writing dead letters", error) from error
    name = f"{dataset}/{DEAD_LETTER_FOLDER}/{provenance.label}.parquet"
    file = DeadLetterFile(name=name, rows=sum(reasons.values()), bytes=path.stat().st_size, reasons=dict(reasons))
    return StagedDeadLetters(file=file, upload=Upload(staged=path, name=name))


def _pieces(batch: Batch, refused: pa.Table) -> Iterator[dict[str, list[Any]]]:
    """Columns of at most so many refused records at a time, in order of position."""
    rows = refused.column("row").to_numpy()
    positions = batch.positions.to_numpy(zero_copy_only=False)[rows]
    bad_positions = np.array([bad.position for bad in batch.bad], dtype=np.int64)
    # rows of the batch count from 0, what the source refused from -1 downwards
    which = np.concatenate([np.arange(len(rows)), -1 - np.arange(len(batch.bad))])
    order = which[np.argsort(np.concatenate([positions, bad_positions]), kind="stable")]
    for start in range(0, len(order), _ROWS_A_TIME):
        chosen = order[start : start + _ROWS_A_TIME]
        yield from _bounded(batch, refused.take(pa.array(chosen[chosen >= 0])).to_pylist(), chosen)


def _bounded(batch: Batch, refusals: list[dict[str, Any]], chosen: np.ndarray) -> Iterator[dict[str, list[Any]]]:
    piece: dict[str, list[Any]] = {name: [] for name in ("position", "line", "code", "column", "reason", "raw")}
    size, following = 0, iter(refusals)
    for index in chosen:
        record = _from_source(batch, -1 - int(index)) if index < 0 else _from_sieve(batch, next(following))
        for name, value in record.items():
            piece[name].append(value)
        size += len(record["raw"])
        if size > _BYTES_A_TIME:
            yield piece
            piece, size = {name: [] for name in piece}, 0
    if piece["code"]:
        yield piece


def _from_source(batch: Batch, index: int) -> dict[str, Any]:
    bad = batch.bad[index]
    return {"position": bad.position, "line": bad.line, "code": bad.code, "column": "", "reason": bad.reason, "raw": bad.raw}


def _from_sieve(batch: Batch, refusal: dict[str, Any]) -> dict[str, Any]:
    row = refusal.pop("row")
    line = batch.lines[row].as_py() if batch.lines is not None else 0
    return {**refusal, "position": batch.positions[row].as_py(), "line": line, "raw": batch.raw(row)}


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

"""Looking at dead letters: records that did not land, with their bytes, place, reason and what the broker kept beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind
from timestore_assets.model.errors import UnavailableError
from timestore_assets.storage.object_store import ObjectReader, damaged, sha256_of

_ROWS_READ = 1_000
_NOT_SHOWN = frozenset({"source_id", "session"})


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One record that did not land, see `dead_letters.SCHEMA`. `kind`: the disposition it counts under."""

    source: str
    position: int
    line: int
    code: str
    column: str
    reason: str
    raw: bytes | None
    recorded_at: datetime
    kind: DeadLetterKind = "refused"
    source_partition: int | None = None
    is_prefix: bool = False
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: datetime | None = None


def read_dead_letters(
    catalog: Catalog,
    storage: ObjectReader,
    dataset_id: int,
    *,
    limit: int,
    code: str | None = None,
    kind: DeadLetterKind | None = None,
) -> Iterator[DeadLetter]:
    """Records of a dataset that did not land, those of the newest file first and by position inside one.

    Args:
        limit: at most so many; memory stays bounded by one piece of a file, whatever it is.
        code: only those refused for this reason.
        kind: only those of this disposition.

    Raises:
        UnavailableError: an object can't be reached.
    """
    newest_first = sorted(catalog.dead_letters.of(dataset_id), key=lambda found: found[1].id, reverse=True)
    for _, file, _ in newest_first:
        if (code is not None and code not in file.reasons) or (kind is not None and kind != file.kind):
            continue
        for letter in _letters(storage, file, code, min(limit, _ROWS_READ)):
            if limit == 0:
                return
            limit -= 1
            yield letter


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterKey:
    """A record's place among a dataset's dead letters: the catalog's id of its file, and its row there from 0."""

    file_id: int
    row: int


def page_of_dead_letters(
    catalog: Catalog,
    storage: ObjectReader,
    dataset_id: int,
    *,
    limit: int,
    most_bytes: int,
    code: str | None = None,
    after: DeadLetterKey | None = None,
) -> tuple[list[DeadLetter], DeadLetterKey | None]:
    """Some records in the order of `read_dead_letters`, and the place of the last when there may be more.

    Args:
        limit: at most so many.
        most_bytes: no more after so many original bytes.
        code: only those refused for this reason.
        after: only those behind this place; newer ones that came meanwhile are not among them.

    Raises:
        UnavailableError: an object can't be reached.
    """
    letters: list[DeadLetter] = []
    last, size = after, 0
    files = sorted((file for _, file, _ in catalog.dead_letters.of(dataset_id)), key=lambda file: file.id, reverse=True)
    for file in files:
        if (code is not None and code not in file.reasons) or (after is not None and file.id > after.file_id):
            continue
        skipped = after.row + 1 if after is not None and file.id == after.file_id else 0
        for row, letter in islice(enumerate(_letters(storage, file, None, limit)), skipped, None):
            if code is not None and letter.code != code:
                continue
            if len(letters) == limit or size > most_bytes:
                return letters, last
            letters.append(letter)
            size += len(letter.raw or b"") + len(letter.key or b"")
            last = DeadLetterKey(file_id=file.id, row=row)
    return letters, None


@contextmanager
def open_dead_letters(storage: ObjectReader, file: DeadLetterFile) -> Iterator[pq.ParquetFile]:
    """The object of a dead-letter file, readable inside the `with`.

    Raises:
        DamagedError: its bytes are not those that were committed. UnavailableError: it is missing, or no Parquet file.
    """
    with storage.reading([file]) as (path,):
        if file.sha256 not in (None, sha256_of(path)):
            raise damaged("object", file.name, "restore the object from a copy; `timestore verify` says what else is")
        try:
            opened = pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise UnavailableError(f"dead letters {file.name} can't be read: {error}; `timestore verify` says more") from None
        with opened:
            yield opened


def first_letters(storage: ObjectReader, file: DeadLetterFile, count: int) -> list[DeadLetter]:
    """The first records of a dead-letter file; errors as `open_dead_letters`."""
    return list(islice(_letters(storage, file, None, count), count)) if count else []


def _letters(storage: ObjectReader, file: DeadLetterFile, code: str | None, rows: int) -> Iterator[DeadLetter]:
    with open_dead_letters(storage, file) as opened:
        # files of earlier versions lack some columns
        columns = [name for name in opened.schema_arrow.names if name not in _NOT_SHOWN]
        for piece in opened.iter_batches(batch_size=max(rows, 1), columns=columns):
            chosen = piece if code is None else piece.filter(pc.equal(piece.column("code"), code))
            for row in chosen.to_pylist():
                yield DeadLetter(**_plain(row), kind=file.kind)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    headers = tuple((one["name"], one["value"]) for one in row.get("headers") or ())
    return {**row, "headers": headers}

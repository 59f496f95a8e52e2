"""One file of dead letters judged anew: what lands now becomes segments, the rest a dead-letter file of its own again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Counters, DatasetRecord, DeadLetterFile, SchemaChange, SourceRecord, Span
from timestore_assets.landing.allowance import columns_left
from timestore_assets.landing.dead_letter_records import open_dead_letters
from timestore_assets.landing.dead_letters import ENCODING_KEY, FIELDS_KEY, SCHEMA, StagedDeadLetters, by_code
from timestore_assets.landing.delta_files import not_written
from timestore_assets.landing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.replay_batch import Again, batch_again, can_be_tried
from timestore_assets.landing.sieve import Rows
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.write import DEAD_LETTER_FOLDER, Provenance, StagedSegment, write_segments
from timestore_assets.model.dataset import Dataset, Source
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Schema
from timestore_assets.storage.port import Readable, Upload

_BYTES_A_PIECE = 64_000_000
_ROWS_A_PIECE = 200_000
COUNTED_AS = {"refused": "dead_letters", "late_dropped": "late_dropped", "held": "held"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What stays the same while a dataset's dead letters are replayed. `code`: try only those refused for this reason."""

    catalog: Catalog
    storage: Readable
    con: duckdb.DuckDBPyConnection
    threads: int
    dataset: Dataset
    validator: Validator
    session_id: int
    code: str | None
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A dead-letter file judged anew, nothing of it published. `tried`, `landed`: records. `still`: tried ones by why not.

    `schema`: the one the segments are stored in; its version is the next one when `changes` is not empty.
    """

    file: DeadLetterFile
    tried: int
    landed: int
    still: Mapping[str, int]
    segments: tuple[StagedSegment, ...]
    rest: StagedDeadLetters | None
    schema: Schema
    changes: tuple[SchemaChange, ...]
    ignored: Mapping[str, int]

    @property
    def shift(self) -> Counters:
        """How the source's counters change: nothing is read, what lands leaves the disposition it had."""
        return Counters(**{"landed": self.landed, COUNTED_AS[self.file.kind]: -self.landed})

    @property
    def uploads(self) -> list[Upload]:
        return [*(one.upload for one in self.segments), *([self.rest.upload] if self.rest else [])]


@dataclass(kw_only=True)
class _Work:
    """One pass through the file."""

    tried: int = 0
    landed: int = 0
    still: Counter[str] = field(default_factory=Counter)
    rest: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    segments: list[StagedSegment] = field(default_factory=list)


class _EvolvedError(Exception):
    """A piece needs a further schema; what was written so far was written in an older one."""

    def __init__(self, schema: Schema) -> None:
        super().__init__("the schema has evolved")
        self.schema = schema


class FileReplay:
    """Judges one dead-letter file by the present rules.

    `record`: the dataset as it is now. `source`: as declared now. `attempt`: makes the names differ from those of any other.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        record: DatasetRecord,
        file: DeadLetterFile,
        origin: SourceRecord,
        source: Source,
        attempt: str,
        folder: Path,
    ) -> None:
        self._setting, self._record, self._file = setting, record, file
        self._origin, self._source = origin, source
        self._attempt, self._folder = f"replay{file.id}-{attempt}", folder
        self._rest = folder / "rest.parquet"
        self._passes = 0

    def judge(self) -> Replayed | None:
        """Try its records and write what comes of them into the folder; None when the file can't be replayed at all.

        Raises:
            BadFileError: its columns don't fit the dataset.
            StorageFullError, UnavailableError: it can't be read, or the folder takes no more.
        """
        base = schema = self._record.schema
        with open_dead_letters(self._setting.storage, self._file) as opened:
            metadata = opened.schema_arrow.metadata or {}
            if ENCODING_KEY.encode() not in metadata:
                return None
            while True:
                try:
                    work = self._pass(opened, metadata, schema)
                    break
                except _EvolvedError as evolved:
                    # again from the beginning, so that all segments of the commit are of one schema
                    schema = replace(evolved.schema, version=base.version + 1)
        return Replayed(
            file=self._file,
            tried=work.tried,
            landed=work.landed,
            still=dict(work.still),
            segments=tuple(work.segments),
            rest=self._staged_rest(work),
            schema=schema,
            changes=_changes(base, schema),
            ignored=dict(work.ignored),
        )

    def _pass(self, opened: pq.ParquetFile, metadata: Mapping[bytes, bytes], schema: Schema) -> _Work:
        work = _Work()
        self._passes += 1
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for number, records in enumerate(_pieces(opened)):
                landed = self._piece(work, records, metadata, schema, number)
                kept = landed.filter(pc.is_valid(landed.column("code")))
                if kept.num_rows:
                    work.rest.update(by_code(kept.column("code")))
                    try:
                        if writer is None:
                            writer = stack.enter_context(pq.ParquetWriter(self._rest, opened.schema_arrow, compression="zstd"))
                        writer.write_table(kept)
                    except OSError as error:
                        raise not_written(self._folder, "writing dead letters", error) from error
        return work

    def _piece(self, work: _Work, records: pa.Table, metadata: Mapping[bytes, bytes], schema: Schema, number: int) -> pa.Table:
        """Judge and write one piece; returns its records with the reason they don't land, null for those that do."""
        encoding = metadata[ENCODING_KEY.encode()].decode()
        rows = self._chosen(records, typed=encoding == "typed")
        if not len(rows):
            return records
        fields = json.loads(metadata[FIELDS_KEY.encode()])
        again = batch_again(records, rows, encoding=encoding, fields=fields, source=self._source)
        prepared = prepare(self._setting.con, again.batch, self._rules(schema, encoding))
        if prepared.changes:
            raise _EvolvedError(prepared.schema)
        work.tried += len(rows)
        work.landed += prepared.rows.num_rows
        work.ignored.update(prepared.ignored)
        work.segments += self._write(prepared, schema, number)
        marked, still = _with_reasons(records, again, prepared)
        work.still.update(still)
        return marked

    def _chosen(self, records: pa.Table, *, typed: bool) -> Rows:
        """Which records to try."""
        chosen = can_be_tried(records, typed=typed)
        if self._setting.code is not None:
            chosen &= pc.equal(records.column("code"), self._setting.code).to_numpy()
        partitions = pc.unique(records.column("source_partition")).to_pylist()
        gone = self._setting.catalog.withdrawn(partitions)
        if gone:
            chosen &= ~pc.is_in(records.column("source_partition"), pa.array(sorted(gone))).to_numpy()
        return np.flatnonzero(chosen)

    def _rules(self, schema: Schema, encoding: str) -> Rules:
        setting = self._setting
        return Rules(
            dataset=setting.dataset,
            schema=schema,
            validator=setting.validator,
            zone=self._source.timezone,
            now=setting.now,
            allowance=lambda: self._columns_left(schema),
            known_keys=lambda _: {},
            max_record_bytes=self._source.max_record_bytes if encoding == "json" else None,
        )

    def _columns_left(self, schema: Schema) -> int:
        """How many columns may still be added, beside those that this replay has added so far."""
        setting, added = self._setting, len(schema.columns) - len(self._record.schema.columns)
        return max(0, columns_left(setting.catalog, self._record.id, setting.dataset, now=setting.now) - added)

    def _write(self, prepared: Prepared, schema: Schema, number: int) -> list[StagedSegment]:
        if not prepared.rows.num_rows:
            return []
        folder = self._folder / f"segments-{self._passes}-{number}"
        folder.mkdir()
        return write_segments(
            prepared.rows,
            prepared.positions,
            dataset=self._setting.dataset,
            schema=schema,
            provenance=self._provenance(prepared, number),
            folder=folder,
            threads=self._setting.threads,
            source_partitions=prepared.source_partitions,
        )

    def _provenance(self, prepared: Prepared, number: int) -> Provenance:
        """Says for the names which records these are; no checkpoint moves."""
        ids = prepared.source_partitions
        bounds = pc.min_max(prepared.positions).as_py()
        span = Span(
            source_partition_id=pc.min(ids).as_py(), start=Position(offset=bounds["min"]), end=Position(offset=bounds["max"] + 1)
        )
        return Provenance(
            source_id=self._origin.id,
            session_id=self._setting.session_id,
            spans=(span,),
            attempt=f"{self._attempt}-{number}",
        )

    def _staged_rest(self, work: _Work) -> StagedDeadLetters | None:
        if not work.rest:
            return None
        name = f"{self._setting.dataset.name}/{DEAD_LETTER_FOLDER}/{self._attempt}-{self._file.kind}.parquet"
        file = replace(
            self._file,
            id=0,
            name=name,
            rows=sum(work.rest.values()),
            bytes=self._rest.stat().st_size,
            reasons=dict(work.rest),
        )
        return StagedDeadLetters(file=file, upload=Upload(staged=self._rest, name=name))


def _pieces(opened: pq.ParquetFile) -> Iterator[pa.Table]:
    """Whole row groups, together at most so many rows and, but for a single one, so large."""
    first, rows, size = 0, 0, 0
    for number in range(opened.num_row_groups):
        group = opened.metadata.row_group(number)
        if number > first and (size + group.total_byte_size > _BYTES_A_PIECE or rows + group.num_rows > _ROWS_A_PIECE):
            yield opened.read_row_groups(list(range(first, number)))
            first, rows, size = number, 0, 0
        rows, size = rows + group.num_rows, size + group.total_byte_size
    if rows:
        yield opened.read_row_groups(list(range(first, opened.num_row_groups)))


def _with_reasons(records: pa.Table, again: Again, prepared: Prepared) -> tuple[pa.Table, Counter[str]]:
    """The records with why those that were tried don't land this time, `code` null where they do; and how many by reason."""
    refused = prepared.sieve.refused()
    uncut = [(one.record, one.code, "", one.reason) for one in again.refused]
    at = np.concatenate([again.rows[refused.column("row").to_numpy()], np.array([one[0] for one in uncut], np.int64)])
    columns = {}
    for place, name in enumerate(("code", "column", "reason"), 1):
        new = pa.concat_arrays([refused.column(name).combine_chunks(), pa.array([one[place] for one in uncut], pa.string())])
        # where each record's new text is: untried ones keep theirs, landed ones have none
        which = np.arange(records.num_rows)
        which[again.rows] = -1
        which[at] = records.num_rows + np.arange(len(at))
        both = pa.concat_arrays([records.column(name).combine_chunks(), new])
        columns[name] = both.take(pa.array(which, mask=which < 0))
    for name, values in columns.items():
        records = records.set_column(records.column_names.index(name), SCHEMA.field(name), values)
    codes = columns["code"].take(pa.array(at))
    return records, Counter(by_code(pa.chunked_array([codes])))


def _changes(before: Schema, after: Schema) -> tuple[SchemaChange, ...]:
    """What evolution made of a schema, each column once."""
    changes = []
    for column in after:
        known = before.find(column.name)
        if known is None:
            changes.append(SchemaChange(kind="column_added", column=column.name, before=None, after=str(column.type)))
        elif known.type != column.type:
            changes.append(SchemaChange(kind="type_widened", column=column.name, before=str(known.type), after=str(column.type)))
    return tuple(changes)

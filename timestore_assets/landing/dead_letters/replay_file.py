"""One file of dead letters judged anew: what lands now becomes segments, the rest a dead-letter file of its own again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from timestore_assets.catalog.commit_values import Evidence, SchemaChange, Span
from timestore_assets.catalog.late_records import without
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, LateRows, SourceRecord
from timestore_assets.decoding.poison import UNDECODABLE, is_poison, log_poison, poisoned
from timestore_assets.decoding.rejections import Rows
from timestore_assets.landing.committing.staged_dead_letters import (
    ENCODING_KEY,
    FIELDS_KEY,
    StagedDeadLetters,
    by_code,
    open_writer,
)
from timestore_assets.landing.committing.staged_segments import (
    DEAD_LETTER_FOLDER,
    Provenance,
    StagedSegment,
    uploads_of,
    write_segments,
)
from timestore_assets.landing.dead_letters.dead_letter_reader import open_dead_letters
from timestore_assets.landing.dead_letters.replay_batch import Again, UncutRecord, batch_again, can_be_tried
from timestore_assets.landing.dead_letters.replay_order import PlacesAmongLanded
from timestore_assets.landing.dead_letters.replay_records import pieces, with_reasons
from timestore_assets.landing.preparing.evolve import columns_left
from timestore_assets.landing.preparing.key_order import NewestTimes
from timestore_assets.landing.preparing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource, Source
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Schema
from timestore_assets.segments.engine import Engine
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.sources.files.path_columns import path_values
from timestore_assets.storage.disk_errors import not_written
from timestore_assets.storage.object_store import Upload

COUNTED_AS = {"refused": "dead_letters", "late_dropped": "late_dropped", "held": "held"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What stays the same while a dataset's dead letters are replayed."""

    context: WriteContext
    engine: Engine
    dataset: Dataset
    validator: Validator
    session_id: int
    code: str | None
    """Only those refused for this reason are tried; None: all."""
    now: datetime
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterFile:
    """A dead-letter file and where its records come from."""

    file: DeadLetterFile
    origin: SourceRecord
    source: Source
    """As declared now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A dead-letter file judged anew, nothing of it published."""

    file: DeadLetterFile
    tried: int
    """How many records were."""
    landed: int
    """How many of them are among the segments."""
    still: Mapping[str, int]
    """The others of them by why not."""
    segments: tuple[StagedSegment, ...]
    rest: StagedDeadLetters | None
    schema: Schema
    """The one the segments are stored in; its version is the next one when `changes` is not empty."""
    changes: tuple[SchemaChange, ...]
    ignored: Mapping[str, int]
    discarded: Mapping[str, int]
    read_again: Mapping[int, Sequence[tuple[int, int]]]
    """Windows of its source partitions that were left to reloads."""

    @property
    def shift(self) -> Counters:
        """How the source's counters change: nothing is read, what lands leaves the disposition it had."""
        return Counters(**{"landed": self.landed, COUNTED_AS[self.file.kind]: -self.landed})

    @property
    def uploads(self) -> list[Upload]:
        return [*uploads_of(self.segments), *([self.rest.upload] if self.rest else [])]


@dataclass(kw_only=True)
class _Work:
    """One pass through the file."""

    tried: int = 0
    landed: int = 0
    still: Counter[str] = field(default_factory=Counter)
    rest: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    segments: list[StagedSegment] = field(default_factory=list)
    newest: NewestTimes = NewestTimes()  # noqa: RUF009 - immutable
    """Times of each key that land, where records have to be in order."""


class _EvolvedError(Exception):
    """A piece needs a further schema; what was written so far was written in an older one."""

    def __init__(self, schema: Schema, changes: Sequence[SchemaChange]) -> None:
        super().__init__("the schema has evolved")
        self.schema, self.changes = schema, changes


class FileReplay:
    """Judges one dead-letter file by the present rules. `record`: the dataset as it is now."""

    def __init__(self, setting: Setting, record: DatasetRecord, letters: LetterFile, folder: Path) -> None:
        self._setting, self._record, self._file = setting, record, letters.file
        self._origin, self._source = letters.origin, letters.source
        # makes the names differ from those of any other try
        self._attempt, self._folder = f"replay{letters.file.id}-{token_hex(6)}", folder
        self._rest = folder / "rest.parquet"
        self._expired = setting.context.catalog.expiry.expired(record.id)
        self._passes = 0
        self._read_again: dict[int, Sequence[tuple[int, int]]] = {}

    def judge(self) -> Replayed | None:
        """Try its records and write what comes of them into the folder; None when the file can't be replayed at all.

        Raises:
            BadFileError: its columns don't fit the dataset.
            StorageFullError, UnavailableError: it can't be read, or the folder takes no more.
        """
        base = schema = self._record.schema
        evidence: dict[str, Evidence | None] = {}
        with open_dead_letters(self._setting.context.storage, self._file) as opened:
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
                    evidence = {change.column: change.evidence for change in evolved.changes} | evidence
        return Replayed(
            file=self._file,
            tried=work.tried,
            landed=work.landed,
            still=dict(work.still),
            segments=tuple(work.segments),
            rest=self._staged_rest(work),
            schema=schema,
            changes=_changes(base, schema, evidence),
            ignored=dict(work.ignored),
            discarded=dict(work.discarded),
            read_again=dict(self._read_again),
        )

    def _pass(self, opened: pq.ParquetFile, metadata: Mapping[bytes, bytes], schema: Schema) -> _Work:
        work = _Work()
        self._passes += 1
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for number, records in enumerate(pieces(opened)):
                landed = self._piece(work, records, metadata, schema, number)
                kept = landed.filter(pc.is_valid(landed.column("code")))
                if kept.num_rows:
                    work.rest.update(by_code(kept.column("code")))
                    try:
                        if writer is None:
                            writer = stack.enter_context(open_writer(self._rest, opened.schema_arrow))
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
        again = self._again(records, rows, encoding, fields)
        rules = self._rules(schema, encoding, _path(self._source, records), work.newest)
        prepared = prepare(self._setting.engine.run, again.batch, rules)
        if prepared.changes:
            raise _EvolvedError(prepared.schema, prepared.changes)
        if prepared.order is not None:
            work.newest = prepared.order.after
        work.tried += len(rows)
        work.landed += prepared.rows.num_rows
        work.ignored.update(prepared.ignored)
        work.discarded.update(prepared.discarded)
        work.segments += self._write(prepared, schema, number)
        marked, still = with_reasons(records, again, prepared)
        work.still.update(still)
        return marked

    def _again(self, records: pa.Table, rows: Rows, encoding: str, fields: Sequence[str]) -> Again:
        """Records as a batch; those that can't even be made part of one stay dead letters for that."""

        def made(some: Rows) -> Again:
            return batch_again(records, some, encoding=encoding, fields=fields, source=self._source)

        try:
            return made(rows)
        except Exception as error:
            if not is_poison(error):
                raise
            reasons = poisoned(rows, made, error)
            log_poison(f"{len(reasons)} dead letters of {self._file.name}", error)
        again = made(np.setdiff1d(rows, np.fromiter(reasons, np.int64, len(reasons))))
        refused = tuple(UncutRecord(record=row, code=UNDECODABLE, reason=reason) for row, reason in reasons.items())
        return replace(again, refused=(*again.refused, *refused))

    def _chosen(self, records: pa.Table, *, typed: bool) -> Rows:
        """Which records to try."""
        chosen = can_be_tried(records, typed=typed)
        if self._setting.code is not None:
            chosen &= pc.equal(records.column("code"), self._setting.code).to_numpy()
        partitions = pc.unique(records.column("source_partition")).to_pylist()
        gone = self._setting.context.catalog.sources.withdrawn(partitions)
        if gone:
            chosen &= ~pc.is_in(records.column("source_partition"), pa.array(sorted(gone))).to_numpy()
        # a reload has judged these once more: what it refused is a dead letter of its own
        sources, positions = (records.column(name).to_numpy() for name in ("source_partition", "position"))
        read_again = self._setting.context.catalog.reloads.read_again(partitions)
        # the first look counts, so that one that was swapped in between two pieces is a conflict
        self._read_again = {source: tuple(read_again.get(source, ())) for source in partitions} | self._read_again
        for source, windows in read_again.items():
            for first, end in windows:
                chosen &= ~((sources == source) & (positions >= first) & (positions < end))
        return np.flatnonzero(chosen)

    def _rules(self, schema: Schema, encoding: str, path: Mapping[str, str | None], pieces: NewestTimes) -> Rules:
        setting = self._setting
        return Rules(
            dataset=setting.dataset,
            schema=schema,
            validator=setting.validator,
            zone=self._source.timezone,
            form=setting.dataset.form_of(self._source),
            path=path,
            now=setting.now,
            allowance=lambda: self._columns_left(schema),
            known_keys=lambda _: {},
            expired=self._expired,
            max_record_bytes=self._source.max_record_bytes if encoding == "json" else None,
            then=self._then,
            order=self._places(pieces) if setting.dataset.is_strict else None,
        )

    def _places(self, pieces: NewestTimes) -> PlacesAmongLanded:
        return PlacesAmongLanded(context=self._setting.context, record=self._record, dataset=self._setting.dataset, pieces=pieces)

    @cached_property
    def _then(self) -> Schema | None:
        """The schema whose names the records go by."""
        version = self._file.schema_version
        if version is None or not self._record.schema.was_migrated:
            return None
        return self._setting.context.catalog.datasets.schema_of_records(self._record.id, version)

    def _columns_left(self, schema: Schema) -> int:
        """How many columns may still be added, beside those that this replay has added so far."""
        setting, added = self._setting, len(schema.columns) - len(self._record.schema.columns)
        return max(0, columns_left(setting.context.catalog, self._record.id, setting.dataset, now=setting.now) - added)

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
            threads=self._setting.context.limits.threads,
            source_partitions=prepared.source_partitions,
            may_share=self._setting.context.may_share,
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
            late=self._late_still(work),
        )
        return StagedDeadLetters(file=file, upload=Upload(staged=self._rest, name=name))

    def _late_still(self, work: _Work) -> tuple[LateRows, ...]:
        landed: Counter[datetime] = Counter()
        for one in work.segments:
            landed[one.segment.partition_start] += one.segment.rows
        return without(self._file.late, landed)


def _path(source: Source, records: pa.Table) -> Mapping[str, str | None]:
    """What the path of the file says that all records of a dead-letter file come from."""
    match source:
        case FileSource():
            return path_values(records.column("source")[0].as_py(), source.path_columns)
        case KafkaSource() | HttpSource():
            return {}
        case _:
            assert_never(source)


def _changes(before: Schema, after: Schema, evidence: Mapping[str, Evidence | None]) -> tuple[SchemaChange, ...]:
    """What evolution made of a schema, each column once, with what asked for it first."""
    changes: list[SchemaChange] = []
    for column in after:
        known, found = before.find(column.name), evidence.get(column.name)
        kind = str(column.type)
        if known is None:
            changes.append(SchemaChange(kind="column_added", column=column.name, before=None, after=kind, evidence=found))
        elif known.type != column.type:
            was = str(known.type)
            changes.append(SchemaChange(kind="type_widened", column=column.name, before=was, after=kind, evidence=found))
    return tuple(changes)

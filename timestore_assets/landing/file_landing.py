"""One file from where it stands to its end, batch by batch, each committed with its position."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Counters, DatasetRecord, FileRecord, LandingCommit, SchemaChange
from timestore_assets.landing.dead_letters import StagedDeadLetters, write_dead_letters
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.write import Provenance, StagedSegment, write_segments
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import ConflictError, UnknownOutcomeError
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Column
from timestore_assets.model.window import parse_time
from timestore_assets.sources.port import Batch
from timestore_assets.storage.port import ObjectStore

_TRIES = 8
"""How often a batch is done again because another session evolved the schema or used a key first."""
_EVOLUTION_PERIOD = timedelta(days=1)


@dataclass(kw_only=True)
class Tally:
    """What a landing call did so far."""

    counters: Counters = field(default_factory=Counters)
    partitions: set[tuple[datetime, str]] = field(default_factory=set)
    changes: list[SchemaChange] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.counters += other.counters
        self.partitions |= other.partitions
        self.changes += other.changes
        self.reasons.update(other.reasons)
        self.ignored.update(other.ignored)


class LostFileError(ConflictError):
    """Another session has taken this file over; what it commits counts, nothing of ours does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Staged:
    segments: list[StagedSegment]
    dead_letters: StagedDeadLetters | None

    @property
    def names(self) -> tuple[str, ...]:
        letters = (self.dead_letters.file.name,) if self.dead_letters else ()
        return (*(one.segment.name for one in self.segments), *letters)


class FileLanding:
    """Lands the batches of one file in one session."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: ObjectStore,
        con: duckdb.DuckDBPyConnection,
        threads: int,
        dataset: Dataset,
        source: FileSource,
        validator: Validator,
        file: FileRecord,
        session_id: int,
        clock: Callable[[], datetime],
        actor: str,
        tally: Tally,
    ) -> None:
        if file.source_partition_id is None:
            raise ValueError(f"file {file.id} is {file.state}, so it has nothing to be read as")
        self._catalog, self._store, self._con = catalog, store, con
        self._threads = threads
        self._dataset, self._source, self._validator = dataset, source, validator
        self._file, self._partition_id, self._session_id = file, file.source_partition_id, session_id
        self._clock, self._actor, self._tally = clock, actor, tally
        self._record = self._current_record()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the dataset as they are now."""
        return self._record.schema.columns

    def land(self, batch: Batch) -> Counters:
        """Land one batch whole, or leave everything as it was.

        Raises:
            BadFileError: the file's columns don't fit the dataset.
            LostFileError: another session has landed from the same position.
            StorageFullError, UnavailableError: nothing was published; landing goes on from the last commit later.
        """
        for _ in range(_TRIES):
            try:
                return patiently(lambda: self._try(batch))
            except ConflictError:
                self._require_position(batch.start)
                self._record = self._current_record()
        raise ConflictError(f"{self._file.address}: the schema of {self._dataset.name!r} kept changing; run it again")

    def _try(self, batch: Batch) -> Counters:
        prepared = prepare(self._con, batch, self._rules())
        provenance = Provenance(
            source_id=self._file.source_id,
            source_partition_id=self._partition_id,
            session_id=self._session_id,
            start=batch.start,
            end=batch.end,
            attempt=token_hex(6),
        )
        with self._staging(provenance) as folder:
            staged = self._stage(batch, prepared, provenance, folder)
            self._publish(staged)
            self._commit(self._commit_of(batch, prepared, staged))
        self._count(prepared, staged)
        if prepared.changes:
            # the next batch is judged by the schema that this one made, else its commit would conflict with our own
            self._record = self._current_record()
        return prepared.counters

    def _stage(self, batch: Batch, prepared: Prepared, provenance: Provenance, folder: Path) -> _Staged:
        segments = write_segments(
            prepared.rows,
            prepared.positions,
            dataset=self._dataset,
            schema=prepared.schema,
            provenance=provenance,
            folder=folder / "segments",
            threads=self._threads,
        )
        letters = write_dead_letters(
            batch,
            prepared.sieve,
            dataset=self._dataset.name,
            source=self._file.address,
            provenance=provenance,
            folder=folder,
            now=self._clock(),
        )
        return _Staged(segments=segments, dead_letters=letters)

    def _publish(self, staged: _Staged) -> None:
        uploads = [one.upload for one in staged.segments]
        if staged.dead_letters is not None:
            uploads.append(staged.dead_letters.upload)
        if uploads:
            self._catalog.announce(self._session_id, staged.names)
            self._store.promote(uploads)

    def _commit_of(self, batch: Batch, prepared: Prepared, staged: _Staged) -> LandingCommit:
        file, evolved = self._file, bool(prepared.changes)
        return LandingCommit(
            dataset_id=self._record.id,
            session_id=self._session_id,
            source_id=file.source_id,
            source_partition_id=self._partition_id,
            start=batch.start,
            end=batch.end,
            counters=prepared.counters,
            segments=tuple(one.segment for one in staged.segments),
            dead_letter_files=(staged.dead_letters.file,) if staged.dead_letters else (),
            intents=staged.names,
            idempotency_keys=prepared.keys,
            schema=prepared.schema if evolved else None,
            base_schema_version=self._record.schema.version,
            schema_changes=prepared.changes,
            # a replacement shows all at once, when its last batch is there
            publish=batch.last or not file.replaces,
            retract=file.replaces if batch.last else (),
            file_id=file.id,
            file_state="landed" if batch.last else "landing",
            actor=self._actor,
            ignored_columns=prepared.ignored,
        )

    def _commit(self, commit: LandingCommit) -> None:
        try:
            self._catalog.commit_landing(commit)
        except UnknownOutcomeError:
            # only this attempt moves the checkpoint from here while the lease is held
            if patiently(self._position) != commit.end:
                raise ConflictError("the commit did not happen") from None

    def _rules(self) -> Rules:
        return Rules(
            dataset=self._dataset,
            schema=self._record.schema,
            validator=self._validator,
            zone=self._source.timezone,
            now=self._clock(),
            allowance=self._allowance,
            known_keys=lambda keys: self._catalog.known_keys(self._record.id, keys),
        )

    def _allowance(self) -> int:
        """How many columns evolution may still add today."""
        since = self._clock() - _EVOLUTION_PERIOD
        recent = [
            version for version in self._catalog.schema_history(self._record.id) if parse_time(version["created_at"]) > since
        ]
        added = {
            change["column"]
            for version in recent
            for change in version["changes"]
            if change["kind"] == "column_added" and self._dataset.schema.find(change["column"]) is None
        }
        return max(0, self._dataset.evolution.max_new_columns - len(added))

    def _require_position(self, expected: Position) -> None:
        if patiently(self._position) != expected:
            raise LostFileError(f"{self._file.address}: another session has landed from the same position")

    def _position(self) -> Position:
        found = next((file for file in self._catalog.files(self._file.source_id) if file.id == self._file.id), None)
        if found is None:
            raise LostFileError(f"{self._file.address}: other content has taken its place")
        return found.position

    def _current_record(self) -> DatasetRecord:
        record = patiently(lambda: self._catalog.dataset(self._dataset.name))
        if record is None:
            raise KeyError(self._dataset.name)
        return record

    def _count(self, prepared: Prepared, staged: _Staged) -> None:
        tally = self._tally
        tally.counters += prepared.counters
        tally.changes.extend(prepared.changes)
        tally.ignored.update(prepared.ignored)
        window = self._dataset.window
        tally.partitions.update(
            (one.segment.partition_start, window.key_of(one.segment.partition_start)) for one in staged.segments
        )
        if staged.dead_letters is not None:
            tally.reasons.update(staged.dead_letters.file.reasons)

    @contextmanager
    def _staging(self, provenance: Provenance) -> Iterator[Path]:
        folder = self._store.staging(f"{self._dataset.name}-{provenance.label}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

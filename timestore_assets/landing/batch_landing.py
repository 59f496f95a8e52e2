"""One batch of any source, landed whole: judged, written, announced, committed with its checkpoints, or nothing of it."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import (
    Counters,
    DatasetRecord,
    FileState,
    IdempotencyKey,
    LandingCommit,
    NewIngestion,
    SchemaChange,
    Span,
    WatermarkRule,
)
from timestore_assets.landing.allowance import columns_left
from timestore_assets.landing.dead_letters import StagedDeadLetters, write_dead_letters
from timestore_assets.landing.patience import BUDGET_SECONDS, patiently
from timestore_assets.landing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.watermark import newest_times
from timestore_assets.landing.write import Provenance, StagedSegment, write_segments
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError, UnknownOutcomeError
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Column
from timestore_assets.sources.port import Batch
from timestore_assets.storage.targets import Storage
from timestore_assets.tracing import span

T = TypeVar("T")

_NAMES_TRACED = 20
_TRIES = 8
_LOOK_SECONDS = 5.0
"""How often a batch is done again because another session evolved the schema or used a key first."""


@dataclass(kw_only=True)
class Tally:
    """What a landing call did so far."""

    counters: Counters = field(default_factory=Counters)
    partitions: set[tuple[datetime, str]] = field(default_factory=set)
    changes: list[SchemaChange] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    segments: int = 0

    def add(self, other: Tally) -> None:
        self.counters += other.counters
        self.partitions |= other.partitions
        self.changes += other.changes
        self.reasons.update(other.reasons)
        self.ignored.update(other.ignored)
        self.segments += other.segments


class OvertakenError(ConflictError):
    """Another session has gone on with what is being read; what it commits counts, nothing of ours does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effects:
    """What a batch's commit does beside adding its rows, see `LandingCommit`.

    `late_before`: records of earlier times are late (topics). `forward`: dead letters go to the declared topic too.
    `max_record_bytes`: longer records are refused. `keys`: idempotency keys that the batch stands for, beside those in its
    records. `ingestions`: what became of the requests it is made of. `actor`: who sent them, None for the session's.
    `once_more`: called when the commit met a conflict, before the batch is judged again; it raises what then shall be raised.
    """

    spans: tuple[Span, ...]
    publish: bool = True
    retract: tuple[int, ...] = ()
    file_id: int | None = None
    file_state: FileState | None = None
    watermark: WatermarkRule | None = None
    claimed: bool = False
    late_before: datetime | None = None
    forward: bool = False
    max_record_bytes: int | None = None
    keys: tuple[IdempotencyKey, ...] = ()
    ingestions: Callable[[Prepared], tuple[NewIngestion, ...]] | None = None
    actor: str | None = None
    once_more: Callable[[], None] | None = None

    @property
    def starts(self) -> dict[int, Position]:
        return {span.source_partition_id: span.start for span in self.spans}

    @property
    def ends(self) -> dict[int, Position]:
        return {span.source_partition_id: span.end for span in self.spans}


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where batches come from. `address`: shown with dead letters. `zone`: IANA name of the zone of naive times."""

    source_id: int
    address: str
    zone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """Files of one commit that are finished and not yet in the store."""

    segments: list[StagedSegment]
    dead_letters: list[StagedDeadLetters]

    @property
    def names(self) -> tuple[str, ...]:
        return (*(one.segment.name for one in self.segments), *(one.file.name for one in self.dead_letters))


class BatchLanding:
    """Lands the batches of one source in one session.

    `checkpoints`: where the given source partitions stand; it may raise `OvertakenError` when they are somebody else's now.
    `patience_seconds`: how long faults that pass by themselves are waited for.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        storage: Storage,
        con: duckdb.DuckDBPyConnection,
        threads: int,
        dataset: Dataset,
        origin: Origin,
        validator: Validator,
        session_id: int,
        clock: Callable[[], datetime],
        actor: str,
        tally: Tally,
        checkpoints: Callable[[Effects], Mapping[int, Position]] | None = None,
        patience_seconds: float = BUDGET_SECONDS,
    ) -> None:
        self._catalog, self._storage, self._con = catalog, storage, con
        self._threads = threads
        self._dataset, self._origin, self._validator = dataset, origin, validator
        self._session_id, self._clock, self._actor, self._tally = session_id, clock, actor, tally
        self._checkpoints = checkpoints or (lambda effects: catalog.checkpoints(list(effects.starts)))
        self._patience_seconds = patience_seconds
        self._record = self._current_record()
        self._looked = time.monotonic()
        self.last_write_seconds = 0.0
        """How long the last batch took from the first byte written to its commit."""
        self.manifest_version = self._record.manifest_version
        """After the last commit; it is at least this."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the dataset as they are now."""
        return self._record.schema.columns

    def land(self, batch: Batch, effects: Effects) -> Counters:
        """Land one batch whole, or leave everything as it was.

        Raises:
            BadFileError: the file's columns don't fit the dataset.
            OvertakenError: another session has landed from the same position.
            StorageFullError, UnavailableError: nothing was published; landing goes on from the last commit later.
        """
        return self.publish(batch, effects, self._patiently(lambda: self.prepare(batch, effects)))

    def prepare(self, batch: Batch, effects: Effects) -> Prepared:
        """Judge a batch by the schema as it is known here. Another thread may publish the batch before it meanwhile."""
        with span("prepare", dataset=self._dataset.name) as noting:
            prepared = prepare(self._con, batch, self._rules(effects))
            noting.note(rows=prepared.rows.num_rows, read=prepared.counters.read)
            return prepared

    def publish(self, batch: Batch, effects: Effects, prepared: Prepared) -> Counters:
        """Write and commit a prepared batch; errors as `land`. It is judged again when the schema has changed since."""
        for _ in range(_TRIES):
            try:
                return self._patiently(partial(self._publish_whole, batch, effects, prepared))
            except ConflictError:
                self._require_start(effects)
                if effects.once_more is not None:
                    effects.once_more()
                self._record = self._current_record()
            with self._con.cursor() as con:  # the connection itself may be judging the next batch
                prepared = self._patiently(partial(prepare, con, batch, self._rules(effects)))
        raise ConflictError(f"{self._origin.address}: the schema of {self._dataset.name!r} kept changing; run it again")

    def note(self, effects: Effects, *, duplicates: int = 0, ingestions: tuple[NewIngestion, ...] = ()) -> None:
        """Commit checkpoints, clocks and keys without landing a record, for what went on without one.

        `duplicates`: records that were read and had landed before. `ingestions`: requests that brought no others.

        Raises:
            OvertakenError, UnavailableError: as `land`.
        """
        commit = LandingCommit(
            dataset_id=self._record.id,
            session_id=self._session_id,
            source_id=self._origin.source_id,
            spans=effects.spans,
            counters=Counters(read=duplicates, duplicates=duplicates),
            idempotency_keys=effects.keys,
            ingestions=ingestions,
            watermark=effects.watermark,
            claimed=effects.claimed,
            actor=effects.actor or self._actor,
        )
        try:
            self._patiently(lambda: self._commit(commit, effects))
        except ConflictError:
            if effects.once_more is not None:
                effects.once_more()
            raise OvertakenError(f"{self._origin.address}: another session has gone on from there") from None

    def _publish_whole(self, batch: Batch, effects: Effects, prepared: Prepared) -> Counters:
        began = time.monotonic()
        self._follow(began)
        provenance = Provenance(
            source_id=self._origin.source_id, session_id=self._session_id, spans=effects.spans, attempt=token_hex(6)
        )
        with self._staging(provenance) as folder:
            with span("stage", dataset=self._dataset.name) as noting:
                staged = self._stage(batch, prepared, provenance, folder, forward=effects.forward)
                noting.note(segments=len(staged.segments), dead_letter_files=len(staged.dead_letters))
            self._promote_and_commit(prepared, staged, effects)
        self.last_write_seconds = time.monotonic() - began
        self._count(prepared, staged)
        if prepared.changes:
            # the next batch is judged by the schema that this one made, else its commit would conflict with our own
            self._record = self._current_record()
        return prepared.counters

    def _stage(self, batch: Batch, prepared: Prepared, provenance: Provenance, folder: Path, *, forward: bool) -> Staged:
        segments = write_segments(
            prepared.rows,
            prepared.positions,
            dataset=self._dataset,
            schema=prepared.schema,
            provenance=provenance,
            folder=folder / "segments",
            threads=self._threads,
            source_partitions=prepared.source_partitions,
        )
        letters = write_dead_letters(
            batch,
            prepared.sieve,
            dataset=self._dataset,
            source=self._origin.address,
            provenance=provenance,
            folder=folder,
            now=self._clock(),
            forward=forward,
        )
        return Staged(segments=segments, dead_letters=letters)

    def _promote_and_commit(self, prepared: Prepared, staged: Staged, effects: Effects) -> None:
        with span("promote", objects=", ".join(staged.names[:_NAMES_TRACED])):
            self._publish(staged)
        with span("catalog commit", dataset=self._dataset.name):
            self._commit(self._commit_of(prepared, staged, effects), effects)

    def _publish(self, staged: Staged) -> None:
        uploads = [*(one.upload for one in staged.segments), *(one.upload for one in staged.dead_letters)]
        if uploads:
            self._catalog.announce(self._session_id, staged.names, storage=self._record.storage)
            self._storage.target(self._record.storage).promote(uploads)

    def _commit_of(self, prepared: Prepared, staged: Staged, effects: Effects) -> LandingCommit:
        return LandingCommit(
            dataset_id=self._record.id,
            session_id=self._session_id,
            source_id=self._origin.source_id,
            spans=_with_newest(effects, prepared, self._dataset.time, self._clock()),
            counters=prepared.counters,
            segments=tuple(replace(one.segment, storage=self._record.storage) for one in staged.segments),
            dead_letter_files=tuple(replace(one.file, storage=self._record.storage) for one in staged.dead_letters),
            intents=staged.names,
            idempotency_keys=(*prepared.keys, *effects.keys),
            ingestions=() if effects.ingestions is None else effects.ingestions(prepared),
            schema=prepared.schema if prepared.changes else None,
            base_schema_version=prepared.base_schema_version,
            schema_changes=prepared.changes,
            publish=effects.publish,
            retract=effects.retract,
            file_id=effects.file_id,
            file_state=effects.file_state,
            actor=effects.actor or self._actor,
            ignored_columns=prepared.ignored,
            watermark=effects.watermark,
            claimed=effects.claimed,
        )

    def _commit(self, commit: LandingCommit, effects: Effects) -> None:
        try:
            self.manifest_version = self._catalog.commit_landing(commit)
        except UnknownOutcomeError:
            # only this attempt moves the checkpoints from here while they are held
            if self._patiently(lambda: self._checkpoints(effects)) != effects.ends:
                raise ConflictError("the commit did not happen") from None
            self.manifest_version = self._patiently(lambda: self._catalog.manifest_version(commit.dataset_id))

    def _patiently(self, work: Callable[[], T]) -> T:
        return patiently(work, budget_seconds=self._patience_seconds)

    def _rules(self, effects: Effects) -> Rules:
        return Rules(
            dataset=self._dataset,
            schema=self._record.schema,
            validator=self._validator,
            zone=self._origin.zone,
            now=self._clock(),
            allowance=lambda: columns_left(self._catalog, self._record.id, self._dataset, now=self._clock()),
            known_keys=lambda keys: self._catalog.known_keys(self._record.id, keys),
            late_before=effects.late_before,
            max_record_bytes=effects.max_record_bytes,
        )

    def _require_start(self, effects: Effects) -> None:
        if self._patiently(lambda: self._checkpoints(effects)) != effects.starts:
            raise OvertakenError(f"{self._origin.address}: another session has landed from the same position")

    def _follow(self, now: float) -> None:
        """Go where the dataset has been sent since: a session may last for days."""
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._record = replace(self._record, storage=self._current_record().storage)

    def _current_record(self) -> DatasetRecord:
        record = self._patiently(lambda: self._catalog.dataset(self._dataset.name))
        if record is None:
            raise KeyError(self._dataset.name)
        return record

    def _count(self, prepared: Prepared, staged: Staged) -> None:
        tally = self._tally
        tally.counters += prepared.counters
        tally.changes.extend(prepared.changes)
        tally.ignored.update(prepared.ignored)
        tally.segments += len(staged.segments)
        window = self._dataset.window
        tally.partitions.update(
            (one.segment.partition_start, window.key_of(one.segment.partition_start)) for one in staged.segments
        )
        for letters in staged.dead_letters:
            tally.reasons.update(letters.file.reasons)

    @contextmanager
    def _staging(self, provenance: Provenance) -> Iterator[Path]:
        folder = self._storage.target(self._record.storage).staging(f"{self._dataset.name}-{provenance.label}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _with_newest(effects: Effects, prepared: Prepared, column: str, now: datetime) -> tuple[Span, ...]:
    """The spans with the newest event time that landed from each."""
    if effects.watermark is None or prepared.source_partitions is None or not prepared.rows.num_rows:
        return effects.spans
    newest = newest_times(prepared.rows.column(column), prepared.source_partitions, until=now)
    return tuple(replace(span, newest=newest.get(span.source_partition_id)) for span in effects.spans)

"""A landing session over files: identify, claim, land from the stored position, settle; a bad file stops nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Counters, FileRecord, SourceRecord
from timestore_assets.landing.addresses import outside_identity
from timestore_assets.landing.aftermath import put_away
from timestore_assets.landing.batch_landing import BatchLanding, Origin, OvertakenError, Tally
from timestore_assets.landing.file_landing import effects_of, position_of
from timestore_assets.landing.header import check_header
from timestore_assets.landing.keep_alive import TTL, Heart
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.read_ahead import read_ahead
from timestore_assets.landing.report import FileReport, LandReport, Progress
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.working import working
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.model.errors import BadFileError, RefusedError
from timestore_assets.sources.files.input_file import FileIdentity, InputFile
from timestore_assets.sources.files.open import DEFAULT_MEMORY_BYTES, FileReader, open_reader
from timestore_assets.sources.files.sniff import sniff
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.storage.targets import Storage

_CHANGED = "changed_while_reading"
_BUSY = "another session is landing it"
_LOOK_AGAIN_SECONDS = 0.25

TYPED_BATCH_BYTES = 96_000_000
"""Arrow data of a batch of a typed file. Two batches are in memory and one of them twice, once rearranged: with 96 MB the peak
is 0.9 GB, with 192 MB 1.4 GB at no gain in speed (20 M rows of 47 bytes over 168 partitions)."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """What stays the same during one call of `land_files`."""

    dataset: Dataset
    source: FileSource
    record: SourceRecord
    session_id: int
    heart: Heart
    con: duckdb.DuckDBPyConnection
    validator: Validator
    format: FileFormat | None
    chunk_rows: int | None
    progress: Progress | None
    actor: str


class Lander:
    """Lands files into datasets.

    `holder`: who does it, for leases. `ttl`: how long a lease of ours outlives us. `clock`: what time it is, for bounds and
    records.
    """

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        limits: EngineLimits,
        *,
        holder: str,
        ttl: timedelta = TTL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._catalog, self._storage, self._limits = catalog, storage, limits
        self._holder, self._ttl, self._clock = holder, ttl, clock

    def land_files(
        self,
        dataset: Dataset,
        source: FileSource,
        files: Sequence[InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: Progress | None = None,
        actor: str,
    ) -> LandReport:
        """Land files, each from the position where it stands, in the given order.

        Args:
            dataset: registered in the catalog if it is not yet.
            source: the source the files are counted under; its format, dialect and policies hold.
            files: each is known by its address.
            format: overrides the source's.
            chunk_rows: at most so many records a commit; by memory when None.
            progress: told about files and batches.
            actor: who asked, for the audit.

        Raises:
            RefusedError: the dataset asks for what files can't give (`order: strict`).
            StorageFullError, UnavailableError: landing stopped; what is committed stays and the rest goes on from there.
        """
        if dataset.order == "strict":
            raise RefusedError(f"dataset {dataset.name!r} has `order: strict`, which file sources can't keep; write `order: any`")
        started, tally = time.monotonic(), Tally()
        with self._session(dataset, source, format, chunk_rows, progress, actor) as call:
            outcomes = self._land_all(call, files)
        for _, one in outcomes:
            tally.add(one)
        reports = tuple(report for report, _ in outcomes)
        return LandReport(
            dataset=dataset.name,
            files=reports,
            counters=sum((report.counters for report in reports), Counters()),
            manifest_version=self._catalog.manifest_version(call.record.dataset_id),
            partitions=tuple(key for _, key in sorted(tally.partitions)),
            schema_changes=tuple(tally.changes),
            seconds=time.monotonic() - started,
            dead_letter_reasons=dict(tally.reasons),
            ignored_columns=dict(tally.ignored),
        )

    @contextmanager
    def _session(
        self,
        dataset: Dataset,
        source: FileSource,
        format: FileFormat | None,
        chunk_rows: int | None,
        progress: Progress | None,
        actor: str,
    ) -> Iterator[_Call]:
        registered = self._catalog.register(dataset, actor=actor)
        record = self._catalog.source(registered.id, source.kind, source.address)
        with working(self._catalog, registered.id, "landing", holder=self._holder, ttl=self._ttl, limits=self._limits) as session:
            yield _Call(
                dataset=dataset,
                source=source,
                record=record,
                session_id=session.id,
                heart=session.heart,
                con=session.con,
                validator=Validator(dataset),
                format=format,
                chunk_rows=chunk_rows,
                progress=progress,
                actor=actor,
            )

    def _land_all(self, call: _Call, files: Sequence[InputFile]) -> list[tuple[FileReport, Tally]]:
        """Land every file; those that somebody holds again at the end, until a dead holder's lease would have expired."""
        outcomes = [self._land_file(call, file) for file in files]
        patience = time.monotonic() + self._ttl.total_seconds() + 4 * _LOOK_AGAIN_SECONDS
        while time.monotonic() < patience:
            busy = [index for index, (report, _) in enumerate(outcomes) if report.reason == _BUSY]
            if not busy:
                break
            time.sleep(_LOOK_AGAIN_SECONDS)
            for index in busy:
                outcomes[index] = self._land_file(call, files[index])
        return outcomes

    def _land_file(self, call: _Call, file: InputFile) -> tuple[FileReport, Tally]:
        report, tally = self._land_one(call, file)
        if call.progress is not None:
            call.progress.file_done(report)
        return report, tally

    def _land_one(self, call: _Call, given: InputFile) -> tuple[FileReport, Tally]:
        try:
            identity = given.identify()
        except BadFileError as error:
            return self._unidentified(call, given, error), Tally()
        if call.progress is not None:
            call.progress.file_started(given.address, identity.size)
        asked = utc_now()
        file = self._observe(call, given.address, identity)
        report = FileReport(address=given.address, state=file.state, reason=file.reason, bytes=identity.size)
        if file.state in ("landed", "duplicate"):
            put_away(call.source, given, identity.etag)
            return _known(report, file, asked), Tally()
        if file.state == "rejected":
            return report, Tally()
        return self._claim(call, given, identity, file, report)

    def _observe(self, call: _Call, address: str, identity: FileIdentity) -> FileRecord:
        replaces = call.source.on_change == "replace"
        seen = {"address": address, "sha256": identity.sha256, "etag": identity.etag}
        return patiently(lambda: self._catalog.observe_file(call.record.id, **seen, size=identity.size, replace=replaces))

    def _claim(
        self, call: _Call, given: InputFile, identity: FileIdentity, file: FileRecord, report: FileReport
    ) -> tuple[FileReport, Tally]:
        """Land a file that nobody else is landing."""
        # the session's id sets apart two sessions of one process, which have the same holder
        holder = f"{self._holder}#{call.session_id}"
        lease = patiently(
            lambda: self._catalog.acquire(f"source_partition:{file.source_partition_id}", holder=holder, ttl=self._ttl)
        )
        if lease is None:
            return replace(report, state="landing", reason=_BUSY), Tally()
        tally = Tally()
        with call.heart.holding(lease):
            # what is known of it may be older than the lease
            asked = utc_now()
            file = self._observe(call, report.address, identity)
            if file.state not in ("pending", "landing", "quarantined"):
                return _known(replace(report, state=file.state, reason=file.reason), file, asked), tally
            outcome = self._land_claimed(call, given, identity, file, report, tally)
        if outcome.state == "landed":
            put_away(call.source, given, identity.etag)
        return replace(outcome, counters=tally.counters), tally

    def _land_claimed(
        self, call: _Call, given: InputFile, identity: FileIdentity, file: FileRecord, report: FileReport, tally: Tally
    ) -> FileReport:
        try:
            self._land_batches(call, given, identity, file, tally)
        except BadFileError as error:
            if error.code == _CHANGED:
                return replace(report, state="landing" if file.position.offset else "pending", reason=error.reason)
            reason = error.reason
            patiently(lambda: self._catalog.settle_file(file.id, "quarantined", reason=reason))
            return replace(report, state="quarantined", reason=reason)
        except OvertakenError:
            return replace(report, state="landing", reason="another session has gone on with it")
        return replace(report, state="landed", reason="")

    def _land_batches(self, call: _Call, given: InputFile, identity: FileIdentity, file: FileRecord, tally: Tally) -> None:
        known = sniff(given, call.format or call.source.format)
        budget = TYPED_BATCH_BYTES if known == "parquet" else DEFAULT_MEMORY_BYTES
        reader = open_reader(
            given,
            call.source,
            format=known,
            memory_bytes=min(budget, self._limits.memory_bytes // 4),
            chunk_rows=call.chunk_rows,
            etag=identity.etag,
        )
        landing = BatchLanding(
            catalog=self._catalog,
            storage=self._storage,
            con=call.con,
            threads=self._limits.threads,
            dataset=call.dataset,
            origin=Origin(source_id=file.source_id, address=file.address, zone=call.source.timezone),
            validator=call.validator,
            session_id=call.session_id,
            clock=self._clock,
            actor=call.actor,
            tally=tally,
            checkpoints=lambda _: position_of(self._catalog, file),
        )
        _check_columns(reader, landing)
        rows = file.counters.read
        with read_ahead(reader.batches(file.position)) as batches:
            for batch in batches:
                rows += landing.land(batch, effects_of(file, batch)).read
                del batch
                if call.progress is not None:
                    call.progress.advanced(file.address, reader.bytes_read, rows)

    def _unidentified(self, call: _Call, given: InputFile, error: BadFileError) -> FileReport:
        """Report a file without a content; one that is there but can't be read is recorded by its looks, so that it is seen."""
        if error.code == _CHANGED:
            return FileReport(address=given.address, state="pending", reason=error.reason)
        identity = outside_identity(given)
        if identity is not None:
            file = self._observe(call, given.address, identity)
            if file.state != "quarantined":
                patiently(lambda: self._catalog.settle_file(file.id, "quarantined", reason=error.reason))
        return FileReport(address=given.address, state="quarantined", reason=error.reason)


def _check_columns(reader: FileReader, landing: BatchLanding) -> None:
    """Refuse a file by its header before any row is read; a file without rows would never be asked."""
    schema = reader.arrow_schema
    names = reader.header if schema is None else tuple(schema.names)
    if names is not None:
        check_header(names, landing.columns)


def _known(report: FileReport, file: FileRecord, asked: datetime) -> FileReport:
    """What a file whose content was known counts for in this call.

    A copy's records count once, in the call that found it. Landing again from the same address is the same records of the same
    source: they are duplicates to this call and nothing new to the source's counters.
    """
    if file.state == "landed":
        counters = Counters(read=file.counters.read, duplicates=file.counters.read)
        return replace(
            report, state="duplicate", reason="the same content has landed from this address before", counters=counters
        )
    decided_now = file.updated_at is not None and file.updated_at >= asked
    return replace(report, counters=file.counters) if decided_now else report

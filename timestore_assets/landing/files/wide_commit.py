"""Many batches of a file in one commit, so that a large file that is not ordered by time makes few and large segments."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex

import pyarrow as pa

from timestore_assets.catalog.commit_values import FileProgress
from timestore_assets.decoding.poison import is_poison
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.committing.batch_commit import BatchCommit, Staged, UnwrittenError
from timestore_assets.landing.committing.staged_dead_letters import StagedDeadLetters
from timestore_assets.landing.committing.staged_segments import (
    Provenance,
    in_order,
    staged_file,
    stored_rows,
    unprunable,
    with_constants,
)
from timestore_assets.landing.files.file_part import PartBatch
from timestore_assets.landing.files.spill import Spill
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, FrozenSchemaError
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN
from timestore_assets.segments.partition_rows import window_numbers
from timestore_assets.segments.shared_file import SharedFile
from timestore_assets.segments.writer import WrittenFile
from timestore_assets.storage.object_store import Upload
from timestore_assets.tracing import span

_CONSTANT = (SOURCE_COLUMN, SESSION_COLUMN)
"""Columns with one value in a whole commit, which need be neither arranged nor gathered."""


class LostRaceError(ConflictError):
    """What was gathered can't be committed any more: another session evolved the schema first. It is read and judged again."""


@dataclass(kw_only=True)
class _Gathered:
    """Batches that are judged and not committed."""

    folder: Path
    attempt: str
    """Part of the names of the dead letters."""
    progress: FileProgress
    """Of the last batch, over the span of all."""
    judged: Prepared
    """The last batch's, with the counters of all and without rows."""
    spill: Spill | None = None
    letters: list[StagedDeadLetters] = field(default_factory=list)
    bytes: int = 0
    """Of Arrow data."""

    def discard(self) -> None:
        if self.spill is not None:
            with suppress(OSError):  # a full disk doesn't take the end of a file that goes anyway
                self.spill.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class WideCommit:
    """Lands the batches of one part of a file, in order, many by one commit of `commit`.

    Close it, or what is gathered stays in the staging area. `commit_bytes`: Arrow data after which a commit is made; 0: each
    batch is one.
    """

    def __init__(self, commit: BatchCommit, *, commit_bytes: int) -> None:
        self._commit, self._judge = commit, commit.judge
        self._commit_bytes = commit_bytes
        self._gathered: _Gathered | None = None

    def close(self) -> None:
        """Give up what is gathered."""
        self._clear()
        if self._judge.order is not None:
            self._judge.order.go_back()

    def _clear(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            gathered.discard()

    def feed(self, batch: PartBatch) -> Counters:
        """Take in one batch; commit when enough is gathered, or with the last. Returns what became of its records.

        Raises:
            LostRaceError: nothing since the last commit has landed, and all of it must be fed again.
            UnwrittenError: likewise; it is a record's fault, see `go_on_one_by_one`.
            BadFileError, OvertakenError, StorageFullError, UnavailableError: as `BatchCommit.land`, for all since then.
        """
        last = batch.batch.last
        if not self._commit_bytes or (last and self._gathered is None):
            return self._commit.land(batch)
        prepared = self._prepared(batch)
        if prepared.changes or prepared.keys:
            # the batches behind it are judged by the schema or the keys that its commit makes known
            self.flush()
            return self._commit.publish(batch, prepared)
        counters = prepared.counters
        with self._written():
            self._gather(batch, prepared)
        del prepared
        if last or (self._gathered is not None and self._gathered.bytes >= self._commit_bytes):
            self.flush()
        return counters

    def _prepared(self, batch: PartBatch) -> Prepared:
        if self._gathered is None and self._judge.order is not None:
            self._judge.order.renew()
        try:
            return self._commit.prepare(batch)
        except FrozenSchemaError:
            self.flush()  # what came before it lands, however much a commit gathers
            raise

    def go_on_one_by_one(self) -> None:
        """Commit each batch from now on, so that what can't be written is told from what can."""
        self._commit_bytes = 0

    def flush(self) -> None:
        """Commit what is gathered; errors as `feed`."""
        gathered = self._gathered
        if gathered is None:
            return
        try:
            with self._written():
                self._commit.context.retry.run(lambda: self._publish(gathered))
        except ConflictError:
            self._commit.require_start(gathered.progress.spans)
            self._judge.catch_up()
            name = self._judge.dataset.name
            raise LostRaceError(f"{self._commit.origin.address}: the schema of {name!r} has changed") from None
        finally:
            self._clear()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Give up what is gathered when a record of it can't be written: which one can't be told any more."""
        try:
            yield
        except Exception as error:
            if not is_poison(error):
                raise
            self.close()
            raise UnwrittenError from error

    def _gather(self, batch: PartBatch, prepared: Prepared) -> None:
        with span("gather", dataset=self._judge.dataset.name) as noting:
            progress = batch.progress(prepared)
            if self._gathered is None:
                self._gathered = self._begin(progress, prepared)
            gathered = self._gathered
            gathered.progress = _joined(gathered.progress, progress)
            if prepared.rows.num_rows:
                self._spill(gathered, prepared)
            gathered.letters += self._letters(gathered, batch, prepared)
            gathered.judged = _added(gathered.judged, prepared)
            noting.note(rows=prepared.rows.num_rows, gathered_bytes=gathered.bytes)

    def _begin(self, progress: FileProgress, prepared: Prepared) -> _Gathered:
        attempt, record = token_hex(6), self._judge.record
        label = self._commit.provenance(progress.spans, attempt).label
        folder = self._commit.context.storage.target(record.storage).staging(f"{self._judge.dataset.name}-{label}")
        judged = replace(_without_rows(prepared), counters=Counters(), ignored={}, discarded={})
        return _Gathered(folder=folder, attempt=attempt, progress=progress, judged=judged)

    def _spill(self, gathered: _Gathered, prepared: Prepared) -> None:
        table = prepared.rows.append_column(POSITION_COLUMN, prepared.positions)
        dataset, schema, threads = self._judge.dataset, prepared.schema, self._commit.worker.threads
        stored, clusters = stored_rows(table, dataset=dataset, schema=schema, without=frozenset(_CONSTANT), threads=threads)
        firsts = stored.column(dataset.time).take(pa.array(clusters.starts[:-1])).cast(pa.int64())
        if gathered.spill is None:
            gathered.spill = Spill(gathered.folder / "rows.arrow", stored.schema)
        gathered.spill.add(stored, clusters, window_numbers(firsts.to_numpy(), dataset.window).tolist())
        gathered.bytes += stored.nbytes

    def _letters(self, gathered: _Gathered, batch: PartBatch, prepared: Prepared) -> list[StagedDeadLetters]:
        provenance = self._commit.provenance(batch.spans, gathered.attempt)
        folder = gathered.folder / provenance.label
        folder.mkdir()
        return self._commit.dead_letters(batch, prepared, provenance, folder)

    def _publish(self, gathered: _Gathered) -> None:
        """Write, announce and commit under names of this try; what is gathered stays for another."""
        provenance = self._commit.provenance(gathered.progress.spans, token_hex(6))
        with self._commit.staging(provenance) as folder:
            with span("stage", dataset=self._judge.dataset.name) as noting:
                staged = self._stage(gathered, provenance, folder)
                noting.note(segments=len(staged.segments), dead_letter_files=len(staged.dead_letters))
            self._commit.publish_staged(gathered.judged, staged, gathered.progress)

    def _stage(self, gathered: _Gathered, provenance: Provenance, folder: Path) -> Staged:
        schema, source = gathered.judged.schema, gathered.progress.span.source_partition_id
        constants = {SOURCE_COLUMN: source, SESSION_COLUMN: provenance.session_id}
        order = stored_arrow_schema(schema).names
        files: list[WrittenFile | SharedFile] = []
        if gathered.spill is not None:
            files = gathered.spill.write_files(
                folder / "segments",
                finished=lambda table: with_constants(table, constants, order),
                time=self._judge.dataset.time,
                unprunable=unprunable(schema),
                field_ids=schema.ids,
                threads=self._commit.worker.threads,
                may_share=self._commit.context.may_share,
            )
        return Staged(
            segments=in_order(
                segment for file in files for segment in staged_file(file, self._judge.dataset, schema, provenance, (source,))
            ),
            dead_letters=[
                _renamed(letters, gathered.attempt, provenance.attempt, folder / f"letters-{number}.parquet")
                for number, letters in enumerate(gathered.letters)
            ],
        )


def _joined(first: FileProgress, second: FileProgress) -> FileProgress:
    """The progress of a batch and of the one that follows it, as that of one."""
    return replace(second, span=replace(second.span, start=first.span.start))


def _without_rows(prepared: Prepared) -> Prepared:
    empty = prepared.rows.schema.empty_table()
    return replace(prepared, rows=empty, positions=pa.chunked_array([], pa.int64()), row_mask=RowMask(0))


def _added(total: Prepared, prepared: Prepared) -> Prepared:
    ignored, discarded = Counter(total.ignored), Counter(total.discarded)
    ignored.update(prepared.ignored)
    discarded.update(prepared.discarded)
    counters = total.counters + prepared.counters
    return replace(total, counters=counters, ignored=ignored, discarded=discarded, order=prepared.order)


def _renamed(letters: StagedDeadLetters, before: str, attempt: str, path: Path) -> StagedDeadLetters:
    """The same dead letters under names of another try, which takes its own link to the file away."""
    os.link(letters.upload.staged, path)
    name = letters.file.name.replace(before, attempt)
    return StagedDeadLetters(file=replace(letters.file, name=name), upload=Upload(staged=path, name=name))

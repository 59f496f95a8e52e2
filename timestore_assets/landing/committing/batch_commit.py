"""One batch of any source, landed whole: judged, written, announced, committed with its checkpoints, or nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from secrets import token_hex

from timestore_assets.catalog.commit_values import LandingCommit, SourceProgress, Span
from timestore_assets.decoding.poison import is_poison
from timestore_assets.landing.committing.batch_judge import BatchJudge
from timestore_assets.landing.committing.source_batch import Origin, OvertakenError, SourceBatch, starts_of
from timestore_assets.landing.committing.staged_dead_letters import StagedDeadLetters, write_dead_letters
from timestore_assets.landing.committing.staged_segments import Provenance, StagedSegment, uploads_of, write_segments
from timestore_assets.landing.committing.tally import Tally
from timestore_assets.landing.landing_session import Worker
from timestore_assets.landing.preparing.earlier_values import as_sent
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Column
from timestore_assets.retry import CONFLICT
from timestore_assets.segments.publishing import WriteContext, commit_exactly_once, publish, staging_folder
from timestore_assets.storage.object_store import Upload
from timestore_assets.tracing import span

Checkpoints = Callable[[Sequence[int]], Mapping[int, Position]]
"""Where source partitions stand; raises `OvertakenError` when they are somebody else's now."""


class UnwrittenError(Exception):
    """Good rows can't be written as a segment, for an error of their own; nothing of them was published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """Files of one commit that are finished and not yet in the store."""

    segments: list[StagedSegment]
    dead_letters: list[StagedDeadLetters]

    @property
    def uploads(self) -> list[Upload]:
        return [*uploads_of(self.segments), *(one.upload for one in self.dead_letters)]


class BatchCommit:
    """Lands the batches of one source in one session."""

    def __init__(
        self,
        context: WriteContext,
        worker: Worker,
        dataset: Dataset,
        origin: Origin,
        *,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.context, self.worker, self.origin = context, worker, origin
        self.judge = BatchJudge(context, worker, dataset, origin)
        self.tally = Tally()
        """What was committed so far."""
        self.last_write_seconds = 0.0
        """How long the last batch took from the first byte written to its commit."""
        self.manifest_version = self.judge.record.manifest_version
        """After the last commit; it is at least this."""
        self._checkpoints = checkpoints or context.catalog.sources.checkpoints

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the dataset as they are now, as far as records must have them."""
        return as_sent(self.judge.record.schema)

    def land(self, batch: SourceBatch) -> Counters:
        """Land one batch whole, or leave everything as it was.

        Raises:
            BadFileError: the file's columns don't fit the dataset.
            OvertakenError: another session has landed from the same position.
            StorageFullError, UnavailableError: nothing was published; landing goes on from the last commit later.
        """
        return self.publish(batch, self.prepare(batch))

    def prepare(self, batch: SourceBatch) -> Prepared:
        """Judge a batch by the schema as it is known here. Another thread may publish the batch before it meanwhile."""
        return self.judge.judge(batch)

    def publish(self, batch: SourceBatch, prepared: Prepared) -> Counters:
        """Write and commit a prepared batch; errors as `land`. It is judged again when schema or order have changed since."""
        prepared = self.judge.in_order(batch, prepared)
        for _ in CONFLICT.tries():
            try:
                self._publish_once(batch, prepared)
                return prepared.counters
            except UnwrittenError:
                trial = partial(self._try_to_write, batch.spans)
                prepared = self.judge.judge_again(batch, prepared, trial=trial)
            except ConflictError:
                self.require_start(batch.spans)
                batch.confirm()
                self.judge.catch_up()
                prepared = self.judge.judge_again(batch, prepared)
        name = self.judge.dataset.name
        raise ConflictError(f"{self.origin.address}: the schema of {name!r} kept changing; run it again")

    def note(self, progress: SourceProgress, *, duplicates: int = 0, actor: str | None = None) -> None:
        """Commit checkpoints and clocks without landing a record, for what went on without one.

        `duplicates`: records that were read and had landed before.

        Raises:
            OvertakenError, UnavailableError: as `land`.
        """
        commit = LandingCommit(
            dataset_id=self.judge.record.id,
            session_id=self.origin.session_id,
            source_id=self.origin.source_id,
            progress=progress,
            counters=Counters(read=duplicates, duplicates=duplicates),
            actor=actor or self.origin.actor,
        )
        retry = self.context.retry
        try:
            self.manifest_version = retry.run(lambda: commit_exactly_once(self.context, self.judge.record, commit))
        except ConflictError:
            raise OvertakenError(f"{self.origin.address}: another session has gone on from there") from None

    # --- what a commit of several batches does too

    def provenance(self, spans: tuple[Span, ...], attempt: str) -> Provenance:
        """Of rows of these spans in a try of that name."""
        origin = self.origin
        return Provenance(source_id=origin.source_id, session_id=origin.session_id, spans=spans, attempt=attempt)

    def staging(self, provenance: Provenance) -> AbstractContextManager[Path]:
        """A folder for the files of one try."""
        return staging_folder(self.context, self.judge.record, f"{self.judge.dataset.name}-{provenance.label}")

    def dead_letters(
        self, batch: SourceBatch, prepared: Prepared, provenance: Provenance, folder: Path
    ) -> list[StagedDeadLetters]:
        """Write what is refused of a batch."""
        return write_dead_letters(
            batch.batch,
            prepared.row_mask,
            dataset=self.judge.dataset,
            source=self.origin.address,
            provenance=provenance,
            folder=folder,
            now=self.context.clock(),
            forward=self.origin.forwards,
            late=prepared.late,
        )

    def publish_staged(
        self, prepared: Prepared, staged: Staged, progress: SourceProgress, batch: SourceBatch | None = None
    ) -> None:
        """Promote and commit finished files, and count what they hold. `batch`: the only one, for its keys and sender."""
        record = self.judge.record
        commit = LandingCommit(
            dataset_id=record.id,
            session_id=self.origin.session_id,
            source_id=self.origin.source_id,
            progress=progress,
            counters=prepared.counters,
            segments=tuple(replace(one.segment, storage=record.storage) for one in staged.segments),
            dead_letter_files=tuple(
                replace(one.file, storage=record.storage, schema_version=self.origin.schema_version)
                for one in staged.dead_letters
            ),
            idempotency_keys=prepared.keys if batch is None else (*prepared.keys, *batch.keys),
            schema=prepared.schema if prepared.changes else None,
            base_schema_version=prepared.base_schema_version,
            schema_changes=prepared.changes,
            actor=(batch.actor if batch is not None else None) or self.origin.actor,
            ignored_columns=prepared.ignored,
            discarded_values=prepared.discarded,
        )
        self.manifest_version = publish(self.context, record, commit, staged.uploads)
        if self.judge.order is not None:
            self.judge.order.commit(prepared.order)
        self._count(prepared, staged)

    def require_start(self, spans: Sequence[Span]) -> None:
        """Raise OvertakenError when checkpoints don't stand where the spans begin."""
        starts = starts_of(spans)
        if self.context.retry.run(lambda: self._checkpoints(list(starts))) != starts:
            raise OvertakenError(f"{self.origin.address}: another session has landed from the same position")

    # --- one batch

    def _publish_once(self, batch: SourceBatch, prepared: Prepared) -> None:
        self.context.retry.run(lambda: self._publish_whole(batch, prepared))

    def _publish_whole(self, batch: SourceBatch, prepared: Prepared) -> None:
        began = time.monotonic()
        self.judge.follow()
        provenance = self.provenance(batch.spans, token_hex(6))
        with self.staging(provenance) as folder:
            with span("stage", dataset=self.judge.dataset.name) as noting:
                segments = self._write(prepared, provenance, folder)
                staged = Staged(segments=segments, dead_letters=self.dead_letters(batch, prepared, provenance, folder))
                noting.note(segments=len(staged.segments), dead_letter_files=len(staged.dead_letters))
            self.publish_staged(prepared, staged, batch.progress(prepared), batch)
        self.last_write_seconds = time.monotonic() - began
        if prepared.changes:
            # the next batch is judged by the schema that this one made, else its commit would conflict with our own
            self.judge.catch_up()

    def _write(self, prepared: Prepared, provenance: Provenance, folder: Path) -> list[StagedSegment]:
        try:
            return self._write_rows(prepared, provenance, folder)
        except Exception as error:
            if is_poison(error):
                raise UnwrittenError from error
            raise

    def _write_rows(self, prepared: Prepared, provenance: Provenance, folder: Path) -> list[StagedSegment]:
        return write_segments(
            prepared.rows,
            prepared.positions,
            dataset=self.judge.dataset,
            schema=prepared.schema,
            provenance=provenance,
            folder=folder / "segments",
            threads=self.worker.threads,
            source_partitions=prepared.source_partitions,
            may_share=self.context.may_share,
        )

    def _try_to_write(self, spans: tuple[Span, ...], prepared: Prepared) -> None:
        """Find out whether rows can be written."""
        provenance = self.provenance(spans, token_hex(6))
        with self.staging(provenance) as folder:
            self._write_rows(prepared, provenance, folder)

    def _count(self, prepared: Prepared, staged: Staged) -> None:
        tally, window = self.tally, self.judge.dataset.window
        tally.counters += prepared.counters
        tally.changes.extend(prepared.changes)
        tally.ignored.update(prepared.ignored)
        tally.discarded.update(prepared.discarded)
        tally.segments += len(staged.segments)
        starts = {one.segment.partition_start for one in staged.segments}
        tally.partitions.update((start, window.key_of(start)) for start in starts)
        for letters in staged.dead_letters:
            tally.reasons.update(letters.file.reasons)

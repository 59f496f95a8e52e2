"""Many batches of a file in one commit, so that a large file that is not ordered by time makes few and large segments."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa

from timestore_assets.catalog.records import Counters, Span
from timestore_assets.landing.batch_landing import BatchLanding, Effects, Staged
from timestore_assets.landing.bulk_spill import Spill
from timestore_assets.landing.cluster import window_numbers
from timestore_assets.landing.dead_letters import StagedDeadLetters, write_dead_letters
from timestore_assets.landing.prepare import Prepared
from timestore_assets.landing.sieve import Sieve
from timestore_assets.landing.write import Provenance, staged_segment, stored_rows, unprunable, with_constants
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN
from timestore_assets.sources.port import Batch
from timestore_assets.storage.port import Upload
from timestore_assets.storage.segments import WrittenFile
from timestore_assets.tracing import span

_CONSTANT = (SOURCE_COLUMN, SESSION_COLUMN)
"""Columns with one value in a whole commit, which need be neither arranged nor gathered."""


class LostRaceError(ConflictError):
    """What was gathered can't be committed any more: another session evolved the schema first. It is read and judged again."""


@dataclass(kw_only=True)
class _Gathered:
    """Batches that are judged and not committed. `attempt`: part of the names of the dead letters. `bytes`: of Arrow data.

    `effects`: of the last batch, over the span of all. `judged`: the last batch's, with the counters of all and without rows.
    """

    folder: Path
    attempt: str
    effects: Effects
    judged: Prepared
    spill: Spill | None = None
    letters: list[StagedDeadLetters] = field(default_factory=list)
    bytes: int = 0

    def discard(self) -> None:
        if self.spill is not None:
            with suppress(OSError):  # a full disk doesn't take the end of a file that goes anyway
                self.spill.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class WideLanding(BatchLanding):
    """Lands the batches of one part of a file, in order. Close it, or what is gathered stays in the staging area.

    `commit_bytes`: Arrow data after which a commit is made; 0: each batch is one. Other arguments as for `BatchLanding`.
    """

    def __init__(self, *, commit_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._commit_bytes = commit_bytes
        self._gathered: _Gathered | None = None

    def close(self) -> None:
        """Give up what is gathered."""
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            gathered.discard()

    def feed(self, batch: Batch, effects: Effects, *, last: bool) -> Counters:
        """Take in one batch; commit when enough is gathered, or with the `last`. Returns what became of its records.

        Raises:
            LostRaceError: nothing since the last commit has landed, and all of it must be fed again.
            BadFileError, OvertakenError, StorageFullError, UnavailableError: as `land`, for all since the last commit.
        """
        if not self._commit_bytes or (last and self._gathered is None):
            return self.land(batch, effects)
        prepared = self._patiently(lambda: self.prepare(batch, effects))
        if prepared.changes or prepared.keys:
            # the batches behind it are judged by the schema or the keys that its commit makes known
            self.flush()
            return self.publish(batch, effects, prepared)
        self._gather(batch, effects, prepared)
        counters = prepared.counters
        del prepared
        if last or (self._gathered is not None and self._gathered.bytes >= self._commit_bytes):
            self.flush()
        return counters

    def flush(self) -> None:
        """Commit what is gathered; errors as `feed`."""
        gathered = self._gathered
        if gathered is None:
            return
        try:
            self._patiently(lambda: self._publish_gathered(gathered))
        except ConflictError:
            self._require_start(gathered.effects)
            self._record = self._current_record()
            raise LostRaceError(f"{self._origin.address}: the schema of {self._dataset.name!r} has changed") from None
        finally:
            self.close()

    def _gather(self, batch: Batch, effects: Effects, prepared: Prepared) -> None:
        with span("gather", dataset=self._dataset.name) as noting:
            if self._gathered is None:
                self._gathered = self._begin(effects, prepared)
            gathered = self._gathered
            gathered.effects = _joined(gathered.effects, effects)
            if prepared.rows.num_rows:
                self._spill(gathered, prepared)
            gathered.letters += self._letters(gathered, batch, effects, prepared)
            gathered.judged = _added(gathered.judged, prepared)
            noting.note(rows=prepared.rows.num_rows, gathered_bytes=gathered.bytes)

    def _begin(self, effects: Effects, prepared: Prepared) -> _Gathered:
        attempt = token_hex(6)
        label = self._provenance(effects, attempt).label
        folder = self._storage.target(self._record.storage).staging(f"{self._dataset.name}-{label}")
        return _Gathered(
            folder=folder,
            attempt=attempt,
            effects=effects,
            judged=replace(_without_rows(prepared), counters=Counters(), ignored={}),
        )

    def _spill(self, gathered: _Gathered, prepared: Prepared) -> None:
        table = prepared.rows.append_column(POSITION_COLUMN, prepared.positions)
        dataset, schema = self._dataset, prepared.schema
        stored, clusters = stored_rows(table, dataset=dataset, schema=schema, without=frozenset(_CONSTANT), threads=self._threads)
        firsts = stored.column(dataset.time).take(pa.array(clusters.starts[:-1])).cast(pa.int64())
        if gathered.spill is None:
            gathered.spill = Spill(gathered.folder / "rows.arrow", stored.schema)
        gathered.spill.add(stored, clusters, window_numbers(firsts.to_numpy(), dataset.window).tolist())
        gathered.bytes += stored.nbytes

    def _letters(self, gathered: _Gathered, batch: Batch, effects: Effects, prepared: Prepared) -> list[StagedDeadLetters]:
        provenance = self._provenance(effects, gathered.attempt)
        folder = gathered.folder / provenance.label
        folder.mkdir()
        return write_dead_letters(
            batch,
            prepared.sieve,
            dataset=self._dataset,
            source=self._origin.address,
            provenance=provenance,
            folder=folder,
            now=self._clock(),
        )

    def _publish_gathered(self, gathered: _Gathered) -> None:
        """Write, announce and commit under names of this try; what is gathered stays for another."""
        effects, attempt = gathered.effects, token_hex(6)
        provenance = self._provenance(effects, attempt)
        with self._staging(provenance) as folder:
            with span("stage", dataset=self._dataset.name) as noting:
                staged = self._stage_gathered(gathered, provenance, folder)
                noting.note(segments=len(staged.segments), dead_letter_files=len(staged.dead_letters))
            self._promote_and_commit(gathered.judged, staged, effects)
        self._count(gathered.judged, staged)

    def _stage_gathered(self, gathered: _Gathered, provenance: Provenance, folder: Path) -> Staged:
        schema, source = gathered.judged.schema, gathered.effects.spans[0].source_partition_id
        constants = {SOURCE_COLUMN: source, SESSION_COLUMN: self._session_id}
        order = stored_arrow_schema(schema).names
        files: list[WrittenFile] = []
        if gathered.spill is not None:
            files = gathered.spill.write_files(
                folder / "segments",
                finished=lambda table: with_constants(table, constants, order),
                unprunable=unprunable(schema),
                threads=self._threads,
            )
        return Staged(
            segments=[staged_segment(file, self._dataset, schema, provenance, (source,)) for file in files],
            dead_letters=[
                _renamed(letters, gathered.attempt, provenance.attempt, folder / f"letters-{number}.parquet")
                for number, letters in enumerate(gathered.letters)
            ],
        )

    def _provenance(self, effects: Effects, attempt: str) -> Provenance:
        return Provenance(source_id=self._origin.source_id, session_id=self._session_id, spans=effects.spans, attempt=attempt)


def _joined(first: Effects, second: Effects) -> Effects:
    """The effects of a batch and the one that follows it, as those of one."""
    (before,), (after,) = first.spans, second.spans
    whole = Span(source_partition_id=after.source_partition_id, start=before.start, end=after.end)
    return replace(second, spans=(whole,))


def _without_rows(prepared: Prepared) -> Prepared:
    empty = prepared.rows.schema.empty_table()
    return replace(prepared, rows=empty, positions=pa.chunked_array([], pa.int64()), sieve=Sieve(0))


def _added(total: Prepared, prepared: Prepared) -> Prepared:
    ignored = Counter(total.ignored)
    ignored.update(prepared.ignored)
    return replace(total, counters=total.counters + prepared.counters, ignored=ignored)


def _renamed(letters: StagedDeadLetters, before: str, attempt: str, path: Path) -> StagedDeadLetters:
    """The same dead letters under names of another try, which takes its own link to the file away."""
    os.link(letters.upload.staged, path)
    name = letters.file.name.replace(before, attempt)
    return StagedDeadLetters(file=replace(letters.file, name=name), upload=Upload(staged=path, name=name))

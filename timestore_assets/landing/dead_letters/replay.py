"""Replaying dead letters after the declaration was mended: each file's records land or stay, in one commit that settles it.

A record's source partition and position stay its identity, and a dead-letter file is settled by compare-and-set, so neither a
crash nor two replays at once can land a record twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from secrets import token_hex

from timestore_assets.catalog.commit_values import LandingCommit, ReplaySettlement
from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, DeadLetterKind, SourceRecord
from timestore_assets.decoding.poison import bad_content, is_poison, log_poison
from timestore_assets.landing.committing.tally import SessionReport, Tally
from timestore_assets.landing.dead_letters.replay_batch import FINAL_CODES
from timestore_assets.landing.dead_letters.replay_file import FileReplay, LetterFile, Replayed, Setting
from timestore_assets.landing.landing_session import working
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.dataset import Dataset, FileSource, Source
from timestore_assets.model.errors import BadFileError, ConflictError, ForgottenError
from timestore_assets.retry import CONFLICT
from timestore_assets.segments.publishing import WriteContext, publish, staging_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which dead letters to try."""

    code: str | None = None
    """Refused for this reason; None: for any."""
    kind: DeadLetterKind | None = "refused"
    """None for every one."""
    ids: frozenset[int] | None = None
    """Those of these dead-letter files; None: of any."""
    files: int | None = None
    """At most so many."""

    def has(self, file: DeadLetterFile) -> bool:
        triable = file.reasons.keys() - FINAL_CODES
        chosen = self.kind in (None, file.kind) and (self.ids is None or file.id in self.ids)
        return chosen and bool(triable if self.code is None else triable & {self.code})


@dataclass(kw_only=True)
class _Progress:
    """How far a replay is."""

    tally: Tally = field(default_factory=Tally)
    files: int = 0
    settled: int = 0
    overtaken: int = 0
    tried: int = 0
    problems: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport(SessionReport):
    """What one replay did."""

    files: int
    """Dead-letter files that were tried."""
    settled: int
    """Those of which something landed."""
    overtaken: int
    """Those that another replay settled first."""
    records: int
    """Tried ones."""
    landed: int
    refused: int
    """Those that are dead letters still."""
    reasons: dict[str, int]
    """Why they are, by code, the most frequent first."""
    ignored_columns: dict[str, int]
    discarded_values: dict[str, int]
    problems: dict[str, int]
    """Why whole files could not be tried, with their number."""


class Replayer:
    """Replays dead letters of datasets."""

    def __init__(self, context: WriteContext) -> None:
        self._context, self._catalog = context, context.catalog

    def replay(self, dataset: Dataset, selection: Selection | None = None, *, actor: str) -> ReplayReport:
        """Try dead letters again by the dataset's present rules, oldest file first, each file whole or not at all.

        Lateness does not count any more: who replays late records accepts them. Under `order: strict` each record is judged at
        the place that it came at. A file of which nothing can land stays as it is.

        Raises:
            StorageFullError, UnavailableError: it stopped; what is committed stays, and the rest can be replayed later.
        """
        selection = selection or Selection()
        began, progress = time.monotonic(), _Progress()
        record = self._catalog.datasets.register(dataset, actor=actor)
        waiting = [found for found in self._catalog.dead_letters.of(record.id) if selection.has(found[1])]
        if waiting:
            with self._session(dataset, record, selection, actor) as setting:
                for origin, file, _ in waiting[: selection.files]:
                    self._replay(setting, origin, file, progress)
        return self._report(record, progress, seconds=time.monotonic() - began)

    def _report(self, record: DatasetRecord, progress: _Progress, *, seconds: float) -> ReplayReport:
        tally = progress.tally
        return ReplayReport(
            **tally.reported(),
            dataset=record.name,
            files=progress.files,
            settled=progress.settled,
            overtaken=progress.overtaken,
            records=progress.tried,
            landed=tally.counters.landed,
            refused=sum(tally.reasons.values()),
            reasons=dict(tally.reasons.most_common()),
            ignored_columns=dict(tally.ignored),
            discarded_values=dict(tally.discarded),
            problems=dict(progress.problems),
            manifest_version=self._catalog.manifest.version(record.id),
            seconds=seconds,
        )

    @contextmanager
    def _session(self, dataset: Dataset, record: DatasetRecord, selection: Selection, actor: str) -> Iterator[Setting]:
        with working(self._context, record, "replay", actor=actor) as session:
            yield Setting(
                context=self._context,
                engine=session.engine,
                dataset=dataset,
                validator=Validator(dataset),
                session_id=session.id,
                code=selection.code,
                now=self._context.clock(),
                actor=actor,
            )

    def _replay(self, setting: Setting, origin: SourceRecord, file: DeadLetterFile, progress: _Progress) -> None:
        source, problems = declared_source(setting.dataset, origin), progress.problems
        progress.files += 1
        if source is None:
            problems[f"source {origin.kind}:{origin.address} is no longer declared, so its settings are not known"] += 1
            return
        letters = LetterFile(file=file, origin=origin, source=source)
        for _ in CONFLICT.tries():
            try:
                self._context.retry.run(lambda: self._try(setting, letters, progress))
            except BadFileError as error:
                problems[error.reason] += 1
            except ConflictError:
                if self._is_waiting(origin.dataset_id, file):
                    continue
                progress.overtaken += 1
            except Exception as error:
                if not is_poison(error):
                    raise
                log_poison(f"dead letters {file.name}", error)
                problems[bad_content("the file of dead letters", error).reason] += 1
            return
        raise ConflictError(f"{file.name}: the schema of {setting.dataset.name!r} kept changing; run the replay again")

    def _try(self, setting: Setting, letters: LetterFile, progress: _Progress) -> None:
        record = self._catalog.datasets.find(setting.dataset.name)
        if record is None:
            raise ForgottenError(f"the catalog has no dataset {setting.dataset.name!r} any more")
        dataset = effective(setting.dataset, record)
        if dataset != setting.dataset:
            setting = replace(setting, dataset=dataset, validator=Validator(dataset))
        with staging_folder(self._context, record, f"replay{letters.file.id}-{token_hex(6)}") as folder:
            replayed = FileReplay(setting, record, letters, folder).judge()
            if replayed is None:
                progress.problems["written by a version that kept too little for a replay"] += 1
                return
            if replayed.landed:
                publish(self._context, record, _commit_of(replayed, setting, letters, record), replayed.uploads)
        _count(progress, replayed, setting.dataset)

    def _is_waiting(self, dataset_id: int, file: DeadLetterFile) -> bool:
        return any(known.id == file.id for _, known, _ in self._catalog.dead_letters.of(dataset_id))


def declared_source(dataset: Dataset, origin: SourceRecord) -> Source | None:
    """The declaration of a source; `land` alone uses one that nobody declared."""
    for source in (*dataset.sources, FileSource(prefix=f"inbox/{dataset.name}/")):
        if (source.kind, source.address) == (origin.kind, origin.address):
            return source
    return None


def _commit_of(replayed: Replayed, setting: Setting, letters: LetterFile, record: DatasetRecord) -> LandingCommit:
    return LandingCommit(
        dataset_id=record.id,
        session_id=setting.session_id,
        source_id=letters.origin.id,
        progress=ReplaySettlement(dead_letter_ids=(replayed.file.id,), kind=replayed.file.kind, read_again=replayed.read_again),
        counters=replayed.shift,
        segments=tuple(replace(one.segment, storage=record.storage) for one in replayed.segments),
        dead_letter_files=(_still_refused(replayed.rest.file, replayed.file, record),) if replayed.rest else (),
        schema=replayed.schema if replayed.changes else None,
        base_schema_version=record.schema.version,
        schema_changes=replayed.changes,
        ignored_columns=replayed.ignored,
        discarded_values=replayed.discarded,
        actor=setting.actor,
    )


def _still_refused(rest: DeadLetterFile, tried: DeadLetterFile, record: DatasetRecord) -> DeadLetterFile:
    # however often they are tried, they go by the names of when they were first refused
    return replace(rest, storage=record.storage, schema_version=tried.schema_version)


def _count(progress: _Progress, replayed: Replayed, dataset: Dataset) -> None:
    tally = progress.tally
    progress.tried += replayed.tried
    tally.reasons.update(replayed.still)
    if not replayed.landed:
        return
    progress.settled += 1
    tally.counters += replayed.shift
    tally.ignored.update(replayed.ignored)
    tally.discarded.update(replayed.discarded)
    tally.changes.extend(replayed.changes)
    starts = {one.segment.partition_start for one in replayed.segments}
    tally.partitions.update((start, dataset.window.key_of(start)) for start in starts)

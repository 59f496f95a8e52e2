"""Replaying dead letters after the declaration was mended: each file's records land or stay, in one commit that settles it.

A record's source partition and position stay its identity, and a dead-letter file is settled by compare-and-set, so neither a
crash nor two replays at once can land a record twice.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import (
    Counters,
    DatasetRecord,
    DeadLetterFile,
    DeadLetterKind,
    LandingCommit,
    SchemaChange,
    SourceRecord,
)
from timestore_assets.landing.keep_alive import TTL
from timestore_assets.landing.landing_call import utc_now
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.replay_batch import FINAL_CODES
from timestore_assets.landing.replay_file import FileReplay, Replayed, Setting
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.working import working
from timestore_assets.model.dataset import Dataset, FileSource, Source
from timestore_assets.model.errors import BadFileError, ConflictError, RefusedError, UnknownOutcomeError
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.storage.targets import Storage

_TRIES = 8
"""How often a file is judged anew because the schema changed meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which dead letters to try. `code`: refused for this reason. `kind`: None for every one. `files`: at most so many."""

    code: str | None = None
    kind: DeadLetterKind | None = "refused"
    files: int | None = None

    def has(self, file: DeadLetterFile) -> bool:
        triable = file.reasons.keys() - FINAL_CODES
        return self.kind in (None, file.kind) and bool(triable if self.code is None else triable & {self.code})


@dataclass(kw_only=True)
class _Tally:
    files: int = 0
    settled: int = 0
    overtaken: int = 0
    tried: int = 0
    counters: Counters = field(default_factory=Counters)
    reasons: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    partitions: set[tuple[datetime, str]] = field(default_factory=set)
    changes: list[SchemaChange] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """What one replay did.

    `files`: dead-letter files that were tried; `settled`: of which something landed; `overtaken`: those that another replay
    settled first. `records`: tried ones, of which `landed` landed and `refused` are dead letters still, `reasons`: by code.
    `counters`: how the sources' counters changed. `problems`: why whole files could not be tried, with their number.
    """

    dataset: str
    files: int
    settled: int
    overtaken: int
    records: int
    landed: int
    refused: int
    reasons: dict[str, int]
    counters: Counters
    partitions: tuple[str, ...]
    schema_changes: tuple[SchemaChange, ...]
    ignored_columns: dict[str, int]
    problems: dict[str, int]
    manifest_version: int
    seconds: float


class Replayer:
    """Replays dead letters of datasets; arguments as `landing.session.Lander`."""

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

    def replay(self, dataset: Dataset, selection: Selection | None = None, *, actor: str) -> ReplayReport:
        """Try dead letters again by the dataset's present rules, oldest file first, each file whole or not at all.

        Lateness does not count any more: who replays late records accepts them. A file of which nothing can land stays as it is.

        Raises:
            RefusedError: the dataset asks for an order that a replay can't keep.
            StorageFullError, UnavailableError: it stopped; what is committed stays, and the rest can be replayed later.
        """
        if dataset.order == "strict":
            raise RefusedError(f"dataset {dataset.name!r} has `order: strict`, which a replay can't keep; write `order: any`")
        selection = selection or Selection()
        began, tally = time.monotonic(), _Tally()
        record = self._catalog.register(dataset, actor=actor)
        waiting = [found for found in self._catalog.dead_letter_files(record.id) if selection.has(found[1])]
        if waiting:
            with self._session(dataset, record.id, selection) as setting:
                for origin, file, _ in waiting[: selection.files]:
                    self._replay(setting, origin, file, tally, actor)
        return ReplayReport(
            dataset=dataset.name,
            files=tally.files,
            settled=tally.settled,
            overtaken=tally.overtaken,
            records=tally.tried,
            landed=tally.counters.landed,
            refused=sum(tally.reasons.values()),
            reasons=dict(tally.reasons.most_common()),
            counters=tally.counters,
            partitions=tuple(key for _, key in sorted(tally.partitions)),
            schema_changes=tuple(tally.changes),
            ignored_columns=dict(tally.ignored),
            problems=dict(tally.problems),
            manifest_version=self._catalog.manifest_version(record.id),
            seconds=time.monotonic() - began,
        )

    @contextmanager
    def _session(self, dataset: Dataset, dataset_id: int, selection: Selection) -> Iterator[Setting]:
        with working(self._catalog, dataset_id, "replay", holder=self._holder, ttl=self._ttl, limits=self._limits) as session:
            yield Setting(
                catalog=self._catalog,
                storage=self._storage,
                con=session.con,
                threads=self._limits.threads,
                dataset=dataset,
                validator=Validator(dataset),
                session_id=session.id,
                code=selection.code,
                now=self._clock(),
            )

    def _replay(self, setting: Setting, origin: SourceRecord, file: DeadLetterFile, tally: _Tally, actor: str) -> None:
        source = declared_source(setting.dataset, origin)
        tally.files += 1
        if source is None:
            tally.problems[f"source {origin.kind}:{origin.address} is no longer declared, so its settings are not known"] += 1
            return
        for _ in range(_TRIES):
            try:
                patiently(lambda: self._try(setting, origin, source, file, tally, actor))
            except BadFileError as error:
                tally.problems[error.reason] += 1
            except ConflictError:
                if self._is_waiting(origin.dataset_id, file):
                    continue
                tally.overtaken += 1
            return
        raise ConflictError(f"{file.name}: the schema of {setting.dataset.name!r} kept changing; run the replay again")

    def _try(
        self, setting: Setting, origin: SourceRecord, source: Source, file: DeadLetterFile, tally: _Tally, actor: str
    ) -> None:
        record = self._catalog.dataset(setting.dataset.name)
        if record is None:
            raise KeyError(setting.dataset.name)
        with self._staging(file, record) as folder:
            attempt = token_hex(6)
            work = FileReplay(setting, record=record, file=file, origin=origin, source=source, attempt=attempt, folder=folder)
            replayed = work.judge()
            if replayed is None:
                tally.problems["written by a version that kept too little for a replay"] += 1
                return
            if replayed.landed:
                commit = _commit_of(replayed, setting, origin, record, actor)
                self._catalog.announce(setting.session_id, commit.intents, storage=record.storage)
                self._storage.target(record.storage).promote(replayed.uploads)
                self._commit(commit)
        _count(tally, replayed, setting.dataset)

    def _commit(self, commit: LandingCommit) -> None:
        try:
            self._catalog.commit_landing(commit)
        except UnknownOutcomeError:
            # the names are of this attempt alone
            if patiently(lambda: self._committed(commit)).isdisjoint(commit.intents):
                raise ConflictError("the commit did not happen") from None

    def _committed(self, commit: LandingCommit) -> set[str]:
        """Names of the dataset's committed objects."""
        letters = {file.name for _, file, _ in self._catalog.dead_letter_files(commit.dataset_id, settled=True)}
        return letters | {segment.name for segment in self._catalog.segments(commit.dataset_id, with_stats=False)}

    def _is_waiting(self, dataset_id: int, file: DeadLetterFile) -> bool:
        return any(known.id == file.id for _, known, _ in self._catalog.dead_letter_files(dataset_id))

    @contextmanager
    def _staging(self, file: DeadLetterFile, record: DatasetRecord) -> Iterator[Path]:
        folder = self._storage.target(record.storage).staging(f"replay{file.id}-{token_hex(6)}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def declared_source(dataset: Dataset, origin: SourceRecord) -> Source | None:
    """The declaration of a source; `land` alone uses one that nobody declared."""
    for source in (*dataset.sources, FileSource(prefix=f"inbox/{dataset.name}/")):
        if (source.kind, source.address) == (origin.kind, origin.address):
            return source
    return None


def _commit_of(replayed: Replayed, setting: Setting, origin: SourceRecord, record: DatasetRecord, actor: str) -> LandingCommit:
    return LandingCommit(
        dataset_id=origin.dataset_id,
        session_id=setting.session_id,
        source_id=origin.id,
        spans=(),
        counters=replayed.shift,
        segments=tuple(replace(one.segment, storage=record.storage) for one in replayed.segments),
        dead_letter_files=(replace(replayed.rest.file, storage=record.storage),) if replayed.rest else (),
        intents=tuple(upload.name for upload in replayed.uploads),
        schema=replayed.schema if replayed.changes else None,
        base_schema_version=record.schema.version,
        schema_changes=replayed.changes,
        ignored_columns=replayed.ignored,
        actor=actor,
        replays=(replayed.file.id,),
    )


def _count(tally: _Tally, replayed: Replayed, dataset: Dataset) -> None:
    tally.tried += replayed.tried
    tally.reasons.update(replayed.still)
    if not replayed.landed:
        return
    tally.settled += 1
    tally.counters += replayed.shift
    tally.ignored.update(replayed.ignored)
    tally.changes.extend(replayed.changes)
    starts = {one.segment.partition_start for one in replayed.segments}
    tally.partitions.update((start, dataset.window.key_of(start)) for start in starts)

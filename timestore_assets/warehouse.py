"""The composition root: settings become catalog, store and datasets; the verbs are methods."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from timestore_assets import file_access
from timestore_assets.dataset_registry import DatasetRegistry
from timestore_assets.declaration_files import DeclarationFiles, DeclaredFile
from timestore_assets.declarations import DeclaredDatasets
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource, KafkaSource
from timestore_assets.model.errors import (
    ConflictError,
    RetiredError,
    StorageFullError,
    TimestoreError,
    UnavailableError,
    UnwritableError,
)
from timestore_assets.model.window import Partition
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport
    from timestore_assets.building.needs import Need
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.dataset_life import Belongings
    from timestore_assets.catalog.records import DatasetRecord, PartitionRecord
    from timestore_assets.catalog.service_records import StoredDeclaration
    from timestore_assets.dataset_status import DatasetStats
    from timestore_assets.landing.dead_letters.replay import ReplayReport, Selection
    from timestore_assets.landing.files.context import Share
    from timestore_assets.landing.files.land_report import LandingListener, LandReport
    from timestore_assets.landing.topics.backpressure import Backlog
    from timestore_assets.landing.topics.session_options import SessionLimits, StreamProgress, StreamReport
    from timestore_assets.model.question import Question
    from timestore_assets.querying.answer import Answer
    from timestore_assets.querying.reading.querier import Querier
    from timestore_assets.querying.time_limit import Cancellable
    from timestore_assets.reload import UnsettledFiles
    from timestore_assets.segments.publishing import WriteContext
    from timestore_assets.sources.files.input_file import InputFile
    from timestore_assets.sources.folders import SourceFiles
    from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
    from timestore_assets.sources.kafka.lag import SourceLag
    from timestore_assets.sources.kafka.sharding import Shard
    from timestore_assets.storage.targets import Storage
    from timestore_assets.tailing.hot_buffers import HotBuffers
    from timestore_assets.upkeep.collect import CollectReport
    from timestore_assets.upkeep.verify import VerifyReport


class Warehouse:
    """All of the project behind one object; close it, or use it as a context manager.

    A dataset is registered in the catalog when it is first used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog,
        storage: Storage,
        datasets: Mapping[str, Dataset],
        files: DeclarationFiles | None = None,
        written: Mapping[str, datetime] | None = None,
    ) -> None:
        """`files`: where `datasets` are declared, to be read again when they change; without them, when they were `written`."""
        self.settings, self.catalog, self.storage = settings, catalog, storage
        from timestore_assets.segments.engine import EngineLimits

        self.limits = EngineLimits.of(settings)
        self._registry = DatasetRegistry(catalog, datasets, allowances=settings.allowances, files=files, written=written)

    @property
    def holder(self) -> str:
        """Whom leases and sessions of this process belong to; of the child's, after a fork."""
        from timestore_assets.catalog.holders import this_process

        return this_process()

    @property
    def writing(self) -> WriteContext:
        """What landing, replaying and building here work with."""
        from timestore_assets.segments.publishing import WriteContext

        return WriteContext(catalog=self.catalog, storage=self.storage, limits=self.limits, holder=self.holder)

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        *,
        datasets: Mapping[str, Dataset] | None = None,
        written: Mapping[str, datetime] | None = None,
    ) -> Self:
        """Open the warehouse that the settings (default: the environment's) describe, making its folders.

        `datasets`: those that files declare, where the caller knows them, and when they were `written`; no file is read then.

        Raises:
            InputError: a setting or declaration is wrong.
            UnavailableError: the home or the database can't be used.
        """
        from timestore_assets.catalog.open_catalog import open_catalog
        from timestore_assets.segments.engine import EngineLimits
        from timestore_assets.storage.targets import open_storage

        settings = settings or Settings.load()
        files = None
        if datasets is None:
            files = DeclarationFiles(settings.declaration_folders, project=settings.project_defs)
            datasets = {name: file.dataset for name, file in files.by_name.items() if file.dataset is not None}
        file_access.use(settings.file_access)
        try:
            file_access.make_folder(settings.home_folder)
        except OSError as error:
            problem = f"{error.filename} can't be made ({error.strerror})"
            raise UnavailableError(f"{problem}; set TIMESTORE_HOME to another folder") from None
        with suppress(OSError):  # DuckDB would make it by the umask when it spills; on a read-only disk it can't
            file_access.make_folder(EngineLimits.of(settings).temp_dir)
        catalog = open_catalog(settings)
        warehouse = cls(
            settings, catalog=catalog, storage=open_storage(settings), datasets=datasets, files=files, written=written
        )
        warehouse.refresh()
        return warehouse

    def close(self) -> None:
        if "querier" in self.__dict__:
            self.querier.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- datasets

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """Declared ones by name, in a mapping that is replaced and never changed."""
        return self._registry.datasets

    @datasets.setter
    def datasets(self, declared: Mapping[str, Dataset]) -> None:
        self._registry.give(declared)

    @property
    def declarations(self) -> DeclaredDatasets:
        """Where each dataset is declared."""
        return self._registry.declarations

    def refresh(self) -> None:
        """Take in what was declared, in files or over HTTP, dropped, renamed or retired, here or by other processes.

        Nothing is done when that was done lately or is being done. A file that is wrong by now leaves its dataset as it was,
        see `declaration_problems`.
        """
        self._registry.refresh()

    @property
    def declaration_problems(self) -> Sequence[str]:
        """A sentence, with file and line, for each declaration file that can't be followed by now."""
        return self._registry.problems

    def is_retired(self, name: str) -> bool:
        """Whether nothing lands in a dataset any more, as of the last `refresh`."""
        return name in self._registry.retired

    def declare(
        self, name: str, attributes: Mapping[str, Any], *, actor: str, if_version: int | None = None
    ) -> StoredDeclaration:
        """Keep a declaration in the catalog, register its dataset and make it usable here at once; all of it or nothing.

        Args:
            attributes: as below `attributes:` of a `defs.yaml`, as JSON values.
            if_version: replace this version only, 0 only when there is none yet, None whatever there is.

        Raises:
            DeclarationError: the attributes are wrong, or only a file may declare such.
            StaleVersionError: there is another version by now. ConflictError: a file declares that name.
            RefusedError: rows of the dataset don't allow the change.
        """
        return self._registry.declare(name, attributes, actor=actor, if_version=if_version)

    def belongings(self, name: str) -> Belongings:
        """What a drop of a dataset would take, and which saved queries read it.

        Raises:
            InputError: there is no such dataset; it says so when there was one.
        """
        return self.catalog.life.belongings(self._registry.known(name).id)

    def drop(self, name: str, *, actor: str, if_version: int | None = None) -> None:
        """Drop a dataset, also one that nothing declares any more; see `catalog.dataset_life.DatasetLife.drop`.

        A file that declares it is ignored from then on, until it is written again.

        Raises:
            InputError: there is no such dataset. StaleVersionError: its declaration over HTTP has another version by now.
        """
        self.catalog.life.drop(self._registry.known(name).id, actor=actor, if_version=if_version)
        self._registry.refresh_now()

    def rename(self, name: str, to: str, *, actor: str, if_version: int | None = None) -> None:
        """Give a dataset another name; see `catalog.dataset_life.DatasetLife.rename`.

        A file that declares it counts under the new name, until it is written again.

        Raises:
            InputError: there is no such dataset, or the new name is none. ConflictError: there is one of that name already.
        """
        from timestore_assets.declaration.from_attributes import check_name

        check_name(to)
        if to in self.datasets and to != name:
            raise ConflictError(f"there is a dataset {to!r} already; choose another name, or drop that one first")
        self._registry.require_free(to, for_dataset=name)
        self.catalog.life.rename(self._registry.known(name).id, to, actor=actor, if_version=if_version)
        self._registry.refresh_now()

    def retire(self, name: str, *, actor: str, undo: bool = False) -> bool:
        """Let nothing land in a dataset any more, or again with `undo`; whether that changed anything.

        What it has can be read, built and dropped.
        """
        changed = self.catalog.life.retire(self._registry.known(name).id, actor=actor, undo=undo)
        self._registry.refresh_now()
        return changed

    def file_of(self, name: str) -> DeclaredFile | None:
        """The file that declares a dataset, or that still names one that has that name no more."""
        return self._registry.file_of(name)

    def declared(self, name: str) -> Dataset:
        """The declared dataset of that name; InputError with the nearest names when there is none."""
        return self._registry.declared(name)

    def resolve(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """The dataset and its catalog record; registers what a file declares, and applies an additive change of it.

        The dataset has the columns and keys that the catalog knows, which are newer than a file of before the last change.

        Raises:
            InputError: no such dataset. RefusedError: the declaration changed in a way its rows don't allow.
        """
        return self._registry.resolve(name)

    def served(self, dataset: Dataset) -> Dataset:
        """A declared dataset with the columns that the catalog had for it when it was last resolved; asks nobody."""
        return self._registry.served(dataset)

    def prefix_folder(self, source: FileSource) -> Path:
        """The watched folder, when it is one of this machine; relative prefixes lie in TIMESTORE_HOME."""
        return self.settings.home_folder / source.prefix

    def source_files(self, source: FileSource) -> SourceFiles:
        """The files of a source, in a folder or a bucket; see `sources.folders`."""
        from timestore_assets.sources.folders import source_files

        return source_files(self.settings, source)

    # --- landing

    def land(
        self,
        name: str,
        files: Sequence[Path | InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: LandingListener | None = None,
        actor: str = "command line",
    ) -> LandReport:
        """Land files by the path that the sensor takes, under the dataset's first file source.

        A file below that source's prefix keeps its address there, any other is known by its absolute path or URI.
        """
        source = next(iter(self.declared(name).file_sources), FileSource(prefix=f"inbox/{name}/"))
        return self.land_source(name, source, files, format=format, chunk_rows=chunk_rows, progress=progress, actor=actor)

    def land_source(
        self,
        name: str,
        source: FileSource,
        files: Sequence[Path | InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        share: Share | None = None,
        progress: LandingListener | None = None,
        actor: str = "sensor",
    ) -> LandReport:
        """Land files of one source of the dataset; see `landing.files.lander.Lander.land_files`."""
        from timestore_assets.landing.files.context import BulkLimits
        from timestore_assets.landing.files.lander import Lander

        dataset, _ = self._in_use(name)
        lander = Lander(self.writing, bulk=BulkLimits.of(self.settings))
        named = [*map(self.source_files(source).known_as, files)]
        return lander.land_files(
            dataset, source, named, format=format, chunk_rows=chunk_rows, share=share, progress=progress, actor=actor
        )

    def unsettled_files(self, name: str, start: datetime | None, end: datetime | None) -> UnsettledFiles:
        """The new and changed files of the dataset's own sources for times in `[start, end)`; see `reload.unsettled_files`."""
        from timestore_assets.reload import unsettled_files

        dataset, record = self.resolve(name)
        return unsettled_files(self.catalog, dataset, record, self.source_files, start, end)

    def land_unsettled(
        self,
        name: str,
        found: UnsettledFiles,
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: LandingListener | None = None,
        actor: str = "command line",
    ) -> LandReport:
        """Land what `unsettled_files` found, by the path that the sensor takes."""
        from timestore_assets.reload import merged_reports

        reports = [
            self.land_source(name, source, files, format=format, chunk_rows=chunk_rows, progress=progress, actor=actor)
            for source, files in found
        ]
        return merged_reports(reports)

    def _in_use(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """A dataset in which something is about to land, and its record; RetiredError when nothing may."""
        dataset, record = self.resolve(name)
        if record.is_retired:
            raise RetiredError(name)
        return dataset, record

    # --- topics

    def stream(
        self,
        name: str,
        source: KafkaSource,
        *,
        shard: Shard | None = None,
        limits: SessionLimits | None = None,
        progress: StreamProgress | None = None,
        stop: threading.Event | None = None,
        patience: timedelta = timedelta(0),
        waiting: Callable[[str], None] = lambda _: None,
        actor: str = "command line",
    ) -> StreamReport:
        """Run a landing session on a source's topics; see `landing.topics.streamer.Streamer.stream`."""
        from timestore_assets.landing.topics.backpressure import Thresholds
        from timestore_assets.landing.topics.session_options import SessionLimits, SessionOptions
        from timestore_assets.landing.topics.streamer import Streamer
        from timestore_assets.sources.kafka.sharding import WHOLE

        dataset, record = self._in_use(name)
        topics = self._topics(name, source)
        streamer = Streamer(self.writing)
        with self._dead_letters_forwarded(record, source, topics) as nudge:
            options = SessionOptions(
                shard=shard or WHOLE,
                limits=limits or SessionLimits(),
                gauge=lambda: self.backlog(name),
                marks=Thresholds.of(self.settings),
                pause_seconds=self.settings.backlog_pause_seconds,
                stop=stop or threading.Event(),
                progress=progress,
                after_commit=nudge,
                patience=patience,
                waiting=waiting,
                actor=actor,
            )
            return streamer.stream(dataset, source, topics, options)

    def _dead_letters_forwarded(
        self, record: DatasetRecord, source: KafkaSource, topics: KafkaTopics
    ) -> AbstractContextManager[Callable[[], None]]:
        """While entered, dead letters go to the source's topic for them, if it has one; gives what to call after a commit."""
        if source.dead_letter_topic is None:
            return nullcontext(lambda: None)
        from timestore_assets.landing.dead_letters.dead_letter_topic import forward, forwarded_beside

        config = topics.producer_config()
        return forwarded_beside(lambda: forward(self.catalog, self.storage, record, source, config))

    def lag(self, name: str, source: KafkaSource, *, timeout_seconds: float = 5.0) -> SourceLag:
        """How far a source's topics have been read.

        Raises:
            UnavailableError: no cluster is configured or none answers in time. InputError: it refuses us.
        """
        from timestore_assets.sources.kafka.kafka_client import connection_of
        from timestore_assets.sources.kafka.kafka_topics import Surveyor

        _, record = self.resolve(name)
        known = self.catalog.sources.ensure(record.id, source.kind, source.address)
        surveyor = Surveyor(connection_of(self.settings, source.bootstrap_servers), source, timeout_seconds=timeout_seconds)
        return surveyor.look(self.catalog.topics.partitions(known.id))

    def lags(self, dataset: Dataset, *, timeout_seconds: float) -> dict[str, int | None]:
        """Records not read yet by address of the dataset's topic sources; None where the brokers don't say in time."""
        found: dict[str, int | None] = {}
        for source in dataset.kafka_sources:
            found[source.address] = None
            with suppress(TimestoreError):
                found[source.address] = self.lag(dataset.name, source, timeout_seconds=timeout_seconds).lag
        return found

    def backlog(self, name: str) -> Backlog:
        """What waits behind landing in a dataset."""
        from timestore_assets.dataset_status import PartitionTotals
        from timestore_assets.landing.topics.backpressure import Backlog

        totals = PartitionTotals.of(self.partitions(name))
        return Backlog(deltas=totals.deltas, bytes=totals.unbuilt_bytes, builds=len(self.needed_builds(name)))

    def _topics(self, name: str, source: KafkaSource) -> KafkaTopics:
        from timestore_assets.sources.kafka.kafka_client import connection_of
        from timestore_assets.sources.kafka.kafka_topics import KafkaTopics

        connection = connection_of(self.settings, source.bootstrap_servers)
        return KafkaTopics(connection, source, group=source.group_of(name))

    def replay(self, name: str, selection: Selection | None = None, *, actor: str = "command line") -> ReplayReport:
        """Land what can be landed of a dataset's dead letters now; see `landing.dead_letters.replay.Replayer.replay`."""
        from timestore_assets.landing.dead_letters.replay import Replayer

        dataset, _ = self._in_use(name)
        return Replayer(self.writing).replay(dataset, selection, actor=actor)

    # --- building

    def needed_builds(self, name: str, *, now: datetime | None = None) -> list[Need]:
        """Partitions that should be built, with the reasons."""
        from timestore_assets.building.needs import needed, source_progress

        dataset, record = self.resolve(name)
        partitions = self.catalog.partitions.of(record.id)
        return needed(
            partitions,
            dataset=dataset,
            requested=self.catalog.partitions.requested_builds(record.id),
            feeds=source_progress(self.catalog, record.id, dataset),
            newest=max((found.max_time for found in partitions if found.max_time), default=None),
            now=now or datetime.now(UTC),
        )

    def build(
        self, name: str, partitions: Sequence[Partition], *, close: bool, report: bool = True, actor: str = "command line"
    ) -> Iterator[BuildReport]:
        """Build partitions one by one, each committed before its report is given.

        `close`: seal them even if they are still open. `report`: queue a Dagster event for each.
        """
        from timestore_assets.building.builder import Builder

        dataset, _ = self.resolve(name)
        with Builder(self.writing) as builder:
            for partition in partitions:
                yield builder.build(dataset, partition, close=close, report=report, actor=actor)

    # --- asking

    @cached_property
    def querier(self) -> Querier:
        from timestore_assets.querying.reading.querier import Querier

        return Querier(self.catalog, self.storage, self.limits, holder=self.holder)

    def ask(self, question: Question, *, hot: HotBuffers | None = None) -> Answer:
        """Answer a question; the answer is a context manager that holds its manifest version.

        `hot`: merge the records of topics that are not landed yet, unless an older version is asked for.
        """
        dataset, record = self.resolve(question.dataset)
        # of a retired one nothing more will land
        is_live = question.as_of is None and not record.is_retired
        fresh = hot.look(dataset, record) if hot is not None and is_live else None
        return self.querier.ask(dataset, record, question, fresh=fresh)

    def sql(
        self,
        text: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        began: Callable[[Cancellable], object] | None = None,
    ) -> Answer:
        """Answer one read-only statement in which every dataset is a view.

        `parameters`: values of what it writes as `$name`. `began`: is given what stops it, before anything is computed.
        """
        from timestore_assets.querying.sql.sandbox import run_sql

        timeout = self.settings.sql_timeout_seconds
        datasets = self._registry.resolved()
        return run_sql(self.querier, text, datasets, parameters=parameters or {}, timeout=timeout, began=began)

    # --- looking

    def partitions(self, name: str) -> Sequence[PartitionRecord]:
        """The dataset's partitions that ever held rows, in order of time."""
        _, record = self.resolve(name)
        return self.catalog.partitions.of(record.id)

    def status(self, name: str, *, lags: Mapping[str, int | None] | None = None) -> DatasetStats:
        """How a dataset stands; empty for one that nobody has used yet where the catalog takes no writes.

        `lags`: by address of its topic sources, if they are known; else brokers are asked, which hold it up for a second each.
        """
        from timestore_assets.dataset_status import DatasetStats, stats_of

        try:
            dataset, record = self.resolve(name)
        except (UnwritableError, StorageFullError):
            return DatasetStats(dataset=name)
        return stats_of(self.catalog, record, lags=self.lags(dataset, timeout_seconds=1) if lags is None else lags)

    # --- upkeep

    def collect(self, *, all_orphans_of: Collection[str] = ()) -> CollectReport:
        """Remove files that nothing needs any more; see `upkeep.collect.collect`."""
        from timestore_assets.upkeep.collect import LedgerAges, collect

        settings = self.settings
        return collect(
            self.catalog,
            self.storage,
            intent_grace=settings.gc_grace,
            keep_versions=settings.keep_versions,
            keep=LedgerAges.of(settings),
            all_orphans_of=all_orphans_of,
        )

    def verify(self, name: str) -> VerifyReport:
        """Prove a dataset's catalog rows against its files."""
        from timestore_assets.upkeep.verify import verify

        _, record = self.resolve(name)
        return verify(self.catalog, self.storage, self.limits, record)

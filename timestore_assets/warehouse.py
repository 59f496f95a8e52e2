"""The composition root: settings become catalog, store and datasets; the verbs are methods."""

from __future__ import annotations

import difflib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from timestore_assets.declarations import DeclaredDatasets, read_declarations
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource, KafkaSource
from timestore_assets.model.declaration import dataset_over_http
from timestore_assets.model.errors import ConflictError, InputError, UnavailableError
from timestore_assets.model.window import Partition
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.building.needs import Need
    from timestore_assets.building.report import BuildReport
    from timestore_assets.catalog.port import Catalog
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.catalog.service_records import StoredDeclaration
    from timestore_assets.landing.backpressure import Backlog
    from timestore_assets.landing.replay import ReplayReport, Selection
    from timestore_assets.landing.report import LandReport, Progress
    from timestore_assets.landing.sharing import Share
    from timestore_assets.landing.source_files import SourceFiles
    from timestore_assets.landing.stream_report import SessionLimits, StreamProgress, StreamReport
    from timestore_assets.querying.answer import Answer
    from timestore_assets.querying.execute import Querier
    from timestore_assets.querying.question import Question
    from timestore_assets.sources.files.input_file import InputFile
    from timestore_assets.sources.kafka.lag import SourceLag
    from timestore_assets.sources.kafka.sharding import Shard
    from timestore_assets.sources.kafka.topics import KafkaTopics
    from timestore_assets.storage.engine import EngineLimits
    from timestore_assets.storage.targets import Storage
    from timestore_assets.tailing.buffers import HotBuffers
    from timestore_assets.upkeep.collect import CollectReport
    from timestore_assets.upkeep.verify import VerifyReport


class Warehouse:
    """All of the project behind one object; close it, or use it as a context manager.

    `datasets`: declared ones by name, in a mapping that is replaced and never changed; `declarations` knows where each is from.
    A dataset is registered in the catalog when it is first used.
    """

    def __init__(self, settings: Settings, *, catalog: Catalog, storage: Storage, datasets: Mapping[str, Dataset]) -> None:
        self.settings, self.catalog, self.storage, self.datasets = settings, catalog, storage, datasets
        self.limits: EngineLimits = settings.engine_limits()
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self.declarations = DeclaredDatasets(datasets)
        self._refreshing = threading.Lock()

    @classmethod
    def open(cls, settings: Settings | None = None) -> Self:
        """Open the warehouse that the settings (default: the environment's) describe, making its folders.

        Raises:
            InputError: a setting or declaration is wrong.
            UnavailableError: the home or the database can't be used.
        """
        from timestore_assets.catalog.opening import open_catalog
        from timestore_assets.storage.opening import open_storage

        settings = settings or Settings.load()
        datasets = read_declarations(settings.declaration_folders)
        try:
            settings.home_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"{error.filename} can't be made ({error.strerror})"
            raise UnavailableError(f"{problem}; set TIMESTORE_HOME to another folder") from None
        catalog = open_catalog(settings)
        warehouse = cls(settings, catalog=catalog, storage=open_storage(settings), datasets=datasets)
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

    def refresh(self) -> None:
        """Take in what was declared over HTTP, here or by other processes, unless that was done lately or is being done."""
        if self.declarations.are_fresh or not self._refreshing.acquire(blocking=False):
            return
        try:
            self.datasets = self.declarations.merged(self.catalog.declarations.listed())
        finally:
            self._refreshing.release()

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
        dataset = dataset_over_http(name, attributes)
        with self._refreshing:
            if self.declarations.is_in_file(name):
                raise ConflictError(f"dataset {name!r} is declared in a file; change it there")
            kept = {**attributes, "name": name}
            stored = self.catalog.declarations.put(name, kept, actor=actor, if_version=if_version, dataset=dataset)
            self.datasets = self.declarations.merged(self.catalog.declarations.listed())
        return stored

    def declared(self, name: str) -> Dataset:
        """The declared dataset of that name; InputError with the nearest names when there is none."""
        if name not in self.datasets:
            close = difflib.get_close_matches(name, self.datasets, n=1)
            known = ", ".join(sorted(self.datasets)) or "none"
            hint = f"did you mean {close[0]!r}?" if close else f"declared are: {known}"
            raise InputError(f"no dataset is named {name!r}; {hint}")
        return self.datasets[name]

    def resolve(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """The dataset and its catalog record; registers what a file declares, and applies an additive change of it.

        Raises:
            InputError: no such dataset. RefusedError: the declaration changed in a way its rows don't allow.
        """
        dataset = self.declared(name)
        # a declaration over HTTP was registered with it; doing that again could bring back what another process has replaced
        known = self.catalog.dataset(name) if self.declarations.is_over_http(name) else None
        record = known or self.catalog.register(dataset, actor=self.holder)
        for source in dataset.sources:
            self.catalog.source(record.id, source.kind, source.address)
        return dataset, record

    def prefix_folder(self, source: FileSource) -> Path:
        """The watched folder, when it is one of this machine; relative prefixes lie in TIMESTORE_HOME."""
        return self.settings.home_folder / source.prefix

    def source_files(self, source: FileSource) -> SourceFiles:
        """The files of a source, in a folder or a bucket; see `landing.source_files`."""
        from timestore_assets.landing.source_files import source_files

        return source_files(self.settings, source)

    # --- landing

    def land(
        self,
        name: str,
        files: Sequence[Path | InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: Progress | None = None,
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
        progress: Progress | None = None,
        actor: str = "sensor",
    ) -> LandReport:
        """Land files of one source of the dataset; see `landing.session.Lander.land_files`."""
        from timestore_assets.landing.session import Lander

        dataset, _ = self.resolve(name)
        lander = Lander(self.catalog, self.storage, self.limits, holder=self.holder, bulk=self.settings.bulk_limits())
        named = [*map(self.source_files(source).known_as, files)]
        return lander.land_files(
            dataset, source, named, format=format, chunk_rows=chunk_rows, share=share, progress=progress, actor=actor
        )

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
        actor: str = "command line",
    ) -> StreamReport:
        """Run a landing session on a source's topics; see `landing.stream_session.Streamer.stream`."""
        from timestore_assets.landing.stream_report import SessionLimits
        from timestore_assets.landing.stream_session import Streamer, Wishes
        from timestore_assets.sources.kafka.sharding import WHOLE

        dataset, record = self.resolve(name)
        topics = self._topics(name, source)
        streamer = Streamer(self.catalog, self.storage, self.limits, holder=self.holder)
        with self._dead_letters_forwarded(record, source, topics) as nudge:
            wishes = Wishes(
                shard=shard or WHOLE,
                limits=limits or SessionLimits(),
                gauge=lambda: self.backlog(name),
                marks=self.settings.backlog_marks(),
                pause_seconds=self.settings.backlog_pause_seconds,
                stop=stop or threading.Event(),
                progress=progress,
                after_commit=nudge,
                actor=actor,
            )
            return streamer.stream(dataset, source, topics, wishes)

    def _dead_letters_forwarded(
        self, record: DatasetRecord, source: KafkaSource, topics: KafkaTopics
    ) -> AbstractContextManager[Callable[[], None]]:
        """While entered, dead letters go to the source's topic for them, if it has one; gives what to call after a commit."""
        if source.dead_letter_topic is None:
            return nullcontext(lambda: None)
        from timestore_assets.sources.kafka.dead_letter_topic import forward
        from timestore_assets.sources.kafka.forwarding import forwarded_beside

        config = topics.producer_config()
        return forwarded_beside(lambda: forward(self.catalog, self.storage, record, source, config))

    def lag(self, name: str, source: KafkaSource, *, timeout_seconds: float = 5.0) -> SourceLag:
        """How far a source's topics have been read.

        Raises:
            UnavailableError: no cluster is configured or none answers in time. InputError: it refuses us.
        """
        from timestore_assets.sources.kafka.client import connection_of
        from timestore_assets.sources.kafka.survey import Surveyor

        _, record = self.resolve(name)
        known = self.catalog.source(record.id, source.kind, source.address)
        surveyor = Surveyor(connection_of(self.settings, source.bootstrap_servers), source, timeout_seconds=timeout_seconds)
        return surveyor.look(self.catalog.topic_partitions(known.id))

    def backlog(self, name: str) -> Backlog:
        """What waits behind landing in a dataset."""
        from timestore_assets.landing.backpressure import Backlog

        _, record = self.resolve(name)
        partitions = self.catalog.partitions(record.id)
        return Backlog(
            deltas=sum(one.deltas for one in partitions),
            bytes=sum(one.unbuilt_bytes for one in partitions),
            builds=len(self.needed_builds(name)),
        )

    def _topics(self, name: str, source: KafkaSource) -> KafkaTopics:
        from timestore_assets.sources.kafka.client import connection_of
        from timestore_assets.sources.kafka.topics import KafkaTopics

        connection = connection_of(self.settings, source.bootstrap_servers)
        return KafkaTopics(connection, source, group=source.group_of(name))

    def replay(self, name: str, selection: Selection | None = None, *, actor: str = "command line") -> ReplayReport:
        """Land what can be landed of a dataset's dead letters now; see `landing.replay.Replayer.replay`."""
        from timestore_assets.landing.replay import Replayer

        dataset, _ = self.resolve(name)
        return Replayer(self.catalog, self.storage, self.limits, holder=self.holder).replay(dataset, selection, actor=actor)

    # --- building

    def needed_builds(self, name: str, *, now: datetime | None = None) -> list[Need]:
        """Partitions that should be built, with the reasons."""
        from timestore_assets.building.feeds import feeds_of
        from timestore_assets.building.needs import needed

        dataset, record = self.resolve(name)
        partitions = self.catalog.partitions(record.id)
        return needed(
            partitions,
            dataset=dataset,
            requested=self.catalog.requested_builds(record.id),
            feeds=feeds_of(self.catalog, record.id, dataset),
            newest=max((found.max_time for found in partitions if found.max_time), default=None),
            now=now or datetime.now(UTC),
        )

    def build(
        self, name: str, partitions: Sequence[Partition], *, close: bool, report: bool = True, actor: str = "command line"
    ) -> Iterator[BuildReport]:
        """Build partitions one by one, each committed before its report is given.

        `close`: seal them even if they are still open. `report`: queue a Dagster event for each.
        """
        from timestore_assets.building.session import Builder

        dataset, _ = self.resolve(name)
        with Builder(self.catalog, self.storage, self.limits, holder=self.holder) as builder:
            for partition in partitions:
                yield builder.build(dataset, partition, close=close, report=report, actor=actor)

    # --- asking

    @cached_property
    def querier(self) -> Querier:
        from timestore_assets.querying.execute import Querier

        return Querier(self.catalog, self.storage, self.limits, holder=self.holder)

    def ask(self, question: Question, *, hot: HotBuffers | None = None) -> Answer:
        """Answer a question; the answer is a context manager that holds its manifest version.

        `hot`: merge the records of topics that are not landed yet, unless an older version is asked for.
        """
        dataset, record = self.resolve(question.dataset)
        fresh = hot.look(dataset, record) if hot is not None and question.as_of is None else None
        return self.querier.ask(dataset, record, question, fresh=fresh)

    def sql(self, text: str) -> Answer:
        """Answer one read-only SELECT in which every dataset is a view."""
        from timestore_assets.querying.sandbox import run_sql

        return run_sql(self.querier, text, _Resolved(self), timeout=self.settings.sql_timeout_seconds)

    # --- looking

    def partition_rows(self, name: str) -> list[dict[str, Any]]:
        """The dataset's partitions in the shape of `timestore partitions --json`."""
        from timestore_assets.overview import partition_rows

        return partition_rows(self, name)

    def status(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Every dataset in the shape of `timestore status --json`."""
        from timestore_assets.overview import status

        return status(self, names)

    # --- upkeep

    def collect(self) -> CollectReport:
        """Remove files that nothing needs any more."""
        from timestore_assets.upkeep.collect import collect

        settings = self.settings
        return collect(
            self.catalog,
            self.storage,
            intent_grace=settings.gc_grace,
            keep_versions=settings.keep_versions,
            keep=settings.ledger_ages(),
        )

    def verify(self, name: str) -> VerifyReport:
        """Prove a dataset's catalog rows against its files."""
        from timestore_assets.upkeep.verify import verify

        _, record = self.resolve(name)
        return verify(self.catalog, self.storage, self.limits, record)


class _Resolved(Mapping[str, "tuple[Dataset, DatasetRecord]"]):
    """The datasets by name, each registered when it is looked up: a statement costs what it names."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        if name not in self._warehouse.datasets:
            raise KeyError(name)
        return self._warehouse.resolve(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._warehouse.datasets)

    def __len__(self) -> int:
        return len(self._warehouse.datasets)

"""The composition root: settings become catalog, store and datasets; the verbs are methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from timestore_assets import file_access
from timestore_assets.declaration_files import DeclarationFiles
from timestore_assets.model.as_of import parse_as_of_each
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import StorageFullError, UnavailableError, UnwritableError
from timestore_assets.settings import Settings
from timestore_assets.verbs.audit_verbs import AuditVerbs
from timestore_assets.verbs.backfill_verbs import BackfillVerbs
from timestore_assets.verbs.dataset_verbs import DatasetVerbs
from timestore_assets.verbs.history_verbs import HistoryVerbs
from timestore_assets.verbs.late_verbs import LateVerbs
from timestore_assets.verbs.migration_verbs import MigrationVerbs
from timestore_assets.verbs.upkeep_verbs import UpkeepVerbs

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.dataset_status import DatasetStats
    from timestore_assets.model.as_of import AsOf, Version
    from timestore_assets.model.question import Question
    from timestore_assets.querying.answer import Answer
    from timestore_assets.querying.reading.querier import Querier
    from timestore_assets.querying.sql.kept_answers import KeptAnswers
    from timestore_assets.querying.sql.rooms import Rooms
    from timestore_assets.querying.time_limit import Cancellable
    from timestore_assets.tailing.hot_buffers import HotBuffers
    from timestore_assets.upkeep.collect import CollectReport
    from timestore_assets.upkeep.repair import RepairReport
    from timestore_assets.upkeep.verify import VerifyReport


class Warehouse(
    DatasetVerbs,
    MigrationVerbs,
    HistoryVerbs,
    AuditVerbs,
    BackfillVerbs,
    LateVerbs,
    UpkeepVerbs,
):
    """All of the project behind one object; close it, or use it as a context manager.

    Its verbs stand below `verbs/`, a class for each concern; here is how it is opened, and what reads and tidies up.
    A dataset is registered in the catalog when it is first used.
    """

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
        if "_rooms" in self.__dict__:
            self._rooms.close()
        if "querier" in self.__dict__:
            self.querier.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- asking and looking

    @cached_property
    def querier(self) -> Querier:
        from timestore_assets.querying.reading.querier import Querier

        return Querier(self.catalog, self.storage, self.limits, holder=self.holder)

    @cached_property
    def _rooms(self) -> Rooms:
        from timestore_assets.querying.sql.rooms import Rooms

        return Rooms(self.limits)

    @cached_property
    def answers(self) -> KeptAnswers:
        """Answers of SQL that are kept, for this process and for who asks the service."""
        from timestore_assets.querying.sql.kept_answers import KeptAnswers

        return KeptAnswers(self.settings.sql_answers_bytes)

    def in_force(self, name: str, version: int) -> tuple[Dataset, DatasetRecord]:
        """A dataset with the columns, and the names of keys, that a manifest version has; see `querier.Querier.in_force`."""
        dataset, record = self.resolve(name)
        return self.querier.in_force(dataset, record, version)

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
        as_of: Version | AsOf | Mapping[str, Version | AsOf] | None = None,
        began: Callable[[Cancellable], object] | None = None,
    ) -> Answer:
        """Answer one read-only statement in which every dataset is a view.

        `parameters`: values of what it writes as `$name`. `as_of`: the version, time or tag of all datasets that it reads, or by
        their names. `began`: is given what stops it, before anything is computed.
        """
        from timestore_assets.querying.sql.datasets_as_of import DatasetsAsOf
        from timestore_assets.querying.sql.runner import InProcess
        from timestore_assets.querying.sql.sandbox import run_sql

        timeout = self.settings.sql_timeout_seconds
        datasets = DatasetsAsOf(self.querier, self._registry.resolved(), None if as_of is None else parse_as_of_each(as_of))
        room = partial(InProcess, rooms=self._rooms)
        return run_sql(
            self.querier,
            text,
            datasets,
            parameters=parameters or {},
            timeout=timeout,
            began=began,
            room=room,
            answers=self.answers,
        )

    def status(self, name: str, *, lags: Mapping[str, int | None] | None = None) -> DatasetStats:
        """How a dataset stands; empty for one that nobody has used yet where the catalog takes no writes.

        One whose declaration is refused stands as the catalog has it, with the reason.

        `lags`: by address of its topic sources, if they are known; else brokers are asked, which hold it up for a second each.
        """
        from timestore_assets.dataset_status import DatasetStats, stats_of

        try:
            dataset, record = self._registry.as_it_stands(name)
        except (UnwritableError, StorageFullError):
            return DatasetStats(dataset=name)
        if dataset is None:
            return stats_of(self.catalog, record, lags=lags or {}, problem=self._registry.refused(name))
        lags = self.lags(dataset, timeout_seconds=1) if lags is None else lags
        return stats_of(self.catalog, record, lags=lags, is_behind=dataset.is_behind)

    # --- upkeep

    def collect(self, *, all_orphans_of: Collection[str] = ()) -> CollectReport:
        """Remove files that nothing needs any more; see `upkeep.collect.collect`."""
        from timestore_assets.upkeep.collect import LedgerAges, collect

        settings = self.settings
        if "querier" in self.__dict__:
            self.querier.let_go()
        return collect(
            self.catalog,
            self.storage,
            intent_grace=settings.gc_grace,
            keep_versions=settings.keep_versions,
            keep_versions_of=self.kept_versions(),
            keep=LedgerAges.of(settings),
            all_orphans_of=all_orphans_of,
        )

    def verify(self, name: str, *, portable: bool = False) -> VerifyReport:
        """Prove a dataset's catalog rows against its files. `portable`: compute content hashes that any engine can, too."""
        from timestore_assets.upkeep.verify import verify

        _, record = self.resolve(name)
        return verify(self.catalog, self.storage, self.limits, record, portable=portable)

    def repair(self, report: VerifyReport, *, execute: bool, actor: str = "command line") -> RepairReport:
        """Say what is safe to put right of what was found, and with `execute` do it; see `upkeep.repair.repair`."""
        from timestore_assets.upkeep.repair import repair

        _, record = self.resolve(report.dataset)
        grace = self.settings.gc_grace
        return repair(self.catalog, self.storage, self.limits, record, report, grace=grace, execute=execute, actor=actor)

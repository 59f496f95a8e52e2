"""What every verb works with: settings, catalog, storage, and the datasets that there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.dataset_registry import DatasetRegistry
from timestore_assets.declaration_files import DeclarationFiles
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import RetiredError
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.segments.publishing import WriteContext
    from timestore_assets.sources.folders import SourceFiles
    from timestore_assets.storage.targets import Storage


class Workplace:
    """What is open while a process works with datasets. A dataset is registered in the catalog when it is first used."""

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

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """Declared ones by name, in a mapping that is replaced and never changed."""
        return self._registry.datasets

    @datasets.setter
    def datasets(self, declared: Mapping[str, Dataset]) -> None:
        self._registry.give(declared)

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

    def _in_use(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """A dataset in which something is about to land, and its record; RetiredError when nothing may."""
        dataset, record = self.resolve(name)
        if record.is_retired:
            raise RetiredError(name)
        return dataset, record

    def prefix_folder(self, source: FileSource) -> Path:
        """The watched folder, when it is one of this machine; relative prefixes lie in TIMESTORE_HOME."""
        return self.settings.home_folder / source.prefix

    def source_files(self, source: FileSource) -> SourceFiles:
        """The files of a source, in a folder or a bucket; see `sources.folders`."""
        from timestore_assets.sources.folders import source_files

        return source_files(self.settings, source)

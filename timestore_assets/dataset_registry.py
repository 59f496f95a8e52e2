"""The datasets that there are: declared in files and over HTTP, and registered in the catalog when they are first used."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from timestore_assets.dataset_status import behind_notice
from timestore_assets.declaration.from_yaml import dataset_over_http
from timestore_assets.declarations import DeclaredDatasets
from timestore_assets.model.allowances import Allowances
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import (
    ConflictError,
    DeclarationError,
    DroppedError,
    InputError,
    RefusedError,
    StorageFullError,
    UnavailableError,
    UnwritableError,
)

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.datasets import Defaults
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.catalog.service_records import StoredDeclaration
    from timestore_assets.declaration_files import DeclarationFiles, DeclaredFile


class DatasetRegistry:
    """Brings what is declared together with what the catalog knows of it. Thread-safe."""

    datasets: Mapping[str, Dataset]
    """Declared ones by name; replaced, and never changed."""
    declarations: DeclaredDatasets
    """Where each is from."""

    def __init__(
        self,
        catalog: Catalog,
        from_files: Mapping[str, Dataset],
        *,
        allowances: Callable[[], Allowances],
        files: DeclarationFiles | None = None,
        written: Mapping[str, datetime] | None = None,
    ) -> None:
        """`files`: where `from_files` are from, to be read again when they change; without them, when they were `written`."""
        self._catalog, self._allowances, self._files = catalog, allowances, files
        self._given: Mapping[str, Dataset] = {}
        self.datasets, self.declarations = from_files, DeclaredDatasets(from_files, written if files is None else _times(files))
        self.retired: frozenset[str] = frozenset()
        self._refreshing = threading.Lock()
        self._served: dict[str, tuple[Dataset, Dataset]] = {}
        self._kept: dict[str, tuple[Dataset, Hashable, Dataset, DatasetRecord]] = {}
        self._refused: dict[str, str] = {}

    @property
    def problems(self) -> Sequence[str]:
        """A sentence for each declaration file that is wrong by now."""
        return self._files.problems if self._files is not None else ()

    def give(self, declared: Mapping[str, Dataset]) -> None:
        """Let these be the datasets; those that are not known here otherwise stay, whatever files and catalog say later."""
        with self._refreshing:
            self._given = {name: one for name, one in declared.items() if self.datasets.get(name) is not one}
            self.datasets = {name: one for name, one in declared.items() if not self.declarations.missing(name)}

    def refresh(self) -> None:
        """Take in what was declared in files and over HTTP, here or by other processes, and what was dropped, renamed or
        retired, unless that was done lately or is being done.
        """
        if self.declarations.are_fresh or not self._refreshing.acquire(blocking=False):
            return
        try:
            self._take_in()
        finally:
            self._refreshing.release()

    def refresh_now(self) -> None:
        """The same, whenever it was done last, by who has dropped or renamed one and says what that means for its file."""
        with self._refreshing:
            self._take_in(quietly=True)

    def _take_in(self, *, quietly: bool = False) -> None:
        if self._files is not None and self._files.look(self._accept):
            from_files = {name: file.dataset for name, file in self._files.by_name.items() if file.dataset is not None}
            self.declarations.replace_files(from_files, _times(self._files))
        life = self._catalog.life
        merged = self.declarations.merged(self._catalog.declarations.listed(), life.former(), quietly=quietly)
        given = {name: one for name, one in self._given.items() if not self.declarations.missing(name)}
        self.retired = life.retired()
        self.datasets = {**merged, **given}

    def _accept(self, file: DeclaredFile) -> None:
        """Register what a file that has changed declares: what rows don't allow is not taken up."""
        assert file.dataset is not None  # noqa: S101 - it was read just now
        # a name that was given up is looked at later; a catalog that takes no writes now is no fault of the file
        with suppress(DroppedError, UnavailableError):
            self._register(file.dataset, written=file.written)

    def _register(self, dataset: Dataset, *, written: datetime) -> DatasetRecord:
        from timestore_assets.catalog.holders import shown, this_process

        actor = shown(this_process())
        return self._catalog.datasets.register(dataset, actor=actor, written=written, defaults=_defaults(dataset))

    def declare(self, name: str, attributes: Mapping[str, Any], *, actor: str, if_version: int | None) -> StoredDeclaration:
        """Keep a declaration in the catalog and register its dataset; see `Warehouse.declare`."""
        dataset = dataset_over_http(name, attributes, allowed=self._allowances())
        with self._refreshing:
            if self.declarations.is_in_file(name):
                raise ConflictError(f"dataset {name!r} is declared in a file; change it there")
            self.require_free(name)
            kept = {**attributes, "name": name}
            stored = self._catalog.declarations.put(
                name, kept, actor=actor, if_version=if_version, dataset=dataset, defaults=_defaults(dataset)
            )
            self._take_in()
        return stored

    def require_free(self, name: str, *, for_dataset: str | None = None) -> None:
        """ConflictError when a file that is ignored now would take a name away again from whoever gets it.

        `for_dataset`: what the dataset that gets it is called now; its own file, which has that name still, does no harm.
        """
        if self.declarations.is_left_in_file(name) and (
            for_dataset is None or self.declarations.name_in_file(for_dataset) != name
        ):
            path = self._files.by_name[name].path if self._files is not None else "a file"
            raise ConflictError(f"{path} still has the name {name!r}, which was dropped or renamed: remove it, or write it again")

    def declared(self, name: str) -> Dataset:
        """The declared dataset of that name; InputError with the nearest names when there is none."""
        if name not in self.datasets:
            if reason := self.declarations.missing(name):
                raise InputError(reason)
            raise InputError(f"no dataset is named {name!r}; {_hint(name, self.datasets)}")
        return self.datasets[name]

    def known(self, name: str) -> DatasetRecord:
        """The record of a dataset, also of one that nothing declares any more; errors as `declared`."""
        return self._catalog.datasets.find(name) or self.resolve(name)[1]

    def as_it_stands(self, name: str) -> tuple[Dataset | None, DatasetRecord]:
        """A dataset as `resolve` gives it; of one whose declaration is refused the record alone."""
        try:
            return self.resolve(name)
        except (RefusedError, DeclarationError):
            record = self._catalog.datasets.find(name)
            if record is None:
                raise
            return None, record

    def file_of(self, name: str) -> DeclaredFile | None:
        """The file that declares a dataset, or that still names one that has that name no more."""
        return self._files.by_name.get(self.declarations.name_in_file(name)) if self._files is not None else None

    def resolve(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """The dataset with the columns that the catalog knows, and its record; see `Warehouse.resolve`."""
        try:
            served, record = self._resolved(name)
        except (RefusedError, DeclarationError) as error:
            self._refused[name] = str(error)
            raise
        self._refused.pop(name, None)
        return served, record

    def _resolved(self, name: str) -> tuple[Dataset, DatasetRecord]:
        from timestore_assets.catalog.effective_declaration import effective

        dataset = self.declared(name)
        mark = self._catalog.datasets.mark(name)
        kept = self._kept.get(name)
        if mark is not None and kept is not None and (kept[0] is dataset or kept[0] == dataset) and kept[1] == mark:
            self._served[name] = dataset, kept[2]
            return kept[2], kept[3]
        # a declaration over HTTP was registered with it; doing that again could bring back what another process has replaced
        known = self._catalog.datasets.find(name) if self.declarations.is_over_http(name) else None
        try:
            record, is_settled = self._registered(dataset, known)
        except DeclarationError as error:
            file = self.file_of(name)
            raise error.located(file=str(file.path) if file else "", line=None) from None
        served = effective(dataset, record)
        self._served[name] = dataset, served
        if is_settled:
            # should it have changed since, the next mark is another
            self._kept[name] = dataset, mark, served, record
        return served, record

    def served(self, dataset: Dataset) -> Dataset:
        """A declared dataset with the columns that the catalog had for it when it was last resolved; asks nobody."""
        declared, served = self._served.get(dataset.name, (None, dataset))
        return served if declared is dataset else dataset

    def refused(self, name: str) -> str:
        """Why the declaration of a dataset was refused when it was last resolved, a sentence; empty when it was not."""
        return self._refused.get(name, "")

    def notices(self) -> Sequence[str]:
        """A sentence for each dataset whose declaration was behind or refused when it was last resolved; asks nobody."""
        refused = [text for name, text in sorted(self._refused.items()) if name in self.datasets]
        behind = [name for name, one in sorted(self.datasets.items()) if self.served(one).is_behind]
        files = ((name, self.file_of(name)) for name in behind)
        return [*refused, *(behind_notice(name, file.path if file else None) for name, file in files)]

    def resolved(self) -> Mapping[str, tuple[Dataset, DatasetRecord]]:
        """The datasets by name, each registered when it is looked up: a statement costs what it names."""
        return _Resolved(self)

    def _registered(self, dataset: Dataset, known: DatasetRecord | None) -> tuple[DatasetRecord, bool]:
        """The record after registering, and whether that was done: not where the catalog takes no writes, and it can still be
        read.
        """
        try:
            record = known or self._register(dataset, written=self.declarations.written(dataset.name))
            for source in dataset.sources:
                self._catalog.sources.ensure(record.id, source.kind, source.address)
        except (UnwritableError, StorageFullError):
            found = self._catalog.datasets.find(dataset.name)
            if found is None:
                raise
            return found, False
        return record, True


def _defaults(dataset: Dataset) -> Defaults | None:
    """What carries out the defaults of a declaration's columns; None where it has none, so that nothing is imported for them."""
    if not any(column.default for column in dataset.schema):
        return None
    from timestore_assets.migrating.default_operations import declared_defaults

    return declared_defaults()


def _times(files: DeclarationFiles) -> dict[str, datetime]:
    return {name: file.written for name, file in files.by_name.items()}


_MOST_NAMED = 5


def _hint(name: str, known: Collection[str]) -> str:
    """What a name that there is not could have meant: the ones that are like it, else a few."""
    by_folded = {one.lower(): one for one in known}
    close = [by_folded[one] for one in difflib.get_close_matches(name.lower(), by_folded, n=3)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if len(known) <= _MOST_NAMED:
        return f"declared are: {', '.join(sorted(known)) or 'none'}"
    nearest = [by_folded[one] for one in difflib.get_close_matches(name.lower(), by_folded, n=_MOST_NAMED, cutoff=0.0)]
    return f"of the {len(known)} that are declared the nearest are: {', '.join(nearest)}"


class _Resolved(Mapping[str, "tuple[Dataset, DatasetRecord]"]):
    def __init__(self, registry: DatasetRegistry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        if name not in self._registry.datasets:
            raise KeyError(name)
        return self._registry.resolve(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.datasets)

    def __len__(self) -> int:
        return len(self._registry.datasets)

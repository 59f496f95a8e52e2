"""Datasets come, change their names, and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timestore_assets.declaration_files import DeclaredFile
from timestore_assets.declarations import DeclaredDatasets
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.dataset_life import Belongings
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.catalog.service_records import StoredDeclaration


class DatasetVerbs(Workplace):
    """What is declared, here and elsewhere, and the life of datasets."""

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

    @property
    def declaration_notices(self) -> Sequence[str]:
        """A sentence for each dataset whose declaration was behind or refused when it was last used here."""
        return self._registry.notices()

    def is_retired(self, name: str) -> bool:
        """Whether nothing lands in a dataset any more, as of the last `refresh`."""
        return name in self._registry.retired

    def as_it_stands(self, name: str) -> tuple[Dataset | None, DatasetRecord]:
        """A dataset with the columns of the catalog, and its record; of one whose declaration is refused the record alone.

        Raises:
            InputError: there is no such dataset.
        """
        return self._registry.as_it_stands(name)

    def file_of(self, name: str) -> DeclaredFile | None:
        """The file that declares a dataset, or that still names one that has that name no more."""
        return self._registry.file_of(name)

    def served(self, dataset: Dataset) -> Dataset:
        """A declared dataset with the columns that the catalog had for it when it was last resolved; asks nobody."""
        return self._registry.served(dataset)

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

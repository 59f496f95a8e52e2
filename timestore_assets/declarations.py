"""Find and read the declarations of the configured folders, and bring those that came over HTTP together with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.declaration import dataset_from_attributes, parse_declaration
from timestore_assets.model.errors import DeclarationError, InputError

if TYPE_CHECKING:
    from timestore_assets.catalog.service_records import StoredDeclaration

LOG = logging.getLogger(__name__)
FRESH_SECONDS = 2.0
"""How long what was declared over HTTP may stay unknown to another process."""


def declaration_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every `*/defs.yaml` below the folders, in order; a folder that is itself a dataset's counts too.

    Raises:
        InputError: a folder named in the settings is a file.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.is_file():
            raise InputError(f"{folder} is a file; TIMESTORE_DEFS names folders that hold DATASET/defs.yaml")
        for path in (folder / "defs.yaml", *sorted(folder.glob("*/defs.yaml"))):
            resolved = path.resolve()
            if path.is_file() and resolved not in seen:
                seen.add(resolved)
                yield path


def read_declaration(path: Path) -> Dataset:
    """The dataset a file declares.

    Raises:
        DeclarationError: naming file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DeclarationError(f"can't be read: {reason}", file=str(path)) from None
    return parse_declaration(text, file=str(path))


def read_declarations(folders: Iterable[Path]) -> dict[str, Dataset]:
    """Every declared dataset by name.

    Raises:
        DeclarationError: a declaration is wrong, or two declare the same name.
    """
    found: dict[str, tuple[Dataset, Path]] = {}
    for path in declaration_files(folders):
        dataset = read_declaration(path)
        if dataset.name in found:
            other = found[dataset.name][1]
            raise DeclarationError(f"{dataset.name!r} is already declared in {other}; rename one", key="name", file=str(path))
        found[dataset.name] = (dataset, path)
    return {name: dataset for name, (dataset, _) in found.items()}


class DeclaredDatasets:
    """The datasets of files together with those that the catalog keeps because they were declared over HTTP.

    A file wins over a declaration of the same name in the catalog. One in the catalog that can't be read here (a newer version
    of this package may have taken it) is left out. Both are said in the log, once.
    """

    def __init__(self, from_files: Mapping[str, Dataset]) -> None:
        self._from_files = from_files
        self._read: dict[tuple[str, int], Dataset | None] = {}
        self._over_http: frozenset[str] = frozenset()
        self._merged_at = float("-inf")

    @property
    def are_fresh(self) -> bool:
        """Whether the two were brought together lately."""
        return time.monotonic() - self._merged_at < FRESH_SECONDS

    def is_in_file(self, name: str) -> bool:
        """Whether a file declares that name, so that it can't be declared over HTTP."""
        return name in self._from_files

    def is_over_http(self, name: str) -> bool:
        """Whether the catalog's declaration of that name is the one that counts."""
        return name in self._over_http

    def merged(self, stored: Iterable[StoredDeclaration]) -> dict[str, Dataset]:
        """Every dataset by name."""
        before, self._read = self._read, {}
        for one in stored:
            key = one.name, one.version
            self._read[key] = before[key] if key in before else self._dataset_of(one)
        found = {name: dataset for (name, _), dataset in self._read.items() if dataset is not None}
        self._over_http, self._merged_at = frozenset(found), time.monotonic()
        return {**found, **self._from_files}

    def _dataset_of(self, stored: StoredDeclaration) -> Dataset | None:
        if stored.name in self._from_files:
            LOG.warning("dataset %r is declared in a file and was over HTTP; the file is what counts", stored.name)
            return None
        try:
            return dataset_from_attributes(stored.attributes)
        except DeclarationError as error:
            LOG.warning("dataset %r was declared over HTTP in a way this version can't read: %s", stored.name, error)
            return None

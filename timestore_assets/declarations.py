"""Find and read the declarations of the configured folders, and bring those that came over HTTP together with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.declaration.from_yaml import dataset_from_attributes, parse_declaration, parse_project_file
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError, InputError

if TYPE_CHECKING:
    from timestore_assets.catalog.records import FormerName
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
    return parse_declaration(_text(path), file=str(path))


def read_declarations(folders: Iterable[Path], *, project: Path | None = None) -> dict[str, Dataset]:
    """Every declared dataset by name.

    Args:
        project: the folder of a Dagster project's components, where datasets lie at any depth among others.

    Raises:
        DeclarationError: a declaration is wrong, or two declare the same name.
    """
    return by_name((path, dataset) for dataset, path in _each(folders, project))


def by_name(declared: Iterable[tuple[Path, Dataset]]) -> dict[str, Dataset]:
    """Datasets by name; DeclarationError when two files declare the same."""
    found: dict[str, tuple[Dataset, Path]] = {}
    for path, dataset in declared:
        if dataset.name in found:
            raise declared_twice(dataset.name, path, found[dataset.name][1])
        found[dataset.name] = (dataset, path)
    return {name: dataset for name, (dataset, _) in found.items()}


def declared_twice(name: str, path: Path, other: Path) -> DeclarationError:
    return DeclarationError(f"{name!r} is already declared in {other}; rename one", key="name", file=str(path))


def datasets_in_project(folder: Path) -> Iterator[tuple[Dataset, Path]]:
    """The datasets among a Dagster project's components, each with its file; errors as `read_declaration`."""
    for path in sorted(folder.rglob("defs.yaml")):
        for dataset in parse_project_file(_text(path), file=str(path)):
            yield dataset, path


def _each(folders: Iterable[Path], project: Path | None) -> Iterator[tuple[Dataset, Path]]:
    seen: set[Path] = set()
    for path in declaration_files(folders):
        seen.add(path.resolve())
        yield read_declaration(path), path
    if project is not None:
        yield from ((dataset, path) for dataset, path in datasets_in_project(project) if path.resolve() not in seen)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DeclarationError(f"can't be read: {reason}", file=str(path)) from None


class DeclaredDatasets:
    """The datasets of files together with those that the catalog keeps because they were declared over HTTP.

    A file wins over a declaration of the same name in the catalog. One in the catalog that can't be read here (a newer version
    of this package may have taken it) is left out. A file of before its dataset was dropped is left out too, and one of before
    it was renamed declares it under its new name. All of that is said in the log, once.
    """

    def __init__(self, from_files: Mapping[str, Dataset], written: Mapping[str, datetime] | None = None) -> None:
        """`written`: when the file of each was last changed; what has no time here counts as older than any change of names."""
        self._from_files, self._written = from_files, written or {}
        self._read: dict[tuple[str, int], Dataset | None] = {}
        self._over_http: Mapping[str, datetime] = {}
        self._in_files: Mapping[str, str] = {name: name for name in from_files}
        self._former: Mapping[str, FormerName] = {}
        self._merged_at = float("-inf")
        self._said: frozenset[str] = frozenset()

    @property
    def are_fresh(self) -> bool:
        """Whether the two were brought together lately."""
        return time.monotonic() - self._merged_at < FRESH_SECONDS

    def replace_files(self, from_files: Mapping[str, Dataset], written: Mapping[str, datetime]) -> None:
        """What the files declare by now; it counts from the next `merged`."""
        self._from_files, self._written = from_files, written

    def is_in_file(self, name: str) -> bool:
        """Whether a file declares that name, so that it can't be declared over HTTP."""
        return name in self._in_files

    def is_left_in_file(self, name: str) -> bool:
        """Whether a file of before its name was given up still has it: it would take the name from who has it next."""
        return name in self._from_files and name not in self._in_files

    def name_in_file(self, name: str) -> str:
        """What the file of a dataset calls it: what it was called before, unless the file was written since."""
        return self._in_files.get(name, name)

    def is_over_http(self, name: str) -> bool:
        """Whether the catalog's declaration of that name is the one that counts."""
        return name in self._over_http

    def written(self, name: str) -> datetime:
        """When a dataset was declared, as far as that is known: a name that was given up since is not brought back by it."""
        before_all = datetime.min.replace(tzinfo=UTC)
        return self._over_http.get(name) or self._written.get(self.name_in_file(name), before_all)

    def missing(self, name: str) -> str:
        """Why there is no dataset of a name that had one; empty when it never had."""
        former = self._former.get(name)
        if former is None:
            return ""
        left = former.now_named is None and name in self._from_files and self._is_older(name, former)
        return former.reason + ("; its file is ignored until it is written again" if left else "")

    def now_named(self, name: str) -> str | None:
        """What a dataset of that name is called since it was renamed; None when it was not."""
        return self._former[name].now_named if name in self._former else None

    def merged(
        self, stored: Iterable[StoredDeclaration], former: Iterable[FormerName] = (), *, quietly: bool = False
    ) -> dict[str, Dataset]:
        """Every dataset by name. `former`: names that were given up. `quietly`: whoever it is for is told otherwise."""
        self._former = {one.name: one for one in former}
        said: set[str] = set()
        from_files, in_files = self._by_present_names(said)
        before, self._read = self._read, {}
        found: dict[str, Dataset] = {}
        over_http: dict[str, datetime] = {}
        for one in stored:
            if one.name in from_files:
                said.add(f"dataset {one.name!r} is declared in a file and was over HTTP; the file is what counts")
                continue
            key = one.name, one.version
            self._read[key] = dataset = before[key] if key in before else _dataset_of(one)
            if dataset is not None:
                found[one.name], over_http[one.name] = dataset, one.updated_at
        self._over_http, self._in_files, self._merged_at = over_http, in_files, time.monotonic()
        for text in set() if quietly else said - self._said:
            LOG.warning("%s", text)
        self._said = frozenset(said)
        return {**found, **from_files}

    def _by_present_names(self, said: set[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
        """What the files declare by the names that datasets have now, and the names in the files by those."""
        found: dict[str, Dataset] = {}
        in_files: dict[str, str] = {}
        # a file that has the new name comes before one that has the old one
        for name in sorted(self._from_files, key=lambda name: name in self._former):
            now_named = self._present_name(name)
            if now_named is None:
                said.add(f"{self.missing(name)}; remove it")
            elif now_named not in found:
                if now_named != name:
                    said.add(f"{self._former[name].reason}; write `name: {now_named}` in its file")
                dataset = self._from_files[name]
                found[now_named] = dataset if now_named == name else replace(dataset, name=now_named)
                in_files[now_named] = name
        return found, in_files

    def _present_name(self, name: str) -> str | None:
        """What the dataset of a file is called now; None when it was dropped."""
        now_named: str | None = name
        while now_named is not None and (former := self._former.get(now_named)) and self._is_older(name, former):
            now_named = former.now_named
        return now_named

    def _is_older(self, name: str, former: FormerName) -> bool:
        written = self._written.get(name)
        return written is None or written <= former.at


def _dataset_of(stored: StoredDeclaration) -> Dataset | None:
    try:
        return dataset_from_attributes(stored.attributes)
    except DeclarationError as error:
        LOG.warning("dataset %r was declared over HTTP in a way this version can't read: %s", stored.name, error)
        return None

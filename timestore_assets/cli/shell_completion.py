"""What a shell completes besides commands and options: names of datasets and of their columns.

Nobody waits for an error here: whatever goes wrong, nothing is proposed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from timestore_assets.model.errors import TimestoreError

if TYPE_CHECKING:
    from timestore_assets.model.dataset import Dataset

VARIABLE = "_TIMESTORE_COMPLETE"
"""Set by the scripts that `--install-completion` writes."""


def is_asked() -> bool:
    """Whether a shell runs the command to complete a line."""
    return VARIABLE in os.environ


def dataset_names(incomplete: str) -> list[str]:
    """Datasets whose names begin so: of declarations in files, else of the catalog too, which takes longer to open."""
    return _matching(incomplete, _in_files()) or _matching(incomplete, _in_catalog())


def column_names(incomplete: str) -> list[str]:
    """Columns of the dataset that the line names, for the last of a list with commas."""
    before, comma, begun = incomplete.rpartition(",")
    dataset = _named(_in_files()) or _named(_in_catalog())
    given = set(before.split(","))
    names = [] if dataset is None else [one for one in dataset.schema.names if one not in given and "," not in one]
    return [f"{before}{comma}{one}" for one in _matching(begun, names)]


def aggregate_names(incomplete: str) -> list[str]:
    """Functions for the last of a list with commas."""
    from timestore_assets.model.question import FUNCTIONS

    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{one}" for one in _matching(begun, FUNCTIONS)]


def _matching(begun: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(begun))


def _named(datasets: Mapping[str, Dataset]) -> Dataset | None:
    """The dataset that the line is about; an option before it may still lack its value, so that nothing can be parsed."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    words = line.replace('"', " ").replace("'", " ").split()
    return next((datasets[word] for word in words if word in datasets), None)


def _in_files() -> Mapping[str, Dataset]:
    from timestore_assets.declarations import read_declarations
    from timestore_assets.settings import Settings

    try:
        return read_declarations(Settings.load().declaration_folders)
    except (TimestoreError, OSError):
        return {}


def _in_catalog() -> Mapping[str, Dataset]:
    from timestore_assets.cli.open_warehouse import open_warehouse
    from timestore_assets.settings import Settings

    try:
        # a look must not make a home where there is none
        if not Settings.load().home_folder.is_dir():
            return {}
        with open_warehouse() as warehouse:
            return dict(warehouse.datasets)
    except Exception:  # a database that is away, among others
        return {}

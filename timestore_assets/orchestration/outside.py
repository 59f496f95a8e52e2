"""Datasets declared outside this package: in TIMESTORE_HOME and in the folders of TIMESTORE_DEFS."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml

from timestore_assets.declarations import declaration_files, read_declaration, read_declarations
from timestore_assets.model.errors import DeclarationError
from timestore_assets.orchestration.dataset_defs import dataset_defs
from timestore_assets.settings import PACKAGED_DEFS, Settings

_READ_HERE = {"type", "attributes"}


def check_declarations(settings: Settings) -> None:
    """Refuse a wrong declaration, packaged or not, before Dagster loads any.

    One wrong file stops the whole code location: a dataset that silently went missing would take its sensors along.

    Raises:
        DeclarationError: one sentence with file, line and key, and not a trace through Dagster's loaders.
    """
    read_declarations(settings.declaration_folders)
    for path in _outside_files(settings):
        for key in yaml.safe_load(path.read_text(encoding="utf-8")):
            if key not in _READ_HERE:
                raise DeclarationError(
                    "works in a Dagster project's own defs folder only; remove it here", key=key, file=str(path)
                )


def outside_defs(settings: Settings) -> dg.Definitions:
    """The definitions of every dataset that is not packaged."""
    found = [dataset_defs(read_declaration(path), settings) for path in _outside_files(settings)]
    return dg.Definitions.merge(*found, dg.Definitions())


def _outside_files(settings: Settings) -> list[Path]:
    return list(declaration_files(folder for folder in settings.declaration_folders if folder != PACKAGED_DEFS))

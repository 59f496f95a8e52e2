"""Datasets declared outside this package: in TIMESTORE_HOME, in the folders of TIMESTORE_DEFS, and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import yaml

from timestore_assets.catalog.opening import open_catalog
from timestore_assets.catalog.service_records import StoredDeclaration
from timestore_assets.declarations import LOG, DeclaredDatasets, declaration_files, read_declaration, read_declarations
from timestore_assets.model.errors import DeclarationError, TimestoreError
from timestore_assets.orchestration.dataset_defs import dataset_defs
from timestore_assets.orchestration.shared_defs import shared_defs
from timestore_assets.settings import PACKAGED_DEFS, Settings

_READ_HERE = {"type", "attributes"}
_PATIENCE_SECONDS = 5.0
"""How long loading waits for a catalog that is locked."""


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
    return dg.Definitions.merge(*found, *_defs_over_http(settings), dg.Definitions())


def _outside_files(settings: Settings) -> list[Path]:
    return list(declaration_files(folder for folder in settings.declaration_folders if folder != PACKAGED_DEFS))


def _defs_over_http(settings: Settings) -> Iterator[dg.Definitions]:
    """What was declared over HTTP. One that Dagster refuses is left out with a warning: no program may stop the others."""
    from_files = read_declarations(settings.declaration_folders)
    for name, dataset in DeclaredDatasets(from_files).merged(_stored(settings)).items():
        if name in from_files:
            continue
        try:
            definitions = dataset_defs(dataset, settings)
            dg.Definitions.validate_loadable(dg.Definitions.merge(definitions, shared_defs(settings)))
        except (dg.DagsterInvalidDefinitionError, dg.DagsterInvariantViolationError) as error:
            LOG.warning("dataset %r was declared over HTTP in a way that Dagster refuses: %s", name, error)
            continue
        yield definitions


def _stored(settings: Settings) -> list[StoredDeclaration]:
    """What the catalog keeps; nothing when it does not exist yet, and a line in the log when it can't be asked."""
    if not settings.is_on_postgres and not (settings.home_folder / "catalog.sqlite").exists():
        return []
    try:
        catalog = open_catalog(settings, patience=_PATIENCE_SECONDS)
        try:
            return catalog.declarations.listed()
        finally:
            catalog.close()
    except TimestoreError as error:
        LOG.warning("datasets declared over HTTP are missing here until the next reload: %s", error)
        return []

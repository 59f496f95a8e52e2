"""The definitions of a code location: every dataset that is declared for this process, and a project's own beside them.

Datasets are declared in TIMESTORE_HOME, in the folders of TIMESTORE_DEFS and over HTTP. Those in a Dagster project's folder of
components are loaded by Dagster itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg
import yaml

from timestore_assets.catalog.open_catalog import open_catalog
from timestore_assets.catalog.records import FormerName
from timestore_assets.catalog.service_records import StoredDeclaration
from timestore_assets.declaration_files import DeclarationFiles
from timestore_assets.declarations import LOG, DeclaredDatasets, datasets_in_project, declaration_files, read_declarations
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError, TimestoreError
from timestore_assets.orchestration.dagster_names import RELAY_SENSOR
from timestore_assets.orchestration.dataset_definitions import dataset_defs, shared_defs
from timestore_assets.orchestration.declared_state import declared_state
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.stored_columns_shown import shown_datasets
from timestore_assets.settings import Settings


def defs(*own: dg.Definitions) -> dg.Definitions:
    """The declared datasets with the resources `warehouse`, `duckdb` and `timestore_io`, merged with definitions of one's own.

    Where both have a resource of the same key, one's own is taken. Without own definitions runs are executed in
    process, because a multiprocess run costs seconds more to start and its child outlives a killed run; with them the executor
    is left alone.

    Raises:
        DeclarationError: a declaration is wrong: one sentence with file, line and key.
    """
    settings = Settings.load()
    check_declarations(settings)
    mine, declared = dg.Definitions.merge(*own), _declared(settings)
    # components have brought sensors that serve those of the project; here they are made anew, to serve all
    shared = shared_defs(declared | _in_components(mine, settings), settings)
    names = {one.name for one in (*(shared.sensors or ()), *(shared.jobs or ()), *(shared.schedules or ()))}
    theirs = dg.Definitions(
        assets=mine.assets,
        schedules=[schedule for schedule in mine.schedules or () if schedule.name not in names],
        sensors=[sensor for sensor in mine.sensors or () if sensor.name not in names],
        jobs=[job for job in mine.jobs or () if job.name not in names],
        resources=mine.resources,
        executor=mine.executor,
        loggers=mine.loggers,
        asset_checks=mine.asset_checks,
        metadata=mine.metadata,
        component_tree=mine.component_tree,
    )
    shown = shown_datasets(declared.all.values(), settings)
    each = [dataset_defs(one, settings, shown=shown.get(name, one)) for name, one in declared.all.items()]
    ours = dg.Definitions(
        assets=[asset for one in each for asset in one.assets or ()],
        jobs=shared.jobs,
        sensors=shared.sensors,
        schedules=shared.schedules,
        resources={key: resource for key, resource in (shared.resources or {}).items() if key not in (mine.resources or {})},
        executor=None if own else dg.in_process_executor,
    )
    return dg.Definitions.merge(ours, theirs)


def _in_components(own: dg.Definitions, settings: Settings) -> ServedDatasets:
    """The datasets of a project's components, if its own definitions have them."""
    if settings.project_defs is None or not any(sensor.name == RELAY_SENSOR for sensor in own.sensors or ()):
        return ServedDatasets(from_files={})
    return ServedDatasets(from_files={dataset.name: dataset for dataset, _ in datasets_in_project(settings.project_defs)})


_READ_HERE = {"type", "attributes"}
_PATIENCE_SECONDS = 5.0
"""How long loading waits for a catalog that is locked."""


def check_declarations(settings: Settings) -> None:
    """Refuse a wrong declaration before Dagster loads any.

    One wrong file stops the whole code location: a dataset that silently went missing would take its sensors along.

    Raises:
        DeclarationError: one sentence with file, line and key, and not a trace through Dagster's loaders.
    """
    read_declarations(settings.declaration_folders, project=settings.project_defs)
    for path in declaration_files(settings.declaration_folders):
        for key in yaml.safe_load(path.read_text(encoding="utf-8")):
            if key not in _READ_HERE:
                raise DeclarationError(
                    "works in a Dagster project's own defs folder only; remove it here", key=key, file=str(path)
                )


def _declared(settings: Settings) -> ServedDatasets:
    state = declared_state(settings)
    own, known = (
        DeclarationFiles(settings.declaration_folders, project=project).by_name for project in (None, settings.project_defs)
    )
    declared = DeclaredDatasets(
        {name: file.dataset for name, file in known.items() if file.dataset is not None},
        {name: file.written for name, file in known.items()},
    )
    now = declared.merged(*_in_catalog(settings))
    from_files = {
        name: dataset for name, dataset in now.items() if declared.name_in_file(name) in own and declared.is_in_file(name)
    }
    over_http = {name: dataset for name, dataset in now.items() if declared.is_over_http(name)}
    return ServedDatasets(
        from_files=from_files,
        over_http=dict(_loadable(over_http, settings)),
        written={name: declared.written(name) for name in from_files},
        state=state,
    )


def _loadable(over_http: Mapping[str, Dataset], settings: Settings) -> Iterator[tuple[str, Dataset]]:
    """What was declared over HTTP. One that Dagster refuses is left out with a warning: no program may stop the others."""
    for name, dataset in over_http.items():
        try:
            definitions = dataset_defs(dataset, settings, shown=dataset)
            # what is the same whatever is declared need not be tried with each
            alone = shared_defs(ServedDatasets(from_files={}, over_http={name: dataset}), settings, upkeep=False)
            dg.Definitions.validate_loadable(dg.Definitions.merge(definitions, alone))
        except (dg.DagsterInvalidDefinitionError, dg.DagsterInvariantViolationError) as error:
            LOG.warning("dataset %r was declared over HTTP in a way that Dagster refuses: %s", name, error)
            continue
        except Exception as error:  # a declaration is judged here, and whatever it makes Dagster raise is about it alone
            from timestore_assets.decoding.poison import is_poison  # with Arrow, which loading definitions needs only here

            if not is_poison(error):
                raise
            LOG.warning("dataset %r was declared over HTTP in a way that can't be loaded", name, exc_info=True)
            continue
        yield name, dataset


def _in_catalog(settings: Settings) -> tuple[list[StoredDeclaration], list[FormerName]]:
    """What the catalog keeps; nothing when it does not exist yet, and a line in the log when it can't be asked."""
    if not settings.is_on_postgres and not (settings.home_folder / "catalog.sqlite").exists():
        return [], []
    try:
        catalog = open_catalog(settings, patience=_PATIENCE_SECONDS)
        try:
            return catalog.declarations.listed(), list(catalog.life.former())
        finally:
            catalog.close()
    except TimestoreError as error:
        LOG.warning("datasets declared over HTTP are missing here until the next reload: %s", error)
        return [], []

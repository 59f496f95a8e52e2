"""A dataset in the asset graph: the partitioned asset whose materialisation is the build."""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

from collections import deque
from collections.abc import Iterator

import dagster as dg

from timestore_assets.building.report import BuildReport
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.window import Partition
from timestore_assets.orchestration.checks import check_specs, results
from timestore_assets.orchestration.failures import as_failure, failing
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.metadata import build_metadata
from timestore_assets.orchestration.names import (
    BUILD_POOL,
    CLOSE_TAG,
    DATASET_METADATA,
    DATASET_TAG,
    DATASETS_GROUP,
    IO_MANAGER,
    dataset_key,
    source_keys,
)
from timestore_assets.orchestration.partitions import PARTITIONS_PER_RUN, partitions_def
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.table_schema import table_schema
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

Event = dg.AssetMaterialization | dg.AssetCheckResult
_KINDS = {"auto": {"duckdb", "parquet"}, "duckdb": {"duckdb"}, "parquet": {"parquet"}}


def dataset_spec(dataset: Dataset) -> dg.AssetSpec:
    """The dataset's own asset: partitions, schema, owners, tags."""
    return dg.AssetSpec(
        dataset_key(dataset.name),
        description=dataset.description or None,
        deps=[key for source in dataset.sources for key in source_keys(dataset, source)],
        metadata={
            DATASET_METADATA: dataset.name,
            "dagster/column_schema": table_schema(dataset.schema, dataset),
            "time": dataset.time,
            "window": str(dataset.window),
            **({"dedupe_keys": ", ".join(dataset.dedupe.keys)} if dataset.dedupe else {}),
            **({"partition_by": ", ".join(dataset.partition_by)} if dataset.partition_by else {}),
        },
        kinds=_KINDS[dataset.segments.format],
        group_name=DATASETS_GROUP,
        owners=dataset.owners,
        tags=dict(dataset.tags),
        skippable=True,
    ).with_io_manager_key(IO_MANAGER)


def build_asset(dataset: Dataset, settings: Settings) -> dg.AssetsDefinition:
    """The partitioned asset: a run builds its partitions one after the other and reports each as it is committed."""

    @dg.multi_asset(
        name=f"build_{dataset.name}",
        specs=[dataset_spec(dataset)],
        check_specs=check_specs(dataset),
        can_subset=True,  # so that the checks can be run alone
        partitions_def=partitions_def(dataset),
        backfill_policy=dg.BackfillPolicy.multi_run(PARTITIONS_PER_RUN[dataset.window]),
        retry_policy=_retries(settings),
        pool=BUILD_POOL,
        op_tags={DATASET_TAG: dataset.name},
    )
    def build(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[Event]:
        with (
            failing(f"building {dataset.name}"),
            warehouse.opened(dataset) as opened,
            run_lease(opened.catalog, context.run.run_id),
        ):
            if dataset_key(dataset.name) in context.selected_asset_keys:
                yield from build_partitions(context, opened, dataset)
            yield from results(opened, dataset, context.selected_asset_check_keys)

    return build


def build_partitions(
    context: dg.AssetExecutionContext, warehouse: Warehouse, dataset: Dataset
) -> Iterator[dg.AssetMaterialization]:
    """Build the partitions of a run, each one reported once its commit is durable.

    A partition that fails does not keep the others from being built; the step fails at its end, and a retry passes over
    what is done.

    Raises:
        dagster.Failure: at least one partition could not be built.
    """
    again = context.retry_number > 0 or context.run.parent_run_id is not None
    errors: list[TimestoreError] = []
    empty: list[str] = []
    for partition, found in _builds(context, warehouse, dataset):
        if isinstance(found, TimestoreError):
            context.log.error(f"{partition.key}: {found}")
            errors.append(found)
        elif found.outcome == "empty":
            empty.append(partition.key)
        elif not (again and found.outcome == "unchanged" and _reported(context, dataset, found)):
            context.log.info(f"{partition.key}: {found.outcome}, {found.rows:,} rows, now {found.state}")
            yield _materialization(warehouse, dataset, found)
    if empty:
        context.log.info(_skipped(empty))
    if errors:
        raise as_failure(errors, doing=f"building {dataset.name}")


def _builds(
    context: dg.AssetExecutionContext, warehouse: Warehouse, dataset: Dataset
) -> Iterator[tuple[Partition, BuildReport | TimestoreError]]:
    """Each of the run's partitions with its build's report, or with the error that stopped it."""
    close = context.run.tags.get(CLOSE_TAG) != "no"
    actor = f"dagster run {context.run.run_id}"
    left = deque(dataset.partition(key) for key in context.partition_keys)
    while left:
        try:
            for report in warehouse.build(dataset.name, tuple(left), close=close, report=False, actor=actor):
                yield left.popleft(), report
        except TimestoreError as error:
            yield left.popleft(), error


def _materialization(warehouse: Warehouse, dataset: Dataset, report: BuildReport) -> dg.AssetMaterialization:
    record = warehouse.catalog.dataset(dataset.name)
    metadata = build_metadata(warehouse, record, report, dataset.schema) if record else {}
    return dg.AssetMaterialization(
        dataset_key(dataset.name),
        partition=report.partition.key,
        description=f"{report.rows:,} rows in {report.segments} segments, {report.state}",
        metadata=metadata,
    )


def _reported(context: dg.AssetExecutionContext, dataset: Dataset, report: BuildReport) -> bool:
    """Whether an attempt at the same work, this run or one it is tried again from, told Dagster of exactly this state.

    What another run told doesn't count: a backfill is complete only when its own runs have reported each partition.
    """
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dataset_key(dataset.name), asset_partitions=[report.partition.key]), limit=1
    )
    for record in found.records:
        held = record.asset_materialization.metadata.get("manifest_version") if record.asset_materialization else None
        same_state = held is not None and held.value == report.manifest_version
        return same_state and _first_run(context, record.run_id) == _first_run(context, context.run.run_id)
    return False


def _first_run(context: dg.AssetExecutionContext, run_id: str) -> str:
    """The run that `run_id` is, or was tried again from; itself when its record is gone."""
    run = context.instance.get_run_by_id(run_id)
    return run.root_run_id or run_id if run else run_id


def _skipped(keys: list[str]) -> str:
    span = keys[0] if len(keys) == 1 else f"{len(keys)} partitions from {keys[0]} to {keys[-1]}"
    return f"nothing to build in {span}: no rows have landed there, so no materialisation is recorded"


def _retries(settings: Settings) -> dg.RetryPolicy | None:
    if settings.partition_build_attempts <= 1:
        return None
    return dg.RetryPolicy(
        max_retries=settings.partition_build_attempts - 1,
        delay=settings.partition_build_backoff_ms / 1000,
        backoff=dg.Backoff.EXPONENTIAL,
    )

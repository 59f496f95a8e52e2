"""A dataset in the asset graph: the partitioned asset whose materialisation is the build.

Its partitions are Dagster's: same windows, same keys, in UTC.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.model.window import Partition, Window
from timestore_assets.orchestration.building.metadata import build_metadata, table_lineage, table_schema
from timestore_assets.orchestration.checks.checks import check_specs, results
from timestore_assets.orchestration.dagster_names import (
    BUILD_POOL,
    CLOSE_TAG,
    DATASET_METADATA,
    DATASET_TAG,
    DATASETS_GROUP,
    IO_MANAGER,
    dataset_key,
    source_keys,
)
from timestore_assets.orchestration.dataset_step import dataset_step
from timestore_assets.orchestration.step_failures import as_failure
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport

_CRON = {
    Window.HOUR: "0 * * * *",
    Window.DAY: "0 0 * * *",
    Window.WEEK: "0 0 * * 1",
    Window.MONTH: "0 0 1 * *",
    Window.YEAR: "0 0 1 1 *",
}
PARTITIONS_PER_RUN = {
    Window.HOUR: 744,
    Window.DAY: 366,
    Window.WEEK: 53,
    Window.MONTH: 24,
    Window.YEAR: 10,
    Window.ALL: 1,
}
"""Partitions one build run takes: enough to spread the seconds of a processor that a run costs to start. Runs side by side are
no quicker: one build of a large partition uses all cores, and small ones are built together."""


def partitions_def(dataset: Dataset) -> dg.TimeWindowPartitionsDefinition | dg.StaticPartitionsDefinition:
    """The partitions of a dataset; a single static one for the window `all`, which Dagster has no schedule for.

    The current window is one of them (`end_offset=1`; Dagster leaves it out by default). A dataset with an `end` has exactly
    the windows up to it.
    """
    if dataset.window is Window.ALL:
        return dg.StaticPartitionsDefinition([Window.ALL.value])
    end = None
    if dataset.end is not None:
        end = dataset.window.after(dataset.window.start_of(dataset.end - timedelta(microseconds=1)))
    return dg.TimeWindowPartitionsDefinition(
        start=dataset.window.start_of(dataset.start),
        end=end,
        fmt=dataset.window.key_format,
        cron_schedule=_CRON[dataset.window],
        timezone="UTC",
        end_offset=1,
    )


def known_partition(dataset: Dataset, key: str) -> Partition | None:
    """The partition of a key, or None when the dataset has no such partition (Dagster records any text as a key)."""
    try:
        return dataset.partition(key)
    except InputError:
        return None


def reached(partition: Partition, now: datetime) -> bool:
    """Whether Dagster has the partition by now; rows may already lie in later ones (`future_allowed`)."""
    return partition.start <= now


Event = dg.AssetMaterialization | dg.AssetCheckResult
_KINDS = {"auto": {"duckdb", "parquet"}, "duckdb": {"duckdb"}, "parquet": {"parquet"}}


def dataset_spec(dataset: Dataset, shown: Dataset | None = None) -> dg.AssetSpec:
    """The dataset's own asset: partitions, schema, owners, tags. `shown`: the same with the columns that the catalog has."""
    shown = shown or dataset
    return dg.AssetSpec(
        dataset_key(dataset),
        description=dataset.description or None,
        deps=[*(key for source in dataset.sources for key in source_keys(dataset, source)), *map(dg.AssetKey, dataset.deps)],
        metadata={
            DATASET_METADATA: dataset.name,
            "dagster/column_schema": table_schema(shown.schema, shown),
            "dagster/column_lineage": table_lineage(shown.schema, shown),
            "time": shown.time,
            "window": str(dataset.window),
            **({"dedupe_keys": ", ".join(shown.dedupe.keys)} if shown.dedupe else {}),
            **({"partition_by": ", ".join(shown.partition_by)} if shown.partition_by else {}),
        },
        kinds=_KINDS[dataset.segments.format] | set(dataset.kinds),
        group_name=dataset.group or DATASETS_GROUP,
        freshness_policy=freshness_policy(dataset),
        owners=dataset.owners,
        tags=dict(dataset.tags),
        skippable=True,
    ).with_io_manager_key(IO_MANAGER)


def freshness_policy(dataset: Dataset) -> dg.FreshnessPolicy | None:
    """The declared one; none for a dataset whose end has passed, of which no build is expected any more."""
    max_age = dataset.freshness.max_age
    if max_age is None or (dataset.end is not None and dataset.end <= datetime.now(UTC)):
        return None
    return dg.FreshnessPolicy.time_window(fail_window=max_age)


def build_asset(dataset: Dataset, settings: Settings, shown: Dataset | None = None) -> dg.AssetsDefinition:
    """The partitioned asset: a run builds its partitions one after the other and reports each as it is committed.

    `shown`: see `dataset_spec`.
    """

    @dg.multi_asset(
        name=f"build_{dataset.name}",
        specs=[dataset_spec(dataset, shown)],
        check_specs=check_specs(dataset),
        can_subset=True,  # so that the checks can be run alone
        partitions_def=partitions_def(dataset),
        backfill_policy=dg.BackfillPolicy.multi_run(PARTITIONS_PER_RUN[dataset.window]),
        retry_policy=_retries(settings),
        pool=BUILD_POOL,
        op_tags={DATASET_TAG: dataset.name},
    )
    def build(context: dg.AssetExecutionContext) -> Iterator[Event]:
        with dataset_step("building", dataset, context.run.run_id) as opened:
            if dataset_key(dataset) in context.selected_asset_keys:
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
    built: list[BuildReport] = []
    for partition, report in _builds(context, warehouse, dataset):
        if isinstance(report, TimestoreError):
            context.log.error(f"{partition.key}: {report}")
            errors.append(report)
        elif report.outcome == "empty" and report.content_hash is None:  # with one it held rows, which were replaced
            empty.append(partition.key)
        elif not (again and report.outcome == "unchanged" and _reported(context, dataset, report)):
            built.append(report)
            yield _materialization(warehouse, dataset, report)
    if built:
        context.log.info(_told(built))
    if empty:
        context.log.info(_skipped(empty))
    if errors:
        raise as_failure(errors, doing=f"building {dataset.name}")


def _builds(
    context: dg.AssetExecutionContext, warehouse: Warehouse, dataset: Dataset
) -> "Iterator[tuple[Partition, BuildReport | TimestoreError]]":
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


def _materialization(warehouse: Warehouse, dataset: Dataset, report: "BuildReport") -> dg.AssetMaterialization:
    record = warehouse.catalog.datasets.find(dataset.name)
    metadata = build_metadata(warehouse, record, report, dataset) if record else {}
    return dg.AssetMaterialization(
        dataset_key(dataset),
        partition=report.partition.key,
        description=f"{report.rows:,} rows in {report.segments} segments, {report.state}",
        metadata=metadata,
    )


def _reported(context: dg.AssetExecutionContext, dataset: Dataset, report: "BuildReport") -> bool:
    """Whether an attempt at the same work, this run or one it is tried again from, told Dagster of exactly this state.

    What another run told doesn't count: a backfill is complete only when its own runs have reported each partition.
    """
    told = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dataset_key(dataset), asset_partitions=[report.partition.key]), limit=1
    )
    for record in told.records:
        told_version = record.asset_materialization.metadata.get("manifest_version") if record.asset_materialization else None
        same_state = told_version is not None and told_version.value == report.manifest_version
        return same_state and _first_run(context, record.run_id) == _first_run(context, context.run.run_id)
    return False


def _first_run(context: dg.AssetExecutionContext, run_id: str) -> str:
    """The run that `run_id` is, or was tried again from; itself when its record is gone."""
    run = context.instance.get_run_by_id(run_id)
    return run.root_run_id or run_id if run else run_id


def _told(built: "Sequence[BuildReport]") -> str:
    """One line for all: each has its materialisation, and a line more of each would be a third of what they cost Dagster."""
    rows = sum(one.rows for one in built)
    outcomes = ", ".join(f"{many:,} {outcome}" for outcome, many in sorted(Counter(one.outcome for one in built).items()))
    states = ", ".join(f"{many:,} {state}" for state, many in sorted(Counter(str(one.state) for one in built).items()))
    return f"{_span([one.partition.key for one in built])}: {outcomes}; {rows:,} rows; now {states}"


def _skipped(keys: list[str]) -> str:
    return f"nothing to build in {_span(keys)}: no rows have landed there, so no materialisation is recorded"


def _span(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{len(keys):,} partitions from {keys[0]} to {keys[-1]}"


def _retries(settings: Settings) -> dg.RetryPolicy | None:
    if settings.partition_build_attempts <= 1:
        return None
    return dg.RetryPolicy(
        max_retries=settings.partition_build_attempts - 1,
        delay=settings.partition_build_backoff_ms / 1000,
        backoff=dg.Backoff.EXPONENTIAL,
    )

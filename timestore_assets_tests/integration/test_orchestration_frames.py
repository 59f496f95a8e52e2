"""People's own assets: partitions come in as frames by annotation, frames go out as rows of a dataset."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
import pytest

from timestore_assets.orchestration.building.build_asset import partitions_def
from timestore_assets.orchestration.dagster_names import IO_MANAGER
from timestore_assets.orchestration.resources import DatasetsDuckDBResource
from timestore_assets_tests.support.dagster_deployment import QUIET, DagsterDeployment, dagster_deployment

pytestmark = QUIET
DAILY = """\
type: timestore_assets.Dataset
attributes:
  name: daily
  columns:
    device: {type: string}
    day: {type: timestamp}
    mean: {type: double, le: 50}
  time: day
  window: month
  start: 2024-01-01
"""
DAYS = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_offset=1)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        declared = made.home / "defs" / "daily" / "defs.yaml"
        declared.parent.mkdir()
        declared.write_text(DAILY, encoding="utf-8")
        rows = [
            f"{device},2024-01-{day:02d}T{hour:02d}:00:00Z,{day}" for day in range(1, 8) for hour in (0, 23) for device in "ab"
        ]
        path = made.drop("a.csv", rows)
        with made.warehouse() as warehouse:
            warehouse.land("readings", [path])
            seal = [warehouse.datasets["readings"].partition(f"2024-01-{day:02d}") for day in (1, 2, 3)]
            assert len(list(warehouse.build("readings", seal, close=True))) == 3
        yield made


def run(
    deployment: DagsterDeployment,
    asset: dg.AssetsDefinition,
    *,
    key: str | None = None,
    last: str | None = None,
    **resources: object,
) -> dg.ExecuteInProcessResult:
    """Materialise one asset of a person's own beside the declared ones."""
    definitions = dg.Definitions.merge(deployment.definitions, dg.Definitions(assets=[asset], resources=resources))
    tags = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": last} if key and last else {}
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=deployment.instance,
        asset_selection=[asset.key],
        partition_key=None if last else key,
        tags={name: value for name, value in tags.items() if value},
        raise_on_error=False,
    )


@pytest.mark.parametrize(("key", "last", "days"), [("2024-01-02", None, [2]), ("2024-01-03", "2024-01-05", [3, 4, 5])])
def test_an_input_holds_the_partitions_asked_for(
    deployment: DagsterDeployment, key: str, last: str | None, days: list[int]
) -> None:
    for kind in (pl.LazyFrame, pl.DataFrame, pa.Table, duckdb.DuckDBPyRelation):
        got: list[Any] = []

        @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
        def seen(readings: kind, got: dg.ResourceParam[list[Any]]) -> None:  # type: ignore[valid-type] # Dagster reads the variable
            got.append((type(readings), _frame(readings)))

        assert run(deployment, seen, key=key, last=last, got=got).success
        ((found, frame),) = got
        assert found is kind
        assert frame.columns == ["device", "at", "value"]
        assert sorted(frame["value"].to_list()) == sorted(float(day) for day in days for _ in range(4))


def test_an_unpartitioned_asset_gets_everything(deployment: DagsterDeployment) -> None:
    got: list[int] = []

    @dg.asset
    def seen(readings: pl.LazyFrame) -> None:
        got.append(readings.select(pl.len()).collect().item())

    assert run(deployment, seen).success
    assert got == [28]


def test_the_input_needs_no_annotation(deployment: DagsterDeployment) -> None:
    got: list[Any] = []

    @dg.asset
    def seen(readings) -> None:  # type: ignore[no-untyped-def] # what is tested
        got.append(readings)

    assert run(deployment, seen).success
    assert isinstance(got[0], pl.LazyFrame)


def stored(deployment: DagsterDeployment, columns: str = "device, day, mean") -> list[tuple[Any, ...]]:
    with deployment.warehouse() as warehouse, warehouse.sql(f"SELECT {columns} FROM daily ORDER BY ALL") as answer:
        return [tuple(row.values()) for row in answer.table().to_pylist()]


def means(readings: pl.LazyFrame) -> pl.LazyFrame:
    day = pl.col("at").dt.truncate("1d").alias("day")
    return readings.group_by("device", day).agg(pl.col("value").mean().alias("mean")).sort("device", "day")


def test_an_output_of_any_kind_becomes_rows_of_the_dataset(deployment: DagsterDeployment) -> None:
    @dg.asset(partitions_def=DAYS, io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "daily"})
    def summary(context: dg.AssetExecutionContext, readings: pl.LazyFrame) -> Any:
        frame = means(readings)
        table = frame.collect().to_arrow()
        by_day = {"02": frame, "03": frame.collect(), "04": table, "05": duckdb.connect().from_arrow(table)}
        return by_day[context.partition_key[-2:]]

    for day in (2, 3, 4, 5, 5):
        result = run(deployment, summary, key=f"2024-01-{day:02d}")
        assert result.success
    assert stored(deployment) == [(device, at(day), float(day)) for device in "ab" for day in (2, 3, 4, 5)]
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["dataset"].value == "daily"


def test_what_was_stored_is_read_by_the_partitions_of_its_own_asset(deployment: DagsterDeployment) -> None:
    got: list[list[float]] = []

    @dg.asset(partitions_def=DAYS, io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "daily"})
    def summary(readings: pl.LazyFrame) -> pl.LazyFrame:
        return means(readings)

    @dg.asset(partitions_def=DAYS)
    def seen(summary: pl.DataFrame) -> None:
        got.append(summary["mean"].to_list())

    both = dg.Definitions.merge(deployment.definitions, dg.Definitions(assets=[summary, seen]))
    job = both.resolve_implicit_global_asset_job_def()
    for day in (2, 3):
        assert job.execute_in_process(
            instance=deployment.instance, asset_selection=[summary.key, seen.key], partition_key=f"2024-01-{day:02d}"
        ).success
    assert got == [[2.0, 2.0], [3.0, 3.0]]


def test_storing_again_replaces_what_that_partition_held(deployment: DagsterDeployment) -> None:
    factor = [1.0]

    @dg.asset(partitions_def=DAYS, io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "daily"})
    def summary(readings: pl.LazyFrame) -> pl.LazyFrame:
        return means(readings).with_columns(pl.col("mean") * factor[0]).filter(pl.lit(factor[0] > 0))

    def stored_means() -> list[float]:
        return [row[0] for row in stored(deployment, "mean")]

    assert run(deployment, summary, key="2024-01-02").success
    assert run(deployment, summary, key="2024-01-03").success
    factor[0] = 10.0
    assert run(deployment, summary, key="2024-01-02").success
    assert stored_means() == [3.0, 3.0, 20.0, 20.0]
    factor[0] = 1.0
    assert run(deployment, summary, key="2024-01-02").success, "back to a content it has held before"
    assert stored_means() == [2.0, 2.0, 3.0, 3.0]
    factor[0] = 0.0
    assert run(deployment, summary, key="2024-01-02").success
    assert stored_means() == [3.0, 3.0]
    assert run(deployment, summary, key="2024-01-03").success, "an empty partition is not a duplicate of another empty one"
    assert stored_means() == []


def test_one_value_for_several_partitions_is_told_apart(deployment: DagsterDeployment) -> None:
    @dg.asset(
        partitions_def=DAYS,
        io_manager_key=IO_MANAGER,
        metadata={"timestore/dataset": "daily"},
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def summary(readings: pl.LazyFrame) -> pl.LazyFrame:
        return means(readings)

    assert run(deployment, summary, key="2024-01-01", last="2024-01-04").success
    assert run(deployment, summary, key="2024-01-02", last="2024-01-02").success
    assert [row[0] for row in stored(deployment, "mean")] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]


def test_stored_partitions_are_built_by_the_sensor(deployment: DagsterDeployment) -> None:
    @dg.asset(partitions_def=DAYS, io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "daily"})
    def summary(readings: pl.LazyFrame) -> pl.LazyFrame:
        return means(readings)

    assert run(deployment, summary, key="2024-01-02").success
    with deployment.warehouse() as warehouse:
        (need,) = warehouse.needed_builds("daily")
    assert (need.partition.key, need.closes) == ("2024-01-01", True)
    assert need.reason.startswith("stored by summary: ")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            pl.DataFrame({"device": ["a"], "day": [dt.datetime(2024, 2, 1)], "mean": [1.0]}),
            "1 rows that summary returned lie outside",
        ),
        (pl.DataFrame({"device": ["a"], "mean": [1.0]}), "can't be stored in daily: "),
        ({"device": "a"}, "a dict can't be stored; return a polars DataFrame"),
        (None, "None can't be stored; return a polars DataFrame"),
    ],
)
def test_what_can_not_be_stored_says_why(deployment: DagsterDeployment, value: Any, says: str) -> None:
    @dg.asset(partitions_def=DAYS, io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "daily"})
    def summary() -> Any:
        return value

    result = run(deployment, summary, key="2024-01-02")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert says in str(failure.event_specific_data)
    assert stored(deployment) == []


def test_an_unknown_dataset_names_the_nearest(deployment: DagsterDeployment) -> None:
    @dg.asset(io_manager_key=IO_MANAGER)
    def dayly() -> pl.DataFrame:
        return pl.DataFrame()

    result = run(deployment, dayly)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "did you mean 'daily'?" in str(failure.event_specific_data)


def test_every_dataset_is_a_view_of_the_duckdb_resource(deployment: DagsterDeployment) -> None:
    got: list[Any] = []

    @dg.asset
    def seen(duckdb: DatasetsDuckDBResource) -> None:
        with duckdb.get_connection() as connection:
            got.append(connection.execute("SELECT count(*), max(value) FROM readings").fetchone())

    assert run(deployment, seen).success
    assert got == [(28, 7.0)]


def test_partitions_of_the_dataset_map_onto_those_of_a_downstream_month(deployment: DagsterDeployment) -> None:
    got: list[int] = []

    @dg.asset(partitions_def=dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_offset=1))
    def seen(readings: pa.Table) -> None:
        got.append(readings.num_rows)

    assert partitions_def(deployment.dataset) is not None
    assert run(deployment, seen, key="2024-01-01").success
    assert got == [28]


def at(day: int) -> dt.datetime:
    return dt.datetime(2024, 1, day, tzinfo=dt.UTC)


def _frame(value: Any) -> pl.DataFrame:
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.DataFrame):
        return value
    table = value if isinstance(value, pa.Table) else value.to_arrow_table()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame

"""Windows of a year and of all times in Dagster: asked for, built, and handed to an asset downstream."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, dagster_deployment

pytestmark = QUIET
READINGS = dg.AssetKey("readings")


@pytest.mark.parametrize(
    ("window", "keys", "end"),
    [("year", ["2023-01-01", "2024-01-01"], "2025-01-01"), ("all", ["all"], "2025-01-01"), ("all", ["all"], None)],
)
def test_partitions_are_asked_for_built_and_read(tmp_path: Path, window: str, keys: list[str], end: str | None) -> None:
    until = f"\n  end: {end}" if end else ""
    declared = DECLARATION.replace("window: day", f"window: {window}").replace("start: 2024-01-01", f"start: 2023-01-01{until}")
    with dagster_deployment(tmp_path, declared.replace("age: 1h", "age: 1h, deltas: 2")) as deployment:
        files = [deployment.drop(f"{year}.csv", [f"a,{year}-06-01T00:00:00Z,{year - 2000}"]) for year in (2023, 2024)]
        with deployment.warehouse() as warehouse:
            for file in files:
                warehouse.land("readings", [file])
        requests = deployment.tick("timestore_builds").run_requests or ()
        (request,) = requests
        assert (request.tags.get("timestore/close") != "no") is (end is not None), "what never ends is merged and stays open"
        assert deployment.run(request, "__ASSET_JOB").success
        assert deployment.instance.get_materialized_partitions(READINGS) == set(keys)
        with deployment.warehouse() as warehouse:
            found = warehouse.partitions("readings")
        assert [(one.partition.key, one.rows, one.state) for one in found] == [
            (key, 2 // len(keys), "sealed" if end else "open") for key in keys
        ]

        got: list[list[float]] = []
        partitions = deployment.definitions.resolve_assets_def(READINGS).partitions_def

        @dg.asset(partitions_def=partitions)
        def doubled(readings: pl.DataFrame) -> None:
            got.append(sorted(readings["value"].to_list()))

        definitions = dg.Definitions.merge(deployment.definitions, dg.Definitions(assets=[doubled]))
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=deployment.instance, asset_selection=[doubled.key], partition_key=keys[-1], raise_on_error=False
        ).success
        assert got == [[24.0] if window == "year" else [23.0, 24.0]]

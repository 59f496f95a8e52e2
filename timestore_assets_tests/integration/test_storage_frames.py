"""The IO manager follows a dataset's storage target: frames land in the bucket that its declaration names."""

import json
from pathlib import Path

import dagster as dg
import obstore
import polars as pl
import pytest

from timestore_assets.orchestration.dagster_names import IO_MANAGER
from timestore_assets_tests.support.bucket_settings import credentials
from timestore_assets_tests.support.dagster_deployment import QUIET, dagster_deployment
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = [*QUIET, pytest.mark.xdist_group("s3")]
DOUBLED = """\
type: timestore_assets.Dataset
attributes:
  name: doubled
  columns: {device: string, at: timestamp, value: {type: double, nullable: true}}
  time: at
  start: 2024-01-01
  storage: archive
"""


def test_a_frame_is_stored_where_its_dataset_lives(s3_bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = {"driver": "s3", "bucket": s3_bucket.bucket, "endpoint": s3_bucket.endpoint}
    monkeypatch.setenv("TIMESTORE_STORAGE_TARGETS", json.dumps({"archive": archive}))
    for name, value in credentials(s3_bucket).items():
        monkeypatch.setenv(name, value)
    with dagster_deployment(tmp_path) as there:
        declared = there.home / "defs" / "doubled" / "defs.yaml"
        declared.parent.mkdir()
        declared.write_text(DOUBLED, encoding="utf-8")
        with there.warehouse() as warehouse:
            warehouse.land("readings", [there.drop("a.csv", ["a,2024-01-01T00:00:00Z,2", "b,2024-01-01T01:00:00Z,4"])])

        @dg.asset(io_manager_key=IO_MANAGER, partitions_def=dg.DailyPartitionsDefinition(start_date="2024-01-01", end_offset=1))
        def doubled(readings: pl.LazyFrame) -> pl.LazyFrame:
            return readings.with_columns(pl.col("value") * 2)

        definitions = dg.Definitions.merge(there.definitions, dg.Definitions(assets=[doubled]))
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=there.instance, asset_selection=[doubled.key], partition_key="2024-01-01").success
        with there.warehouse() as warehouse:
            with warehouse.sql("SELECT sum(value) AS total FROM doubled") as answer:
                assert answer.table().to_pylist() == [{"total": 12.0}]
            [segment] = warehouse.catalog.manifest.segments(warehouse.resolve("doubled")[1].id)
            assert segment.storage == "archive"
            assert obstore.head(s3_bucket.store(), segment.name)["size"] == segment.bytes

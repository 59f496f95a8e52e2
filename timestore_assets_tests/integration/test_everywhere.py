"""One behaviour of the whole warehouse, in every storage and on both catalogs: by settings alone, through the commands."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.orchestration.dagster_names import IO_MANAGER
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets_tests.support.command_warehouse import CommandWarehouse, Row, lines_of
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, dataset_defs, parse_declaration, shared_defs
from timestore_assets_tests.support.object_server_fixtures import REAL_AZURE, REAL_GCS, REAL_S3
from timestore_assets_tests.support.object_servers import ObjectServer

PLACES = [
    pytest.param(kind, database, marks=marks)
    for (kind, marks), database in zip(
        (("local", []), ("s3", REAL_S3), ("azure", REAL_AZURE), ("gcs", REAL_GCS)),
        ("sqlite", "postgresql", "sqlite", "postgresql"),
        strict=True,
    )
]
"""Each storage and each database: neither knows the other, so not every pair of them."""
pytestmark = [*QUIET, pytest.mark.parametrize(("bucket", "catalog_url"), PLACES, indirect=True)]
COUNTED = ("read", "landed", "duplicates", "dead_letters")
GOOD: list[Row] = [
    {"device": device, "at": f"2024-01-{day:02d}T{hour:02d}:00:00Z", "value": day + hour / 100}
    for day in (1, 2, 3)
    for hour in range(24)
    for device in "ab"
]
CSV = (
    b"device,at,value\n"
    + "".join(f"{row['device']},{row['at']},{row['value']}\n" for row in GOOD[:48]).encode()
    + b"a,2024-01-01T05:00:00Z,warm\nb,2024-01-02T00:00:00Z,500\nb,1999-01-01T00:00:00Z,1\n"
)
LINES = lines_of(GOOD[40:96]) + b'{"device": "a", "at": "2024-01-04T00:00:00Z", "value": 400}\nnot json\n'
ROWS = len(GOOD)


def parquet() -> bytes:
    table = pa.table({name: [row[name] for row in GOOD[90:]] for name in ("device", "at", "value")})
    content = io.BytesIO()
    pq.write_table(table.set_column(1, "at", table["at"].cast(pa.timestamp("us", "UTC"))), content)
    return content.getvalue()


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> ObjectServer | None:
    """An empty bucket of each kind, and none: a folder."""
    if request.param == "local":
        return None
    server: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    return server.with_bucket(f"everywhere-{abs(hash(request.node.nodeid))}")


@pytest.fixture
def warehouse(bucket: ObjectServer | None, catalog_url: str, tmp_path: Path) -> CommandWarehouse:
    return CommandWarehouse.at(tmp_path, bucket, catalog_url, gc_grace_seconds=0, keep_versions_seconds=0)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> dict[str, str]:
    """Content hash of each partition, as one file without flaws gives them here."""
    folder = tmp_path_factory.mktemp("content")
    shutil.copy(sqlite_template, folder / "catalog.sqlite")
    plain = CommandWarehouse.at(folder, None, f"sqlite:///{folder / 'catalog.sqlite'}")
    plain.run("land", "readings", plain.here("all.jsonl", lines_of(GOOD)), "--format", "jsonl")
    return plain.build()


def land_all(warehouse: CommandWarehouse) -> None:
    """The same rows in three files that overlap, with poison among them: one here, two beside the segments."""
    first = warehouse.run("land", "readings", warehouse.here("a.csv", CSV))
    assert [first[name] for name in COUNTED] == [51, 48, 0, 3]
    second = warehouse.run("land", "readings", warehouse.beside("b.jsonl", LINES), "--format", "jsonl")
    assert [second[name] for name in COUNTED] == [58, 56, 0, 2]
    third = warehouse.run("land", "readings", warehouse.beside("c.parquet", parquet()), "--format", "parquet")
    assert [third[name] for name in COUNTED] == [ROWS - 90, ROWS - 90, 0, 0]


def test_from_files_to_answers(warehouse: CommandWarehouse, content: dict[str, str]) -> None:
    land_all(warehouse)
    assert warehouse.query() == GOOD, "before a build"
    what_has_landed_is_a_duplicate(warehouse)
    assert warehouse.build() == content
    assert warehouse.run("build", "readings")["built"] == 0
    shutil.rmtree(warehouse.home / "cache", ignore_errors=True)
    assert warehouse.query() == GOOD, "after it, with nothing in the cache"
    questions_are_answered(warehouse)
    what_nothing_needs_is_collected(warehouse)
    assert warehouse.is_proven()
    assert warehouse.query() == GOOD
    if warehouse.server is not None:
        assert not (warehouse.home / "data").exists(), "segments are in the bucket alone"


def what_has_landed_is_a_duplicate(warehouse: CommandWarehouse) -> None:
    again = warehouse.run("land", "readings", warehouse.here("a.csv", CSV), warehouse.here("other-name.csv", CSV))
    assert [again[name] for name in COUNTED] == [102, 0, 102, 0]
    elsewhere = warehouse.run("land", "readings", warehouse.uri("b.jsonl"), "--format", "jsonl")
    assert [elsewhere[name] for name in COUNTED] == [58, 0, 58, 0]
    # looking again at the address of a landed file reads nothing
    totals = {"read": 51 + 58 + ROWS - 90 + 51, "landed": 48 + 56 + ROWS - 90, "duplicates": 51, "dead_letters": 5}
    assert warehouse.counters() == {**totals, "late_dropped": 0, "held": 0}


def questions_are_answered(warehouse: CommandWarehouse) -> None:
    few = warehouse.query("--where", "value >= 2 AND device = 'a'", "--columns", "at,value", "--from", "2024-01-02T20:00")
    assert few == [{"at": row["at"], "value": row["value"]} for row in GOOD[88::2]]
    daily = warehouse.query("--every", "1d", "--agg", "max:value as top,count as rows")
    assert [(row["top"], row["rows"]) for row in daily] == [(1.23, 48), (2.23, 48), (3.23, 48)]
    counted = warehouse.run("sql", "SELECT device, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL")
    assert counted == [{"device": device, "n": ROWS // 2} for device in "ab"]


def what_nothing_needs_is_collected(warehouse: CommandWarehouse) -> None:
    before = warehouse.objects()
    collected = warehouse.run("gc")
    assert collected["superseded_segments"] > 0
    assert collected["orphaned_files"] == collected["unfinished_files"] == 0
    assert warehouse.objects() < before
    assert warehouse.run("gc")["superseded_segments"] == 0
    # what is beside the warehouse's prefix is nobody's to collect
    assert warehouse.run("land", "readings", warehouse.uri("b.jsonl"), "--format", "jsonl")["duplicates"] == 58


def test_dead_letters_are_kept_and_landed_once_mended(warehouse: CommandWarehouse) -> None:
    warehouse.run("land", "readings", warehouse.here("a.csv", CSV))
    warehouse.run("land", "readings", warehouse.beside("b.jsonl", LINES), "--format", "jsonl")
    reasons = {one["reason"] for one in warehouse.run("deadletters", "list", "readings")}
    assert reasons == {"bad_value", "bad_json", "failed_check", "out_of_range"}
    records = {one["raw"] for one in warehouse.run("deadletters", "show", "readings")}
    assert records >= {"not json", "b,2024-01-02T00:00:00Z,500"}
    assert warehouse.run("deadletters", "replay", "readings")["landed"] == 0
    warehouse.declare(DECLARATION.replace("le: 100", "le: 1000"))
    mended = warehouse.run("deadletters", "replay", "readings")
    assert (mended["landed"], mended["refused"]) == (2, 3)
    assert warehouse.run("deadletters", "replay", "readings")["landed"] == 0
    hot = warehouse.query("--where", "value > 100")
    assert [(row["device"], row["value"]) for row in hot] == [("b", 500.0), ("a", 400.0)]
    assert warehouse.counters()["dead_letters"] == 3
    warehouse.run("gc")
    assert len(warehouse.run("deadletters", "show", "readings")) == 3
    assert warehouse.is_proven()


def test_frames_of_dagster_assets_are_stored_and_read(warehouse: CommandWarehouse) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "readings"})
    def made() -> pl.DataFrame:
        frame = pl.DataFrame(GOOD)
        return frame.with_columns(pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))

    @dg.asset(deps=[made])
    def read(readings: pl.LazyFrame) -> None:
        seen.append(readings.select(pl.len(), pl.col("value").sum()).collect().rows())

    with code_location(warehouse, made, read) as location:
        job = location.resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.ephemeral(tempdir=str(warehouse.line.folder)) as instance:
            assert job.execute_in_process(instance=instance, asset_selection=[made.key]).success
            assert job.execute_in_process(instance=instance, asset_selection=[read.key]).success
    assert seen == [[(ROWS, pytest.approx(sum(row["value"] for row in GOOD)))]]
    assert warehouse.query() == GOOD
    assert warehouse.is_proven()


@contextmanager
def code_location(warehouse: CommandWarehouse, *assets: dg.AssetsDefinition) -> Iterator[dg.Definitions]:
    """Assets beside the declared ones, with the warehouse's settings meanwhile."""
    from timestore_assets.settings import Settings

    with patch.dict(os.environ, warehouse.line.environment, clear=True):
        settings = Settings.load()
        dataset = parse_declaration(DECLARATION)
        shared = shared_defs(ServedDatasets(from_files={dataset.name: dataset}), settings)
        yield dg.Definitions.merge(dataset_defs(dataset, settings), shared, dg.Definitions(assets=assets))

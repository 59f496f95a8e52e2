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

from timestore_assets.orchestration.names import IO_MANAGER
from timestore_assets_tests.everywhere_ground import Everywhere, Row, lines_of
from timestore_assets_tests.object_server_fixtures import OBJECT_SERVERS
from timestore_assets_tests.object_servers import ObjectServer
from timestore_assets_tests.orchestration_ground import DECLARATION, QUIET, dataset_defs, parse_declaration, shared_defs

pytestmark = QUIET
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


@pytest.fixture(params=["local", *OBJECT_SERVERS])
def bucket(request: pytest.FixtureRequest) -> ObjectServer | None:
    """An empty bucket of each kind, and none: a folder."""
    if request.param == "local":
        return None
    server: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    return server.with_bucket(f"everywhere-{abs(hash(request.node.nodeid))}")


@pytest.fixture
def there(bucket: ObjectServer | None, catalog_url: str, tmp_path: Path) -> Everywhere:
    return Everywhere.at(tmp_path, bucket, catalog_url, gc_grace_seconds=0, keep_versions_seconds=0)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> dict[str, str]:
    """Content hash of each partition, as one file without flaws gives them here."""
    folder = tmp_path_factory.mktemp("content")
    shutil.copy(sqlite_template, folder / "catalog.sqlite")
    plain = Everywhere.at(folder, None, f"sqlite:///{folder / 'catalog.sqlite'}")
    plain.run("land", "readings", plain.here("all.jsonl", lines_of(GOOD)), "--format", "jsonl")
    return plain.build()


def land_all(there: Everywhere) -> None:
    """The same rows in three files that overlap, with poison among them: one here, two beside the segments."""
    first = there.run("land", "readings", there.here("a.csv", CSV))
    assert [first[name] for name in COUNTED] == [51, 48, 0, 3]
    second = there.run("land", "readings", there.beside("b.jsonl", LINES), "--format", "jsonl")
    assert [second[name] for name in COUNTED] == [58, 56, 0, 2]
    third = there.run("land", "readings", there.beside("c.parquet", parquet()), "--format", "parquet")
    assert [third[name] for name in COUNTED] == [ROWS - 90, ROWS - 90, 0, 0]


def test_from_files_to_answers(there: Everywhere, content: dict[str, str]) -> None:
    land_all(there)
    assert there.query() == GOOD, "before a build"
    what_has_landed_is_a_duplicate(there)
    assert there.build() == content
    assert there.run("build", "readings")["built"] == 0
    shutil.rmtree(there.home / "cache", ignore_errors=True)
    assert there.query() == GOOD, "after it, with nothing in the cache"
    questions_are_answered(there)
    what_nothing_needs_is_collected(there)
    assert there.is_proven()
    assert there.query() == GOOD
    if there.server is not None:
        assert not (there.home / "data").exists(), "segments are in the bucket alone"


def what_has_landed_is_a_duplicate(there: Everywhere) -> None:
    again = there.run("land", "readings", there.here("a.csv", CSV), there.here("other-name.csv", CSV))
    assert [again[name] for name in COUNTED] == [102, 0, 102, 0]
    elsewhere = there.run("land", "readings", there.uri("b.jsonl"), "--format", "jsonl")
    assert [elsewhere[name] for name in COUNTED] == [58, 0, 58, 0]
    # looking again at the address of a landed file reads nothing
    totals = {"read": 51 + 58 + ROWS - 90 + 51, "landed": 48 + 56 + ROWS - 90, "duplicates": 51, "dead_letters": 5}
    assert there.counters() == {**totals, "late_dropped": 0, "held": 0}


def questions_are_answered(there: Everywhere) -> None:
    few = there.query("--where", "value >= 2 AND device = 'a'", "--columns", "at,value", "--from", "2024-01-02T20:00")
    assert few == [{"at": row["at"], "value": row["value"]} for row in GOOD[88::2]]
    daily = there.query("--every", "1d", "--agg", "max:value as top,count as rows")
    assert [(row["top"], row["rows"]) for row in daily] == [(1.23, 48), (2.23, 48), (3.23, 48)]
    counted = there.run("sql", "SELECT device, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL")
    assert counted == [{"device": device, "n": ROWS // 2} for device in "ab"]


def what_nothing_needs_is_collected(there: Everywhere) -> None:
    before = there.objects()
    collected = there.run("gc")
    assert collected["superseded_segments"] > 0
    assert collected["orphaned_files"] == collected["unfinished_files"] == 0
    assert there.objects() < before
    assert there.run("gc")["superseded_segments"] == 0
    # what is beside the warehouse's prefix is nobody's to collect
    assert there.run("land", "readings", there.uri("b.jsonl"), "--format", "jsonl")["duplicates"] == 58


def test_dead_letters_are_kept_and_landed_once_mended(there: Everywhere) -> None:
    there.run("land", "readings", there.here("a.csv", CSV))
    there.run("land", "readings", there.beside("b.jsonl", LINES), "--format", "jsonl")
    reasons = {one["reason"] for one in there.run("deadletters", "list", "readings")}
    assert reasons == {"bad_value", "bad_json", "failed_check", "out_of_range"}
    records = {one["raw"] for one in there.run("deadletters", "show", "readings")}
    assert records >= {"not json", "b,2024-01-02T00:00:00Z,500"}
    assert there.run("deadletters", "replay", "readings")["landed"] == 0
    there.declare(DECLARATION.replace("le: 100", "le: 1000"))
    mended = there.run("deadletters", "replay", "readings")
    assert (mended["landed"], mended["refused"]) == (2, 3)
    assert there.run("deadletters", "replay", "readings")["landed"] == 0
    hot = there.query("--where", "value > 100")
    assert [(row["device"], row["value"]) for row in hot] == [("b", 500.0), ("a", 400.0)]
    assert there.counters()["dead_letters"] == 3
    there.run("gc")
    assert len(there.run("deadletters", "show", "readings")) == 3
    assert there.is_proven()


def test_frames_of_dagster_assets_are_stored_and_read(there: Everywhere) -> None:
    seen: list[Any] = []

    @dg.asset(io_manager_key=IO_MANAGER, metadata={"timestore/dataset": "readings"})
    def made() -> pl.DataFrame:
        frame = pl.DataFrame(GOOD)
        return frame.with_columns(pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))

    @dg.asset(deps=[made])
    def read(readings: pl.LazyFrame) -> None:
        seen.append(readings.select(pl.len(), pl.col("value").sum()).collect().rows())

    with code_location(there, made, read) as location:
        job = location.resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.ephemeral(tempdir=str(there.line.folder)) as instance:
            assert job.execute_in_process(instance=instance, asset_selection=[made.key]).success
            assert job.execute_in_process(instance=instance, asset_selection=[read.key]).success
    assert seen == [[(ROWS, pytest.approx(sum(row["value"] for row in GOOD)))]]
    assert there.query() == GOOD
    assert there.is_proven()


@contextmanager
def code_location(there: Everywhere, *assets: dg.AssetsDefinition) -> Iterator[dg.Definitions]:
    """Assets beside the declared ones, with the warehouse's settings meanwhile."""
    from timestore_assets.settings import Settings

    with patch.dict(os.environ, there.line.environment, clear=True):
        settings = Settings.load()
        declared = dataset_defs(parse_declaration(DECLARATION), settings)
        yield dg.Definitions.merge(declared, shared_defs(settings), dg.Definitions(assets=assets))

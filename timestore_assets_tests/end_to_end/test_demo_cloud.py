"""`timestore demo` with segments in S3 and catalog and Dagster in PostgreSQL, by settings alone."""

from __future__ import annotations

import os
from pathlib import Path

import obstore
import psycopg

from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.command_warehouse import ROOT, environment_of
from timestore_assets_tests.support.demo_expectations import (
    FINISH_SECONDS,
    LONG,
    answers_are_those_of_pandas,
    every_record_is_accounted_for_and_every_partition_sealed,
    month_of,
)
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = LONG


def test_the_main_job_with_a_bucket_and_a_database(tmp_path: Path, s3_bucket: S3Server, postgres: PostgresServer) -> None:
    """One test, because one run of the demo is enough; of July, because its whole year is landed in `test_cli_demo`."""
    demo = CommandLine(tmp_path)
    data = month_of(tmp_path / "july", 7)
    demo.environment["PYTHONPATH"] = f"{tmp_path / 'july'}{os.pathsep}{demo.environment['PYTHONPATH']}"
    with fresh_database(postgres) as url:
        demo.environment |= environment_of(s3_bucket, url)
        done = demo.run("demo", "--timeout", str(FINISH_SECONDS), timeout=FINISH_SECONDS + 60)
        assert done.code == 0, done.err
        every_record_is_accounted_for_and_every_partition_sealed(demo, data)
        answers_are_those_of_pandas(demo, data)
        it_says_where_the_partitions_are(done.out, s3_bucket)
        nothing_but_a_cache_is_on_this_machine(demo, s3_bucket)
        both_keep_their_books_in_the_database(demo, url)
        assert demo.run("demo", "--json").json["nothing_new"] is True


def it_says_where_the_partitions_are(printed: str, server: S3Server) -> None:
    assert printed.count(" ✓") == 2
    assert f"{server.uri}/{ROOT}/nyc_flights/" in printed
    assert "import duckdb" not in printed and "duckdb -readonly" not in printed
    assert server.secret_key not in printed


def nothing_but_a_cache_is_on_this_machine(demo: CommandLine, server: S3Server) -> None:
    segments = {Path(found["path"]).name for found in obstore.list(server.store(ROOT)).collect()}
    assert any(name.endswith(".duckdb") for name in segments), "a month of flights is large"
    local = {path for path in demo.home.rglob("*") if path.suffix in (".duckdb", ".parquet", ".sqlite", ".db")}
    assert {path for path in local if not path.is_relative_to(demo.home / "cache")} == set()
    assert not (demo.home / "data").exists()


def both_keep_their_books_in_the_database(demo: CommandLine, url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT table_schema, table_name FROM information_schema.tables").fetchall()
    tables = {name for schema, name in found if schema not in ("pg_catalog", "information_schema")}
    assert tables >= {"segments", "files", "runs", "event_logs", "job_ticks"}

"""One setting puts Dagster's own storage beside the catalog, without a password in any file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import make_url

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.cli.dagster_processes import URL_VARIABLE, dagster_database_url, prepare_home, with_storage
from timestore_assets.cli.dagster_workspace import packaged_workspace
from timestore_assets.orchestration.liveness import unfinished_runs
from timestore_assets.settings import Settings
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database

DAGSTER_YAML = packaged_workspace(Path.cwd()).settings


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield make_url(url).set(password="s3cret/word").render_as_string(False)


@pytest.fixture
def settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(URL_VARIABLE, "")  # restored afterwards
    return Settings(home=tmp_path, database_url=SecretStr(url), pg_schema="warehouse")


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    pass


def test_runs_are_stored_in_the_catalogs_database(settings: Settings, url: str) -> None:
    environment = prepare_home(settings, DAGSTER_YAML)
    Catalog.open(url, schema="warehouse").close()
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        run_id = nothing.execute_in_process(instance=instance).run_id
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT run_id, status FROM warehouse_dagster.runs").fetchall() == [(run_id, "SUCCESS")]
        query = b"SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version' ORDER BY 1"
        assert connection.execute(query).fetchall() == [("warehouse",), ("warehouse_dagster",)]
    assert unfinished_runs(settings.dagster_home) == 0
    assert prepare_home(settings, DAGSTER_YAML)[URL_VARIABLE] == environment[URL_VARIABLE], "a second start finds all as it was"


def test_no_password_is_written(settings: Settings) -> None:
    assert "s3cret" in prepare_home(settings, DAGSTER_YAML)[URL_VARIABLE]
    written = [path for path in settings.home_folder.rglob("*") if path.is_file()]
    assert written and not any(b"s3cret" in path.read_bytes() for path in written)


def test_with_sqlite_everything_stays_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    settings = Settings(home=tmp_path)
    assert URL_VARIABLE not in prepare_home(settings, DAGSTER_YAML)
    assert URL_VARIABLE not in os.environ
    assert "storage" not in yaml.safe_load((settings.dagster_home / "dagster.yaml").read_text())


def test_a_storage_of_ones_own_stays() -> None:
    mine = "storage:\n  sqlite:\n    base_dir: /somewhere\n"
    assert with_storage(mine) == mine


def test_options_of_the_url_are_kept() -> None:
    given = "postgresql://ada:x@h/w?options=-cwork_mem%3D8MB&sslmode=require"
    url = make_url(dagster_database_url(Settings(database_url=SecretStr(given))))
    assert url.query["options"] == "-cwork_mem=8MB -csearch_path=timestore_dagster"
    assert (url.drivername, url.query["sslmode"]) == ("postgresql+psycopg2", "require")

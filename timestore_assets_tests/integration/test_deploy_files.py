"""What a machine can check of `deploy/` without Docker, Kubernetes or AWS."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3 import S3ComputeLogManager
from dagster_postgres import DagsterPostgresStorage
from moto.server import ThreadedMotoServer

from timestore_assets.settings import Settings
from timestore_assets_tests.catalogs import PostgresServer, fresh_database

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
OURS = "timestore:0.1.0"
COMMANDS = {"timestore", "dagster", "dagster-webserver", "dagster-daemon", "python"}
PORTS = {"dagster-webserver": "3000", "timestore": "4100", "dagster": "4266"}


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def read(name: str) -> Any:
    return yaml.safe_load(text(name))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(aws: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What the files take from the environment, with a real database and a server that stands for AWS."""
    with fresh_database(postgres) as url:
        values = {
            "DAGSTER_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg2:"),
            "DAGSTER_LOG_BUCKET": "logs",
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "TIMESTORE_S3_BUCKET": "warehouse",
            "TIMESTORE_S3_ENDPOINT": aws,
            "TIMESTORE_S3_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": aws,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield values


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    pass


# --- Dagster


@pytest.mark.parametrize("name", ["dagster.yaml", "compose/dagster.yaml"])
def test_dagster_loads_its_instance_and_stores_runs_and_logs(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(text(name), encoding="utf-8")
    for bucket in ("logs", "warehouse"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_storage, DagsterPostgresStorage.__mro__[0] | object)
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        assert isinstance(instance.run_launcher, EcsRunLauncher) == (name == "dagster.yaml")
        assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator) if hasattr(dg, "QueuedRunCoordinator") else True
        run_id = nothing.execute_in_process(instance=instance).run_id
        assert instance.get_run_by_id(run_id) is not None
    assert not list(tmp_path.rglob("*.db"))

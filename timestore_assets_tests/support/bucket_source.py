"""A dataset that is fed from a bucket: its declaration, the environment that reaches the bucket, and objects put into it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.settings import Settings
from timestore_assets.sources.objects.bucket_listing import ObjectFolder
from timestore_assets.storage.remote.buckets import open_bucket
from timestore_assets_tests.support.command_warehouse import environment_of
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.object_servers import ObjectServer

IN = "raw/"
"""Where the source looks, in the bucket."""


def reach(server: ObjectServer, environment: pytest.MonkeyPatch) -> None:
    """Make the server's bucket reachable by its URI; segments stay in a local folder."""
    for name, value in reaching(server).items():
        environment.setenv(name, value)


def reaching(server: ObjectServer) -> Mapping[str, str]:
    """The variables that do so."""
    return environment_of(server, None, storage_retry_seconds=2) | {
        "TIMESTORE_STORAGE_DRIVER": "local",
        "TIMESTORE_STORAGE_ROOT": "",
    }


def declaration(server: ObjectServer, below: str = "", **options: str) -> str:
    """The dataset `readings`, fed from the bucket. `below`: more of the prefix. `options`: of the source, as YAML."""
    more = "".join(f", {key}: {value}" for key, value in options.items())
    old = "{prefix: inbox/readings/, format: csv}"
    assert old in DECLARATION
    return DECLARATION.replace(old, f'{{prefix: "{server.uri}/{IN}{below}"{more}}}')


def folder(server: ObjectServer, root: str = IN) -> ObjectFolder:
    """What a source there lists."""
    return ObjectFolder(bucket=open_bucket(Settings.load(), server.uri), root=root)


def put(server: ObjectServer, name: str, content: bytes) -> None:
    """An object where the source looks."""
    obstore.put(server.store(), f"{IN}{name}", content)


def keys(server: ObjectServer) -> list[str]:
    """All keys of the bucket, in order."""
    return sorted(found["path"] for found in obstore.list(server.store()).collect())


def csv(*days: int, value: float = 1.0) -> bytes:
    """Three rows a day of January 2024."""
    rows = [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,{value}" for day in days for hour in range(3)]
    return "\n".join(["device,at,value", *rows, ""]).encode()


def parquet(columns: Mapping[str, Any], **options: object) -> bytes:
    """A Parquet file. `options`: of pyarrow's writer."""
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), sink, **options)
    return sink.getvalue()

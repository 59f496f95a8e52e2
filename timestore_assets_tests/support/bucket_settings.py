"""Settings whose storage is a bucket of a test's object server, and stores opened from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timestore_assets.settings import Settings
from timestore_assets.storage.remote.remote_store import RemoteStore
from timestore_assets.storage.targets import open_storage
from timestore_assets_tests.support.object_servers import AzureServer, ObjectServer, S3Server

PART_BYTES = 5_242_880
_OTHERS = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING")


def credentials(server: ObjectServer) -> dict[str, str]:
    """The environment's variables with the keys to a server; a GCS emulator asks for none."""
    if isinstance(server, S3Server):
        keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        return {**keys, "AWS_REGION": server.region}
    return {"AZURE_STORAGE_ACCOUNT_KEY": server.key} if isinstance(server, AzureServer) else {}


def target_settings(server: ObjectServer) -> dict[str, Any]:
    """What makes the server's bucket the default target."""
    if isinstance(server, S3Server):
        return {"storage_driver": "s3", "s3_bucket": server.bucket, "s3_endpoint": server.endpoint, "s3_region": server.region}
    if isinstance(server, AzureServer):
        place = {"azure_account": server.account, "azure_endpoint": f"{server.endpoint}/{server.account}"}
        return {"storage_driver": "azure_blob", "azure_container": server.bucket, **place}
    return {"storage_driver": "gcs", "gcs_bucket": server.bucket, "gcs_endpoint": server.endpoint}


def needs_keys(server: S3Server) -> None:
    """Skip the test where the server lets in whoever comes."""
    if server.product != "versitygw":
        pytest.skip(f"not proven: {server.product} asks nobody for a key")


def remote_settings(server: ObjectServer, home: Path, environment: pytest.MonkeyPatch, **more: Any) -> Settings:
    """Settings with that bucket as the default target; the keys are put into the environment. `more`: further settings."""
    for name in _OTHERS:
        environment.delenv(name, raising=False)
    for name, value in credentials(server).items():
        environment.setenv(name, value)
    quick = {"storage_part_bytes": PART_BYTES, "storage_retry_seconds": 5, "storage_timeout_seconds": 10}
    return Settings(home=home, **{**target_settings(server), **quick, **more})


def remote_store(settings: Settings) -> RemoteStore:
    """The default target of settings that have it in a bucket."""
    store = open_storage(settings).target("default")
    assert isinstance(store, RemoteStore)
    return store

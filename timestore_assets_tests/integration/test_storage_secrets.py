"""Keys of a storage target out of AWS Secrets Manager: fetched when it is opened, again when they expire, never shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.storage.remote.connection import SecretCredentials
from timestore_assets_tests.support.bucket_settings import needs_keys, remote_settings, remote_store
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = pytest.mark.xdist_group("s3")

NAME = "keys-of-the-archive"
REGION = "us-east-1"
Keep = Callable[[str], None]


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def keep(secrets_manager: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    """Puts a text into the entry."""
    keys = {"aws_access_key_id": "of-the-machine", "aws_secret_access_key": "of-the-machine"}
    client = boto3.client("secretsmanager", endpoint_url=secrets_manager, region_name=REGION, **keys)
    with suppress(client.exceptions.ResourceExistsException):
        client.create_secret(Name=NAME, SecretString="nothing yet")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets_manager)
    yield lambda text: client.put_secret_value(SecretId=NAME, SecretString=text)
    client.close()


def keys(server: S3Server, **more: str) -> str:
    return json.dumps({"access_key_id": server.access_key, "secret_access_key": server.secret_key, **more})


@pytest.fixture
def machine(s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], object]:
    """Opens the bucket by the secret; the machine's own keys are good for Secrets Manager only."""
    settings = remote_settings(s3_bucket, tmp_path, monkeypatch, s3_secret=NAME)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-machine")
    return lambda: list(remote_store(settings).list())


def test_keys_out_of_a_secret(keep: Keep, machine: Callable[[], object], s3_bucket: S3Server) -> None:
    needs_keys(s3_bucket)
    keep(keys(s3_bucket))
    assert machine() == []
    keep(json.dumps({"access_key_id": s3_bucket.access_key, "secret_access_key": "wrong"}))
    with pytest.raises(UnavailableError, match="refused the credentials"):
        machine()


def test_expired_keys_are_fetched_again(keep: Keep, s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_keys(s3_bucket)
    expired = "2020-01-01T00:00:00Z"
    keep(keys(s3_bucket, expires_at=expired))
    store = remote_store(remote_settings(s3_bucket, tmp_path, monkeypatch, s3_secret=NAME, storage_retry_seconds=0))
    assert list(store.list()) == []
    keep(json.dumps({"access_key_id": s3_bucket.access_key, "secret_access_key": "rotated", "expires_at": expired}))
    with pytest.raises(UnavailableError, match="refused the credentials"):
        list(store.list())
    keep("not JSON any more, with a password in it")
    with pytest.raises(UnavailableError, match="can't be used without credentials") as refused:
        list(store.list())
    assert "password" not in str(refused.value)
    keep(keys(s3_bucket, expires_at=expired))
    assert list(store.list()) == []


def test_a_secret_that_holds_no_keys_is_told_by_its_name(keep: Keep, machine: Callable[[], object]) -> None:
    for text in ("a password", '["a password"]', '{"secret_access_key": "a password"}'):
        keep(text)
        with pytest.raises(InputError, match=f"secret {NAME} of AWS Secrets Manager holds no keys; it has to be") as refused:
            machine()
        assert "a password" not in str(refused.value)


def test_no_secret_of_that_name(keep: Keep, machine: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="AWS Secrets Manager has no secret other in this region"):
        SecretCredentials("other", region=REGION, now=lambda: None)  # type: ignore[return-value] # nobody asks it

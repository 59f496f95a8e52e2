"""From settings to storage targets, clients and credentials: what is written, what is refused, and that no secret shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.errors import InputError
from timestore_assets.model.target import StorageTarget
from timestore_assets.settings import Settings
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.remote.buckets import open_bucket
from timestore_assets.storage.remote.connection import azure_config, connected, s3_credentials
from timestore_assets.storage.target_settings import configured_targets, place_of
from timestore_assets.storage.targets import open_storage

S3 = {"driver": "s3", "bucket": "cold"}
KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without anybody's credentials."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return monkeypatch


def settings(targets: object = None, **more: Any) -> Settings:
    return Settings(home=Path("/srv/home"), storage_targets=json.dumps(targets) if targets else "", **more)


def test_a_folder_is_the_default() -> None:
    assert configured_targets(settings()) == {
        "default": StorageTarget(name="default", driver="local", root="/srv/home/data"),
    }


def test_further_targets_in_json() -> None:
    disk = {"driver": "local", "root": "cold/segments"}
    bucket = S3 | {
        "root": "/a/b/",
        "endpoint": "http://127.0.0.1:9000/",
        "region": "eu",
        "path_style": False,
        "secret": "s",
    }
    found = configured_targets(settings({"disk": disk, "archive": bucket}))
    assert list(found) == ["default", "disk", "archive"]
    assert found["disk"].root == "/srv/home/cold/segments"
    archive = StorageTarget(
        name="archive",
        driver="s3",
        bucket="cold",
        root="a/b",
        endpoint="http://127.0.0.1:9000",
        region="eu",
        path_style=False,
        secret="s",
    )
    assert found["archive"] == archive
    assert place_of(archive) == "s3://cold/a/b"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"storage_driver": "s3", "s3_bucket": "warm"}, "s3://warm"),
        ({"storage_driver": "gcs", "gcs_bucket": "warm", "storage_root": "x/"}, "gs://warm/x"),
        ({"storage_driver": "azure_blob", "azure_container": "warm", "azure_account": "acme"}, "az://warm"),
    ],
)
def test_a_bucket_as_the_default(given: dict[str, Any], place: str) -> None:
    assert place_of(configured_targets(settings(**given))["default"]) == place


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["archive"], "has to be a JSON object of targets by name"),
        ({"default": S3}, "a target can't be named 'default'"),
        ({"Cold Place": S3}, "a target can't be named 'Cold Place'; take lower-case letters"),
        ({"archive": {"driver": "ftp"}}, "archive: driver: input should be 'local', 's3', 'gcs' or 'azure_blob'"),
        ({"archive": {"bucket": "cold"}}, "archive: driver: field required"),
        ({"archive": {"driver": "gcs"}}, "archive: bucket: is missing; the gcs driver needs the name of a bucket"),
        ({"archive": S3 | {"access_key": SECRET}}, "archive: access_key: extra inputs are not permitted"),
        ({"archive": S3 | {"path_style": "yes"}}, "archive: path_style: input should be a valid boolean"),
        ({"archive": S3 | {"bucket": "a/b"}}, "archive: bucket: string should match pattern"),
        ({"archive": S3 | {"root": "a/../b"}}, "archive: root: 'a/../b' is no object name"),
        (
            {"archive": S3 | {"endpoint": f"http://me:{SECRET}@host"}},
            "archive: endpoint: has to be http(s)://host[:port], without a",
        ),
        ({"archive": S3 | {"endpoint": "host:9000"}}, "archive: endpoint: has to be http(s)://host[:port]"),
        ({"disk": {"driver": "local"}}, "disk: root: is missing; the local driver needs a folder"),
        (
            {"disk": {"driver": "local", "root": "x", "bucket": "cold"}},
            "disk: bucket: the local driver has no such key; it takes root",
        ),
        ({"disk": {"driver": "local", "root": "data/cold"}}, "disk and default lie in one another"),
        ({"a": S3 | {"root": "x"}, "b": S3 | {"root": "x/y"}}, "b and a lie in one another (s3://cold/x/y, s3://cold/x)"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(targets: object, says: str) -> None:
    with pytest.raises(InputError) as refused:
        open_storage(settings(targets))
    assert str(refused.value).startswith(f"TIMESTORE_STORAGE_TARGETS: {says}")
    assert SECRET not in str(refused.value)


def test_an_account_counts_for_every_azure_target() -> None:
    blob = {"driver": "azure_blob", "bucket": "warm"}
    found = configured_targets(settings({"a": blob, "b": blob | {"account": "other"}}, azure_account="acme"))
    assert [one.account for one in found.values()] == [None, "acme", "other"]


def test_neighbours_in_a_bucket_are_no_conflict() -> None:
    found = configured_targets(settings({"a": S3 | {"root": "x"}, "b": S3 | {"root": "xy"}, "c": S3 | {"endpoint": "http://h"}}))
    assert len(found) == 4


def test_settings_of_the_default_target_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="TIMESTORE_STORAGE_TARGETS: is no JSON; write an object such as"):
        open_storage(settings().model_copy(update={"storage_targets": "{archive"}))
    with pytest.raises(InputError, match="TIMESTORE_GCS_BUCKET: set it to the name of a bucket"):
        open_storage(settings(storage_driver="gcs"))
    with pytest.raises(InputError, match="TIMESTORE_S3_ENDPOINT: has to be http"):
        open_storage(settings(storage_driver="s3", s3_bucket="warm", s3_endpoint="localhost"))


def test_targets_are_opened_when_they_are_used(tmp_path: Path) -> None:
    given = {"archive": S3, "disk": {"driver": "local", "root": "disk"}, "blob": {"driver": "azure_blob", "bucket": "warm"}}
    storage = open_storage(settings(given).model_copy(update={"home": tmp_path / "home"}))
    assert storage.names == ("default", "archive", "blob", "disk")
    assert not (tmp_path / "home").exists()
    disk = storage.target("disk")
    assert isinstance(disk, LocalStore)
    assert disk.root == tmp_path / "home" / "disk"
    with pytest.raises(InputError, match="storage target blob: set TIMESTORE_AZURE_ACCOUNT"):
        storage.target("blob")
    with pytest.raises(InputError, match="no storage target is named 'other'; TIMESTORE_STORAGE_TARGETS sets them up"):
        storage.target("other")


def test_no_secret_shows_in_a_repr(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", SECRET * 2)
    chosen = settings({"archive": S3, "blob": {"driver": "azure_blob", "bucket": "warm", "account": "acme"}})
    chosen = chosen.model_copy(update={"home": tmp_path})
    storage = open_storage(chosen)
    bucket = open_bucket(chosen, "s3://cold/raw/")
    for shown in (storage, *map(storage.target, storage.names), *configured_targets(chosen).values(), bucket, bucket.store):
        assert SECRET not in repr(shown)
        assert KEY not in repr(shown)


def test_credentials_that_make_no_sense_are_refused_without_saying_them(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", "!!!" + SECRET)
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    for uri, variables in (("az://warm", "AZURE_"), ("gs://warm", "GOOGLE_")):
        with pytest.raises(InputError, match=rf"storage target {uri}: its client can't be made of .* {variables}") as refused:
            open_bucket(settings(azure_account="acme"), uri)
        assert SECRET not in str(refused.value)


def test_the_bucket_of_a_target_is_opened_with_its_endpoint() -> None:
    chosen = settings({"archive": S3 | {"endpoint": "http://127.0.0.1:9000"}}, s3_endpoint="http://127.0.0.1:9001")
    mine, other = open_bucket(chosen, "s3://cold/raw/2024/"), open_bucket(chosen, "s3://other")
    assert (mine.scheme, mine.bucket, mine.prefix, mine.endpoint) == ("s3", "cold", "raw/2024/", "http://127.0.0.1:9000")
    assert (other.prefix, other.endpoint, other.uri) == ("", "http://127.0.0.1:9001", "s3://other")
    assert open_bucket(chosen, "gs://one/x").scheme == "gs"


@pytest.mark.parametrize(
    "uri", ["cold/raw", "ftp://cold/raw", "s3:///raw", f"s3://me:{SECRET}@cold/raw", f"s3://cold?key={SECRET}"]
)
def test_a_uri_that_names_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="names no bucket; write s3://bucket/prefix") as refused:
        open_bucket(settings(), uri)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("target", "config"),
    [
        ({}, {"virtual_hosted_style_request": "true", "checksum_algorithm": "SHA256"}),
        ({"bucket": "a.b"}, {"virtual_hosted_style_request": "false", "checksum_algorithm": "SHA256"}),
        ({"endpoint": "http://h:1"}, {"virtual_hosted_style_request": "false", "endpoint": "http://h:1"}),
        (
            {"endpoint": "http://h:1", "path_style": False},
            {"virtual_hosted_style_request": "true", "endpoint": "http://cold.h:1"},
        ),
        ({"region": "eu", "path_style": True}, {"virtual_hosted_style_request": "false", "checksum_algorithm": "SHA256"}),
    ],
)
def test_addresses_of_s3(target: dict[str, Any], config: dict[str, str]) -> None:
    store = connected(StorageTarget(name="archive", **({"driver": "s3", "bucket": "cold"} | target)), settings())
    found = {key: value for key, value in store.config.items() if key in {"virtual_hosted_style_request", *config, "endpoint"}}
    assert {key: str(value).lower() for key, value in found.items()} == {key: value.lower() for key, value in config.items()}


def test_credentials_of_s3_by_the_platforms_chain(tmp_path: Path) -> None:
    target = StorageTarget(name="archive", driver="s3", bucket="cold")
    home = {"HOME": str(tmp_path)}
    assert s3_credentials(target, home) is None  # the machine's role
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        assert s3_credentials(target, home | {name: "x", "AWS_PROFILE": "dev"}) is None


def test_credentials_of_s3_from_a_profile(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.delenv(name)
    file = tmp_path / "credentials"
    file.write_text(f"[dev]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
    given = {"AWS_PROFILE": "dev", "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    for name, value in given.items():
        environment.setenv(name, value)
    target = StorageTarget(name="archive", driver="s3", bucket="cold")
    provider = s3_credentials(target, given)
    assert provider is not None
    found = provider()
    assert (found["access_key_id"], found["secret_access_key"]) == (KEY, SECRET)
    assert SECRET not in repr(provider)
    environment.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match=r"storage target archive: the AWS profile can't be used \(ProfileNotFound\)"):
        s3_credentials(target, {"AWS_PROFILE": "nobody"})


@pytest.mark.parametrize(
    ("target", "connection", "config"),
    [
        ({"account": "acme"}, "", {"account_name": "acme"}),
        ({}, f"AccountName=acme;AccountKey={SECRET}==;EndpointSuffix=core.windows.net", {
            "account_name": "acme", "account_key": f"{SECRET}==", "endpoint": "https://acme.blob.core.windows.net",
        }),
        ({"account": "other"}, f"AccountName=acme;AccountKey={SECRET}", {"account_name": "other"}),
        ({"account": "acme"}, "BlobEndpoint=http://127.0.0.1:1/acme/;SharedAccessSignature=sv=1&sig=2", {
            "account_name": "acme", "sas_key": "sv=1&sig=2", "endpoint": "http://127.0.0.1:1/acme",
        }),
    ],
)  # fmt: skip
def test_an_azure_account_out_of_a_connection_string(target: dict[str, str], connection: str, config: dict[str, str]) -> None:
    found = StorageTarget(name="blob", driver="azure_blob", bucket="warm", **target)
    assert azure_config(found, {"AZURE_STORAGE_CONNECTION_STRING": connection}) == config


def test_an_azure_account_has_to_be_named() -> None:
    blob = StorageTarget(name="blob", driver="azure_blob", bucket="warm")
    with pytest.raises(InputError, match="storage target blob: set TIMESTORE_AZURE_ACCOUNT"):
        azure_config(blob, {})
    with pytest.raises(InputError, match="AZURE_STORAGE_CONNECTION_STRING: is no connection string"):
        azure_config(blob, {"AZURE_STORAGE_CONNECTION_STRING": "nothing"})

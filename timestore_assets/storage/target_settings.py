"""The storage targets that the settings describe, checked: what is wrong is said once, with the setting's name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from timestore_assets.model.errors import InputError
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.target import Driver, StorageTarget
from timestore_assets.storage.object_store import checked

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

SCHEMES: dict[Driver, str] = {"s3": "s3", "gcs": "gs", "azure_blob": "az"}
_VARIABLE = "TIMESTORE_STORAGE_TARGETS"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_BUCKET_VARIABLES: dict[Driver, str] = {
    "s3": "TIMESTORE_S3_BUCKET",
    "gcs": "TIMESTORE_GCS_BUCKET",
    "azure_blob": "TIMESTORE_AZURE_CONTAINER",
}
_ENDPOINT_VARIABLES: dict[Driver, str] = {
    "s3": "TIMESTORE_S3_ENDPOINT",
    "gcs": "TIMESTORE_GCS_ENDPOINT",
    "azure_blob": "TIMESTORE_AZURE_ENDPOINT",
}
_EXAMPLE = '{"archive": {"driver": "s3", "bucket": "…", "root": "…"}}'


class _Written(BaseModel):
    """One target as `TIMESTORE_STORAGE_TARGETS` writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    driver: Driver
    root: str = ""
    bucket: str = Field("", pattern=f"^({_BUCKET.pattern})?$")
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    account: str | None = None
    secret: str | None = None


def configured_targets(settings: Settings) -> dict[str, StorageTarget]:
    """All storage targets by name, the default one first.

    Raises:
        InputError: a setting of a target is missing or makes no sense, or two targets would mix their objects.
    """
    targets = {DEFAULT_TARGET: _default(settings)}
    targets |= {name: _further(settings, name, value) for name, value in _parsed(settings.storage_targets).items()}
    _check_apart(list(targets.values()))
    return targets


def target_of_driver(settings: Settings, driver: Driver, *, name: str, bucket: str) -> StorageTarget:
    """A target in a bucket with what the settings say about a driver: its endpoint, region, account and secret."""
    if driver == "s3":
        return StorageTarget(
            name=name,
            driver=driver,
            bucket=bucket,
            endpoint=_endpoint(settings.s3_endpoint, _ENDPOINT_VARIABLES[driver]),
            region=settings.s3_region,
            path_style=settings.s3_path_style,
            secret=settings.s3_secret,
        )
    account = settings.azure_account if driver == "azure_blob" else None
    endpoint = settings.azure_endpoint if driver == "azure_blob" else settings.gcs_endpoint
    endpoint = _endpoint(endpoint, _ENDPOINT_VARIABLES[driver])
    return StorageTarget(name=name, driver=driver, bucket=bucket, endpoint=endpoint, account=account)


def place_of(target: StorageTarget) -> str:
    """Where a target is, for people: its folder, or the URI of its bucket and prefix. It holds no secret."""
    if target.driver == "local":
        return target.root
    return "/".join(filter(None, (f"{SCHEMES[target.driver]}://{target.bucket}", target.root)))


def _default(settings: Settings) -> StorageTarget:
    driver = settings.storage_driver
    if driver == "local":
        return StorageTarget(name=DEFAULT_TARGET, driver=driver, root=str(settings.data_folder))
    buckets = {"s3": settings.s3_bucket, "gcs": settings.gcs_bucket, "azure_blob": settings.azure_container}
    bucket = buckets[driver] or ""
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{_BUCKET_VARIABLES[driver]}: set it to the name of a bucket, as TIMESTORE_STORAGE_DRIVER is {driver}")
    found = target_of_driver(settings, driver, name=DEFAULT_TARGET, bucket=bucket)
    root = _prefix(settings.storage_root or "", "TIMESTORE_STORAGE_ROOT")
    return replace(found, root=root)


def _further(settings: Settings, name: str, value: Any) -> StorageTarget:
    where = f"{_VARIABLE}: {name}"
    if not _NAME.fullmatch(name) or name == DEFAULT_TARGET:
        raise InputError(f"{_VARIABLE}: a target can't be named {name[:80]!r}; take lower-case letters, digits, _ and -")
    try:
        written = _Written.model_validate(value)
    except ValidationError as error:
        finding = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, finding["loc"])) or "its value"
        raise InputError(f"{where}: {key}: {finding['msg'][:1].lower()}{finding['msg'][1:]}") from None
    if written.driver == "local":
        return _local(settings, where, name, written)
    if not written.bucket:
        raise InputError(f"{where}: bucket: is missing; the {written.driver} driver needs the name of a bucket")
    values = written.model_dump()
    values["root"] = _prefix(written.root, f"{where}: root")
    values["endpoint"] = _endpoint(written.endpoint, f"{where}: endpoint")
    if written.driver == "azure_blob":
        values["account"] = written.account or settings.azure_account
    return StorageTarget(name=name, **values)


def _local(settings: Settings, where: str, name: str, written: _Written) -> StorageTarget:
    others = sorted(written.model_fields_set - {"driver", "root"})
    if others:
        raise InputError(f"{where}: {others[0]}: the local driver has no such key; it takes root")
    if not written.root:
        raise InputError(f"{where}: root: is missing; the local driver needs a folder, relative ones lie in TIMESTORE_HOME")
    return StorageTarget(name=name, driver="local", root=str(settings.home_folder / Path(written.root).expanduser()))


def _parsed(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        raise InputError(f"{_VARIABLE}: is no JSON; write an object such as {_EXAMPLE}") from None
    if not isinstance(value, dict):
        raise InputError(f"{_VARIABLE}: has to be a JSON object of targets by name, such as {_EXAMPLE}")
    return value


def _prefix(text: str, where: str) -> str:
    prefix = text.strip("/")
    try:
        return checked(prefix) if prefix else ""
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _endpoint(text: str | None, where: str) -> str | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.query or parts.fragment)
        wrong = not plain or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise InputError(f"{where}: has to be http(s)://host[:port], without a user, a password or a query")
    return text.rstrip("/")


def _check_apart(targets: list[StorageTarget]) -> None:
    # each target's collector removes what the catalog doesn't know there, which is what the other one holds
    for index, one in enumerate(targets):
        for other in targets[:index]:
            if _same_bucket(one, other) and _nested(one.root, other.root):
                raise InputError(
                    f"{_VARIABLE}: {one.name} and {other.name} lie in one another ({place_of(one)}, {place_of(other)}); "
                    "give each a root of its own"
                )


def _same_bucket(one: StorageTarget, other: StorageTarget) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("driver", "bucket", "endpoint", "account"))


def _nested(one: str, other: str) -> bool:
    first, second = Path("/", one), Path("/", other)
    return first.is_relative_to(second) or second.is_relative_to(first)

"""obstore's client of a storage target: its address, its patience and its credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import InputError
from timestore_assets.model.target import Driver, StorageTarget
from timestore_assets.storage.remote.azure_account import azure_config
from timestore_assets.storage.remote.credentials import s3_credentials

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from timestore_assets.settings import Settings

_CONNECT_SECONDS = 10
_LONGEST_ANSWERS = 10
_MOST_RETRIES = 100  # far more than fit into the time for them, which is the limit that counts
_GOOGLE_KEYS = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_VARIABLES: dict[Driver, str] = {
    "s3": "the AWS_* variables and profile",
    "gcs": "the GOOGLE_* variables and the file they name",
    "azure_blob": "the AZURE_* variables",
}
_NOBODY = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
"""A service account for an emulator, which asks nobody for a password; `skip_signature` would do so for reading only."""


def connected(target: StorageTarget, settings: Settings) -> ObjectStore:
    """A client of the target's bucket, whose names lie below the target's `root`. Nothing is reached yet, but for a secret.

    Raises:
        InputError: the settings or the environment lack something. UnavailableError: the credentials can't be had.
    """
    from obstore.exceptions import BaseError

    open_store = {"s3": _s3, "gcs": _gcs, "azure_blob": _azure}[target.driver]
    try:
        return open_store(target, settings)
    except (BaseError, FileNotFoundError, ValueError):
        # what it says may quote a key
        variables = _VARIABLES[target.driver]
        raise InputError(
            f"storage target {target.name}: its client can't be made of the settings and {variables}; check both"
        ) from None


def _s3(target: StorageTarget, settings: Settings) -> ObjectStore:
    from obstore.store import S3Store

    environment = os.environ
    endpoint = target.endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    in_path = target.path_style if target.path_style is not None else bool(endpoint) or "." in target.bucket
    config: dict[str, Any] = {"virtual_hosted_style_request": not in_path}
    if endpoint:
        config["endpoint"] = endpoint if in_path else _with_bucket(endpoint, target.bucket)
    elif "AWS_CHECKSUM_ALGORITHM" not in environment:
        # Amazon checks what it receives against it; not every compatible store knows it, so there the environment decides
        config["checksum_algorithm"] = "SHA256"
    if target.region:
        config["region"] = target.region
    return S3Store(
        target.bucket,
        prefix=target.root or None,
        config=config,  # type: ignore[arg-type]
        credential_provider=s3_credentials(target, environment),
        **_patience(settings, endpoint),
    )


def _gcs(target: StorageTarget, settings: Settings) -> ObjectStore:
    from obstore.store import GCSStore

    config: dict[str, Any] = {}
    if target.endpoint:
        config["base_url"] = target.endpoint
        if not any(name in os.environ for name in _GOOGLE_KEYS):
            config["service_account_key"] = json.dumps({**_NOBODY, "gcs_base_url": target.endpoint})
    return GCSStore(
        target.bucket,
        prefix=target.root or None,
        config=config,  # type: ignore[arg-type]
        **_patience(settings, target.endpoint),
    )


def _azure(target: StorageTarget, settings: Settings) -> ObjectStore:
    from obstore.store import AzureStore

    config = azure_config(target, os.environ)
    return AzureStore(
        target.bucket,
        prefix=target.root or None,
        config=config,  # type: ignore[arg-type]
        **_patience(settings, config.get("endpoint")),
    )


def _patience(settings: Settings, endpoint: str | None) -> Mapping[str, Any]:
    """How long to wait and how often to ask again; obstore's pauses grow and are jittered."""
    answer = timedelta(seconds=settings.storage_timeout_seconds)
    client: ClientConfig = {
        "allow_http": bool(endpoint) and str(endpoint).startswith("http://"),
        "connect_timeout": min(answer, timedelta(seconds=_CONNECT_SECONDS)),
        "read_timeout": answer,
        # of a whole request: a part that takes longer than this is not going to end
        "timeout": answer * _LONGEST_ANSWERS,
    }
    retry: RetryConfig = {
        "max_retries": _MOST_RETRIES if settings.storage_retry_seconds else 0,
        "retry_timeout": timedelta(seconds=settings.storage_retry_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    return {"client_options": client, "retry_config": retry}


def _with_bucket(endpoint: str, bucket: str) -> str:
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{bucket}.{host}"

"""obstore's client of a storage target: its address, its patience and its credentials, which are kept nowhere else.

On Azure the account, where it answers, and the key to it come out of settings and the environment's usual variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError
from timestore_assets.model.target import Driver, StorageTarget
from timestore_assets.secret_store import secret_text

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Config, S3Credential

    from timestore_assets.settings import Settings

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_PARTS = {"AccountName": "account_name", "AccountKey": "account_key", "SharedAccessSignature": "sas_key"}


def azure_config(target: StorageTarget, environment: Mapping[str, str]) -> dict[str, str]:
    """obstore's configuration of an Azure target. What it lacks, obstore finds by itself: keys and tokens in the environment's
    `AZURE_*` variables, a workload identity, or the machine's managed identity.

    A connection string counts for the account that it names. https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string

    Raises:
        InputError: no account is named, or the connection string is none.
    """
    config = _of_connection_string(environment.get(_CONNECTION, ""))
    if target.account and config.get("account_name", target.account) != target.account:
        config = {}
    if target.account:
        config["account_name"] = target.account
    if target.endpoint:
        config["endpoint"] = target.endpoint
    if "account_name" not in config and not environment.get("AZURE_STORAGE_ACCOUNT_NAME"):
        raise InputError(f"storage target {target.name}: set TIMESTORE_AZURE_ACCOUNT (or its `account`) to the storage account")
    return config


def _of_connection_string(text: str) -> dict[str, str]:
    if not text:
        return {}
    parts = dict(part.partition("=")[::2] for part in text.split(";") if part)
    config = {name: parts[key] for key, name in _PARTS.items() if parts.get(key)}
    if parts.get("BlobEndpoint"):
        config["endpoint"] = parts["BlobEndpoint"].rstrip("/")
    elif parts.get("EndpointSuffix") and "account_name" in config:
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        config["endpoint"] = f"{protocol}://{config['account_name']}.blob.{parts['EndpointSuffix']}"
    if not config:
        raise InputError(f"{_CONNECTION}: is no connection string of a storage account; copy it from the account's access keys")
    return config


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
    with extra("cloud"):
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
    config: S3Config = {"virtual_hosted_style_request": not in_path}
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
        config=config,
        credential_provider=s3_credentials(target, environment),
        **_patience(settings, endpoint),
    )


def _gcs(target: StorageTarget, settings: Settings) -> ObjectStore:
    from obstore.store import GCSStore

    config: GCSConfig = {}
    if target.endpoint:
        config["base_url"] = target.endpoint
        if not any(name in os.environ for name in _GOOGLE_KEYS):
            config["service_account_key"] = json.dumps({**_NOBODY, "gcs_base_url": target.endpoint})
    return GCSStore(
        target.bucket,
        prefix=target.root or None,
        config=config,
        **_patience(settings, target.endpoint),
    )


def _azure(target: StorageTarget, settings: Settings) -> ObjectStore:
    from obstore.store import AzureStore

    config = azure_config(target, os.environ)
    return AzureStore(
        target.bucket,
        prefix=target.root or None,
        config=config,  # type: ignore[arg-type] # its keys are obstore's, picked as text
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


_KEPT = timedelta(minutes=15)
"""How long what a secret says is used before it is fetched again, so that a rotated key is taken over by itself."""
_OBSTORE_FINDS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def s3_credentials(target: StorageTarget, environment: Mapping[str, str]) -> Callable[[], S3Credential] | None:
    """What gives obstore credentials whenever it needs some; None where it finds them by itself.

    A secret of the target comes first. Without one the environment's static keys, a web identity or a container's role, which
    obstore knows; then profiles and single sign-on, by boto3; then the machine's role, which obstore knows again.

    Raises:
        InputError: the secret or profile is none, or holds no keys. UnavailableError: it can't be had.
    """
    if target.secret:
        return SecretCredentials(target.secret, region=target.region, now=lambda: datetime.now(UTC))
    if any(environment.get(name) for name in _OBSTORE_FINDS) or not _has_profile(environment):
        return None
    return _profile(target.name)


class SecretCredentials:
    """Keys out of an AWS Secrets Manager entry: JSON with `access_key_id` and `secret_access_key`, and perhaps
    `session_token` and `expires_at` (RFC 3339). Fetched again when they expire, after 15 minutes at the latest.
    """

    def __init__(self, secret: str, *, region: str | None, now: Callable[[], datetime]) -> None:
        self._secret, self._region, self._now = secret, region, now
        self._first: S3Credential | None = self._fetched()  # so that what is wrong is said when the target is opened

    def __call__(self) -> S3Credential:
        first, self._first = self._first, None
        return first or self._fetched()

    def __repr__(self) -> str:
        return f"SecretCredentials({self._secret!r})"

    def _fetched(self) -> S3Credential:
        text = secret_text(self._secret, region=self._region)
        try:
            values = json.loads(text)
            keys: S3Credential = {
                "access_key_id": str(values["access_key_id"]),
                "secret_access_key": str(values["secret_access_key"]),
                "token": values.get("session_token"),
                "expires_at": self._expiry(values.get("expires_at")),
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            wanted = '{"access_key_id": "…", "secret_access_key": "…"}'
            raise InputError(f"secret {self._secret} of AWS Secrets Manager holds no keys; it has to be {wanted}") from None
        return keys

    def _expiry(self, text: str | None) -> datetime:
        latest = self._now() + _KEPT
        return latest if text is None else min(latest, datetime.fromisoformat(text))


def _has_profile(environment: Mapping[str, str]) -> bool:
    if environment.get("AWS_PROFILE"):
        return True
    home = Path(environment.get("HOME", "/"))
    files = (
        environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
    )
    return any(Path(file).expanduser().is_file() for file in files)


def _profile(target: str) -> Callable[[], S3Credential] | None:
    with extra("cloud"):
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except BotoCoreError as error:
        raise InputError(f"storage target {target}: the AWS profile can't be used ({type(error).__name__}); mend it") from None
    except ValueError:
        return None  # a configuration without credentials

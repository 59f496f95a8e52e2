"""Where the credentials of an S3 target come from. They are handed to obstore and kept nowhere else."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.model.target import StorageTarget

if TYPE_CHECKING:
    from obstore.store import S3Credential

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


def secret_text(name: str, *, region: str | None = None) -> str:
    """What an AWS Secrets Manager entry holds, by the platform's own credentials.

    Raises:
        InputError: there is no such entry, or it holds no text. UnavailableError: it can't be had now, or not by us.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    # boto3 alone of all AWS clients doesn't look at AWS_REGION; answers are not passed on, they name the caller's keys
    try:
        client = _secrets_manager(region or os.environ.get("AWS_REGION"))
        text: Any = client.get_secret_value(SecretId=name).get("SecretString")
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "ResourceNotFoundException":
            raise InputError(f"AWS Secrets Manager has no secret {name} in this region; make it, or mend its name") from None
        raise UnavailableError(f"AWS Secrets Manager refused secret {name} ({code}); check what this process may read") from None
    except BotoCoreError as error:
        kind = type(error).__name__
        raise UnavailableError(
            f"secret {name} can't be had from AWS Secrets Manager ({kind}); check region and network"
        ) from None
    if not text:
        raise InputError(f"secret {name} of AWS Secrets Manager holds no text")
    return str(text)


def _secrets_manager(region: str | None) -> Any:
    from dagster import BetaWarning
    from dagster_aws.secretsmanager import SecretsManagerResource

    with warnings.catch_warnings():
        # that it may change is for whoever updates this package to know, not for its users
        warnings.simplefilter("ignore", BetaWarning)
        return SecretsManagerResource(region_name=region).get_client()


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
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except BotoCoreError as error:
        raise InputError(f"storage target {target}: the AWS profile can't be used ({type(error).__name__}); mend it") from None
    except ValueError:
        return None  # a configuration without credentials

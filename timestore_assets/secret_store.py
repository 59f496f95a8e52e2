"""Entries of AWS Secrets Manager, by the platform's own credentials."""

from __future__ import annotations

import os
from typing import Any

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError, UnavailableError

_RETRIES = {"max_attempts": 5, "mode": "standard"}


def secret_text(name: str, *, region: str | None = None) -> str:
    """What an entry holds.

    Raises:
        InputError: there is no such entry, or it holds no text. UnavailableError: it can't be had now, or not by us.
    """
    with extra("cloud"):
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

    # boto3 alone of all AWS clients doesn't look at AWS_REGION; answers are not passed on, they name the caller's keys
    try:
        region = region or os.environ.get("AWS_REGION")
        client = boto3.Session().client("secretsmanager", region_name=region, config=Config(retries=_RETRIES))
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

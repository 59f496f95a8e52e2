"""A storage target: a named place for segments, as a deployment's settings describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Driver = Literal["local", "s3", "gcs", "azure_blob"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageTarget:
    """Where objects of one target go. Credentials are no part of it.

    `root`: folder of the local driver, else a prefix inside the bucket. `bucket`: S3 or GCS bucket, or Azure container.
    `endpoint`: of a compatible store; None for the provider's own. `path_style`: bucket in the path instead of the host name,
    None for what the endpoint asks for. `account`: of Azure. `secret`: name of the AWS Secrets Manager entry that holds the
    credentials; the platform's own chain (environment, profile, role) when None.
    """

    name: str
    driver: Driver
    root: str = ""
    bucket: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    account: str | None = None
    secret: str | None = None

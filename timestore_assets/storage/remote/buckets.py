"""Buckets by their URIs: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError
from timestore_assets.model.target import StorageTarget
from timestore_assets.storage.remote.connection import connected
from timestore_assets.storage.target_settings import SCHEMES, configured_targets, target_of_driver

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from timestore_assets.settings import Settings

_DRIVERS = {scheme: driver for driver, scheme in SCHEMES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A bucket or container that can be reached."""

    #: Obstore's client of the *whole* bucket, so names in it are full keys, `prefix` and all.
    store: ObjectStore = field(repr=False, compare=False)
    #: `s3`, `gs` or `az`.
    scheme: str
    bucket: str
    #: What the URI names inside the bucket, without a slash at its beginning; empty for all of it.
    prefix: str = ""
    #: Of a compatible store; None for the provider's own.
    endpoint: str | None = None

    @property
    def uri(self) -> str:
        """The URI of the bucket itself, `s3://bucket`."""
        return f"{self.scheme}://{self.bucket}"


def open_bucket(settings: Settings, uri: str) -> Bucket:
    """The bucket that a URI names, with the settings, endpoint and credentials that storage targets have.

    A storage target in that bucket gives its endpoint, region, account and secret; else the settings of the default target
    (`TIMESTORE_S3_ENDPOINT` and its neighbours) hold. Nothing is reached yet.

    Raises:
        InputError: the URI names no bucket, or a setting makes no sense. UnavailableError: there are no credentials.
    """
    scheme, bucket, prefix = parse_uri(uri)
    target = _target_for(settings, scheme, bucket)
    return Bucket(
        store=connected(replace(target, root=""), settings), scheme=scheme, bucket=bucket, prefix=prefix, endpoint=target.endpoint
    )


def parse_uri(uri: str) -> tuple[str, str, str]:
    """Scheme, bucket and prefix of a URI.

    Raises:
        InputError: it is none of an object store that this version knows.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if not separator or scheme not in _DRIVERS or not bucket or "@" in bucket or "?" in bucket:
        raise InputError(f"{shown(uri)} names no bucket; write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
    return scheme, bucket, prefix


def shown(uri: str) -> str:
    """The URI without what may be a secret in it: its query and what stands before an `@`."""
    scheme, separator, rest = uri.partition("://")
    return repr(f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"[:200])


def _target_for(settings: Settings, scheme: str, bucket: str) -> StorageTarget:
    driver = _DRIVERS[scheme]
    for target in configured_targets(settings).values():
        if target.driver == driver and target.bucket == bucket:
            return target
    return target_of_driver(settings, driver, name=f"{scheme}://{bucket}", bucket=bucket)

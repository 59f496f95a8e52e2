"""Object stores for tests as values: where one answers, how a client gets in, and a bucket of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import httpx

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Kind = Literal["s3", "azure", "gcs"]
CALL_SECONDS = 30.0
AZURITE_ACCOUNT = "devstoreaccount1"
# the account that every Azurite has; Microsoft publishes it
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, kw_only=True)
class ObjectServer:
    """A server that answers. `endpoint`: scheme, host and port. `bucket`: exists. `product`: the program behind it."""

    kind: ClassVar[Kind]
    scheme: ClassVar[str]

    endpoint: str
    bucket: str
    product: str

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    def through(self, endpoint: str) -> Self:
        """The same bucket by way of another address, such as a proxy's."""
        return replace(self, endpoint=endpoint)

    def with_bucket(self, name: str) -> Self:
        """The same server with a new, empty bucket."""
        other = replace(self, bucket=name)
        other.make_bucket()
        return other

    def store(self, prefix: str | None = None, **more: Any) -> ObjectStore:
        """A client of the bucket by obstore. `more`: `retry_config`, `client_options` and other arguments of its stores."""
        from obstore.store import from_url

        options = {"allow_http": True, **more.pop("client_options", {})}
        uri = f"{self.uri}/{prefix}" if prefix else self.uri
        return from_url(uri, config={**self.config(), **more.pop("config", {})}, client_options=options, **more)  # type: ignore[call-overload] # by the scheme

    def config(self) -> dict[str, Any]:
        """What obstore's store of this kind takes as `config`."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The same by the variables that the platform's clients and obstore read."""
        raise NotImplementedError

    def make_bucket(self) -> None:
        """Raises: an error of the client when it exists or can't be made."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class S3Server(ObjectServer):
    """An S3-compatible server; buckets are in the path."""

    kind: ClassVar[Kind] = "s3"
    scheme: ClassVar[str] = "s3"

    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    def config(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "virtual_hosted_style_request": False,
        }

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> Any:
        """A boto3 client, for what obstore can't do."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self) -> None:
        client = self.client()
        client.create_bucket(Bucket=self.bucket)
        client.close()


@dataclass(frozen=True, kw_only=True)
class AzureServer(ObjectServer):
    """An Azure Blob server; the account is the first part of the path, `bucket` is a container."""

    kind: ClassVar[Kind] = "azure"
    scheme: ClassVar[str] = "az"

    account: str = AZURITE_ACCOUNT
    key: str = field(default=AZURITE_KEY, repr=False)

    def config(self) -> dict[str, Any]:
        return {"endpoint": f"{self.endpoint}/{self.account}", "account_name": self.account, "account_key": self.key}

    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ENDPOINT": f"{self.endpoint}/{self.account}",
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_ALLOW_HTTP": "true",
        }

    def make_bucket(self) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        signed = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = "PUT" + "\n" * 12 + f"{signed}/{self.account}/{self.account}/{self.bucket}\nrestype:container"
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        address = f"{self.endpoint}/{self.account}/{self.bucket}?restype=container"
        httpx.put(address, headers=headers, timeout=CALL_SECONDS).raise_for_status()


@dataclass(frozen=True, kw_only=True)
class GcsServer(ObjectServer):
    """A Google Cloud Storage server that asks nobody for a password."""

    kind: ClassVar[Kind] = "gcs"
    scheme: ClassVar[str] = "gs"

    def config(self) -> dict[str, Any]:
        return {"service_account_key": self._account(), "base_url": self.endpoint}

    def environment(self) -> dict[str, str]:
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": self._account(), "STORAGE_EMULATOR_HOST": self.endpoint}

    def make_bucket(self) -> None:
        address = f"{self.endpoint}/storage/v1/b?project=test"
        httpx.post(address, json={"name": self.bucket}, timeout=CALL_SECONDS).raise_for_status()

    def _account(self) -> str:
        empty = {"client_email": "", "private_key": "", "private_key_id": ""}
        return json.dumps({"gcs_base_url": self.endpoint, "disable_oauth": True, **empty})

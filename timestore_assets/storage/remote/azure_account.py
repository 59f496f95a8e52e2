"""Which Azure account, where it answers, and the key to it, out of settings and the environment's usual variables."""

from __future__ import annotations

from collections.abc import Mapping

from timestore_assets.model.errors import InputError
from timestore_assets.model.target import StorageTarget

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

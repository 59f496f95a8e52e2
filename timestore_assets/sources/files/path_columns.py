"""Columns that stand in the path of a file only, as Spark, Hive, Athena and DuckDB write them: `region=eu/day=2024-03-01/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from timestore_assets.model.record_form import PathColumns
from timestore_assets.sources.files.input_file import FileIdentity

_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_values(address: str, wanted: PathColumns = "hive") -> Mapping[str, str | None]:
    """The values that the folders of an address give, by column; the innermost where a name occurs twice.

    `address`: `/`-separated; its last part is the file. Names and values are percent-decoded, and
    `__HIVE_DEFAULT_PARTITION__` is null.
    """
    found: dict[str, str | None] = {}
    if not wanted or "=" not in address:
        return found
    for folder in address.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        name = unquote(name)
        if equals and name and (wanted == "hive" or name in wanted):
            found[name] = None if value == _NULL else unquote(value)
    return found


def with_path(identity: FileIdentity, values: Mapping[str, str | None]) -> FileIdentity:
    """The identity of a content whose path says more about it: equal bytes below other values are other records."""
    if not values:
        return identity
    said = json.dumps([identity.sha256, sorted(values.items())])
    return replace(identity, sha256=hashlib.sha256(said.encode()).hexdigest())

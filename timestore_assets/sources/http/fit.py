"""Whether what a request says about its records fits the dataset, before any of them is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.types import parse_type

_ALSO_TAKES = {"int64": ("int32",), "double": ("int32", "int64", "float")}
"""Types whose values a column takes as they are."""


def check_schema(dataset: Dataset, schema: Mapping[str, Any]) -> None:
    """Refuse column types that aren't those of the declaration.

    Raises:
        InputError: naming the column and both types.
    """
    for name, text in schema.items():
        column = dataset.schema.find(name)
        if not isinstance(text, str):
            raise InputError(f"`schema`: the type of column {name[:60]!r} is not a text; write it as in a declaration: `double`")
        try:
            kind = parse_type(text)
        except DeclarationError as error:
            raise InputError(f"`schema`: column {name[:60]!r}: {error.problem}") from None
        if column is None:
            if dataset.evolution.new_columns == "reject":
                raise InputError(f"`schema`: dataset {dataset.name!r} has no column {name[:60]!r} and takes no new ones")
        elif kind != column.type and str(kind) not in _ALSO_TAKES.get(str(column.type), ()):
            raise InputError(f"`schema`: column {name!r} is {column.type}, not {kind}")


def check_partition_key(dataset: Dataset, key: Mapping[str, Any]) -> None:
    """Refuse a partition key of other columns than the dataset's `partition_by`.

    Raises:
        InputError: naming the column.
    """
    for name, value in key.items():
        if name not in dataset.partition_by:
            known = ", ".join(dataset.partition_by) or "none"
            raise InputError(
                f"`partitionKey`: {name[:60]!r} is no column that {dataset.name!r} is partitioned by; those are: {known}"
            )
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"`partitionKey`: the value of {name!r} is not a text, a number, true or false")

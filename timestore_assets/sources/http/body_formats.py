"""From media type and bytes to a body, once what the request says about its records is known to fit the dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.types import parse_type
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody

_ALSO_TAKES = {"int64": ("int32",), "double": ("int32", "int64", "float")}
"""Types whose values a column takes as they are."""


def check_schema(dataset: Dataset, schema: Mapping[str, Any]) -> None:
    """Refuse column types that aren't those of the declaration.

    Raises:
        InputError: naming the column and both types.
    """
    source = dataset.http_source
    parts = source.form.named_fields if source else frozenset[str]()
    for name, text in schema.items():
        column = dataset.schema.find(name)
        if not isinstance(text, str):
            raise InputError(f"`schema`: the type of column {name[:60]!r} is not a text; write it as in a declaration: `double`")
        try:
            kind = parse_type(text)
        except DeclarationError as error:
            raise InputError(f"`schema`: column {name[:60]!r}: {error.problem}") from None
        if column is None:
            if dataset.evolution.columns in ("discard_row", "freeze") and name not in parts:
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


MediaType = Literal["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream", "text/csv"]
MEDIA_TYPES: tuple[MediaType, ...] = get_args(MediaType)


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyContext:
    """What bodies of a dataset are read by."""

    dataset: Dataset
    source: HttpSource
    limits: BodyLimits


def read_body(data: bytes, media_type: MediaType, reading: BodyContext) -> RequestBody:
    """The records of a decoded body. An empty one has none.

    Raises:
        BadFileError: it can't be read as what it says it is.
        TooManyBytesError, TooManyRowsError: it holds more than the limits.
        InputError: its `schema` or `partitionKey` doesn't fit the dataset.
    """
    # pyarrow takes long to load, and nobody needs it before the first request
    from timestore_assets.sources.http.json_body import json_body, open_json

    if not data:
        return json_body(open_json(b"[]", most=0), size=0, limits=reading.limits)
    if media_type == "application/json":
        opened = open_json(data, most=reading.limits.rows, path=reading.source.path)
        check_schema(reading.dataset, opened.schema or {})
        check_partition_key(reading.dataset, opened.partition_key or {})
        return json_body(opened, size=len(data), limits=reading.limits)
    if media_type == "application/vnd.apache.arrow.stream":
        from timestore_assets.sources.http.arrow_body import arrow_body

        return arrow_body(data, limits=reading.limits)
    from timestore_assets.sources.http.text_bodies import csv_body, lines_body

    if media_type == "text/csv":
        return csv_body(data, dialect=reading.source.csv, limits=reading.limits)
    return lines_body(data, limits=reading.limits)

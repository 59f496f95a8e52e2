"""From media type and bytes to a body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.sources.http.body import Body, Limits
from timestore_assets.sources.http.fit import check_partition_key, check_schema

MediaType = Literal["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream", "text/csv"]
MEDIA_TYPES: tuple[MediaType, ...] = get_args(MediaType)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What bodies of a dataset are read by."""

    dataset: Dataset
    source: HttpSource
    limits: Limits


def read_body(data: bytes, media_type: MediaType, reading: Reading) -> Body:
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
        opened = open_json(data, most=reading.limits.rows)
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

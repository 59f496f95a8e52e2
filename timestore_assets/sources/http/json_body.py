"""JSON bodies: an array of records, or an object that holds one, cut into the records' own texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.batches import BadRecord, records_digest
from timestore_assets.sources.files.format_detection import BOM
from timestore_assets.sources.files.json_lines import VALUE_COLUMN
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES, too_long
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody, TooManyRowsError
from timestore_assets.sources.json_walk import TooManyElementsError, after_blanks, elements, members, value_end

SHAPE = "json"
CONFLICT = "partition_key_conflict"
"""Code of a record that has another value than the request's `partitionKey`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonBody:
    """A JSON body taken apart."""

    #: Raw JSON texts.
    records: tuple[bytes, ...]
    #: As the request gave it, like `partition_key`; None where it did not.
    schema: Mapping[str, Any] | None = None
    partition_key: Mapping[str, Any] | None = None


def open_json(data: bytes, *, most: int, path: tuple[str, ...] = ()) -> JsonBody:
    """Take a JSON body apart: `[…]`, or `{"records": […], "schema": {…}, "partitionKey": {…}}`.

    `path`: names of the members that lead to the array of records in an object; what else is in it is passed over then.

    Raises:
        BadFileError: `not_utf8`, `bad_json`; the text says where.
        TooManyRowsError: there are more than `most` records.
    """
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise BadFileError("not_utf8", f"the body is not UTF-8 at byte {error.start}") from None
    try:
        found = _walk(text, most, path)
    except TooManyElementsError:
        raise TooManyRowsError from None
    except RecursionError:
        raise BadFileError("bad_json", "the body is nested too deeply") from None
    except ValueError as error:
        raise BadFileError("bad_json", f"the body can't be read: {error}") from None
    records = tuple([record.encode() for record in found.records or ()])
    return JsonBody(records=records, schema=found.settings.get("schema"), partition_key=found.settings.get("partitionKey"))


def json_body(opened: JsonBody, *, size: int, limits: BodyLimits) -> RequestBody:
    """The records of a JSON body, those that lack the partition key filled with it."""
    values, places, originals, bad = list[bytes](), list[int](), list[bytes](), list[BadRecord]()
    fill = _Filling(opened.partition_key) if opened.partition_key else None
    longest = max(map(len, opened.records), default=0)
    if fill is None and longest <= limits.record_bytes:
        values = originals = list(opened.records)
    else:
        for place, record in enumerate(opened.records):
            if len(record) > limits.record_bytes:
                bad.append(_refused("too_long", too_long(limits.record_bytes), record, place))
                continue
            value = record if fill is None else fill(record)
            if value is None:
                bad.append(_refused(CONFLICT, "the record has another value than the request's partitionKey", record, place))
                continue
            values.append(value)
            originals.append(record)
            places.append(place)
    return RequestBody(
        encoding="json",
        shape=SHAPE,
        records=pa.table([pa.array(values, pa.binary())], names=[VALUE_COLUMN]),
        raw=_Originals(originals),
        size=size,
        # a record that is too long is none of an archived envelope's either
        digest=lambda: records_digest(record for record in opened.records if len(record) <= limits.record_bytes),
        places=np.array(places, np.int64) if bad else None,
        bad=tuple(bad),
        variant=json.dumps(opened.partition_key, sort_keys=True) if opened.partition_key else "",
    )


@dataclass(frozen=True, slots=True)
class _Originals:
    """The records as they came (see `batches.RawRows`)."""

    texts: list[bytes]

    def __call__(self, index: int) -> bytes:
        return self.texts[index]


def _refused(code: str, reason: str, record: bytes, place: int) -> BadRecord:
    return BadRecord(code=code, reason=reason, raw=record[:MAX_RAW_BYTES], position=place, line=0)


@dataclass(kw_only=True, slots=True)
class _FoundRecords:
    records: list[str] | None = None
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def _walk(text: str, most: int, path: tuple[str, ...]) -> _FoundRecords:
    found = _FoundRecords()
    name = ".".join(path) or "records"

    def records(line: str, at: int) -> int:
        if line[at : at + 1] != "[":
            raise ValueError(f"`{name}` is not an array")
        found.records, end = elements(line, at, most=most)
        return end

    def setting(name: str, line: str, at: int) -> int:
        end = value_end(line, at)
        value = json.loads(line[at:end])
        if isinstance(value, dict):
            found.settings[name] = value
        elif value is not None:
            raise ValueError(f"`{name}` is not an object")
        return end

    at = after_blanks(text, 0)
    if text[at : at + 1] == "[":
        end = records(text, at)
    elif path:
        end = _along(text, at, path, records)
    else:
        visits = {
            "records": records,
            "schema": lambda line, at: setting("schema", line, at),
            "partitionKey": lambda line, at: setting("partitionKey", line, at),
        }
        end = members(text, at, "the body", visits, only=True)
    if after_blanks(text, end) != len(text):
        raise ValueError(f"something follows it at character {end}")
    if found.records is None:
        raise ValueError(f"it has no `{name}`")
    return found


def _along(text: str, at: int, path: tuple[str, ...], records: Callable[[str, int], int], *, what: str = "the body") -> int:
    """Walk through an object, and through the member that a path leads to. Returns its end."""
    name, *rest = path

    def inner(line: str, at: int) -> int:
        return _along(line, at, tuple(rest), records, what=f"`{name}`") if rest else records(line, at)

    return members(text, at, what, {name: inner})


class _Filling:
    """Puts the partition key into records that lack it; None for a record that has another value."""

    def __init__(self, key: Mapping[str, Any]) -> None:
        self._key = key

    def __call__(self, record: bytes) -> bytes | None:
        try:
            value = json.loads(record)
        except (ValueError, RecursionError):
            return record
        if not isinstance(value, dict):
            return record
        if any(name in value and not _same(value[name], wanted) for name, wanted in self._key.items()):
            return None
        missing = {name: wanted for name, wanted in self._key.items() if name not in value}
        if not missing:
            return record
        filled = json.dumps(missing, ensure_ascii=False)[1:-1]
        rest = record.lstrip(b" \t\r\n")[1:]
        return f"{{{filled}".encode() + (b"," if value else b"") + rest


def _same(one: Any, other: Any) -> bool:
    """Equal values; true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)

"""What OpenAPI says about sending records: bodies of every format with examples, and every answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from timestore_assets.service.ingest.models import IngestAccepted
from timestore_assets.service.problems import responses

_RECORD = {"ts": "2024-05-01T12:00:00Z", "station": "S7", "temp": 21.5}
_RECORDS = {
    "type": "array",
    "items": {"description": "An object; anything else becomes a dead letter."},
    "description": "Each record by its columns' names.",
}
_OBJECT = {
    "type": "object",
    "required": ["records"],
    "additionalProperties": False,
    "properties": {
        "records": _RECORDS,
        "schema": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
            "description": "Types by column, as in a declaration; refused before anything lands where they don't fit.",
        },
        "partitionKey": {
            "type": ["object", "null"],
            "description": "Values of `partition_by` columns for records that lack them.",
        },
    },
}
_JSON = {
    "schema": {"oneOf": [_OBJECT, _RECORDS]},
    "examples": {
        "records": {"summary": "Records in an object", "value": {"records": [_RECORD]}},
        "array": {"summary": "A bare array", "value": [_RECORD]},
    },
}
_LINES = {"schema": {"type": "string"}, "example": '{"ts": "2024-05-01T12:00:00Z", "station": "S7", "temp": 21.5}\n'}
_CSV = {"schema": {"type": "string"}, "example": "ts,station,temp\n2024-05-01T12:00:00Z,S7,21.5\n"}
_ARROW = {"schema": {"type": "string", "format": "binary", "description": "An Arrow IPC stream."}}

BODIES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": _JSON,
            "application/x-ndjson": _LINES,
            "text/csv": _CSV,
            "application/vnd.apache.arrow.stream": _ARROW,
        },
    },
    "parameters": [
        {
            "name": "Content-Encoding",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "examples": ["gzip"]},
            "description": "How the body is compressed: `identity`, `gzip` or `zstd`, in any case.",
        }
    ],
}

_LOCATION = {"description": "Where to ask what became of it.", "schema": {"type": "string"}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {
        "model": IngestAccepted,
        "description": "Accepted; it is not durable yet.",
        "headers": {"Location": _LOCATION},
    },
    **responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
    ),
}

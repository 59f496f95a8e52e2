"""Sending records as OpenAPI describes it: bodies of every format with examples, and every answer."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from pydantic import Field

from timestore_assets.catalog.service_records import Ingestion
from timestore_assets.landing.requests.submission import Landed, Outcome
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses


class RefusedRecord(Wire):
    """A record that became a dead letter."""

    row: int = Field(description="Its place in the request, from 0.", examples=[3])
    code: str = Field(description="Stable name of the reason.", examples=["failed_check"])
    column: str | None = Field(description="The column at fault, when it is a single one.", examples=["temp"])
    reason: str = Field(description="One sentence.", examples=['"999.0" in column temp fails the check le(140)'])


class DeadLetters(Wire):
    """Records that were refused; they are kept with their original bytes."""

    count: int = Field(examples=[1])
    rows: tuple[RefusedRecord, ...] = Field(description="The first hundred.")
    truncated: bool = Field(description="Whether there are more than `rows` lists.", examples=[False])


class IngestAnswer(Wire):
    """What became of a request's records, all of it durable: `read = landed + duplicates + deadLetters.count`."""

    ingestion_id: str = Field(examples=["5e0f9f3c0d6a4a4f8a4f1c1f0e7b9a11"])
    dataset: str = Field(examples=["weather"])
    manifest_version: int = Field(description="The first version of the dataset that holds the records.", examples=[17])
    read: int = Field(examples=[100])
    landed: int = Field(examples=[99])
    duplicates: int = Field(description="Records that had landed before under the same key, by another way.", examples=[0])
    dead_letters: DeadLetters
    repeated: bool = Field(description="Whether this is the answer to an earlier request with the same key.", examples=[False])


class IngestAccepted(Wire):
    """Records that will be landed; `GET /ingestions/{id}` tells when they are."""

    ingestion_id: str = Field(examples=["5e0f9f3c0d6a4a4f8a4f1c1f0e7b9a11"])
    dataset: str = Field(examples=["weather"])
    state: Literal["pending"] = "pending"
    repeated: bool = Field(examples=[False])


class IngestionAnswer(Wire):
    """What became of an earlier request."""

    ingestion_id: str = Field(examples=["5e0f9f3c0d6a4a4f8a4f1c1f0e7b9a11"])
    dataset: str = Field(examples=["weather"])
    state: Literal["pending", "landed", "abandoned"] = Field(examples=["landed"])
    detail: str = Field(description="The state in words, and what to do.", examples=["its records are durable"])
    created_at: datetime
    settled_at: datetime | None
    answer: IngestAnswer | None = Field(description="What was, or would have been, answered at once; null until it has landed.")


_DETAILS = {
    "pending": "its records wait to be landed; ask again",
    "landed": "its records are durable",
    "abandoned": "the service gave it up before its records were durable and nothing of them landed; send it again",
}


def landed_answer(dataset: str, landed: Landed) -> IngestAnswer:
    """A request's answer as it goes over the wire."""
    outcome = landed.outcome
    return IngestAnswer(
        ingestion_id=landed.id,
        dataset=dataset,
        manifest_version=landed.manifest_version,
        read=outcome.read,
        landed=outcome.landed,
        duplicates=outcome.duplicates,
        dead_letters=_dead_letters(outcome),
        repeated=landed.repeated,
    )


def ingestion_answer(ingestion: Ingestion) -> IngestionAnswer:
    """What the catalog knows of a request."""
    is_landed = ingestion.state == "landed"
    answer = landed_answer(ingestion.dataset, Landed.before(ingestion)) if is_landed else None
    return IngestionAnswer(
        ingestion_id=ingestion.id,
        dataset=ingestion.dataset,
        state=ingestion.state,
        detail=_DETAILS[ingestion.state],
        created_at=ingestion.created_at,
        settled_at=ingestion.settled_at,
        answer=answer and answer.model_copy(update={"repeated": False}),
    )


def _dead_letters(outcome: Outcome) -> DeadLetters:
    rows = tuple(
        RefusedRecord(row=one.row, code=one.code, column=one.column or None, reason=one.reason) for one in outcome.refused
    )
    return DeadLetters(count=outcome.dead_letters, rows=rows, truncated=outcome.dead_letters > len(rows))


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

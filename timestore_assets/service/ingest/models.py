"""What the service says about records that were sent to it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from timestore_assets.catalog.service_records import Ingestion
from timestore_assets.landing.group_requests import Landed, Outcome
from timestore_assets.service.wire import Wire


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

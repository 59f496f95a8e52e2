"""Records over HTTP: `POST /datasets/{name}/ingest`, and what became of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse

from timestore_assets.landing.requests.submission import Accepted
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import RetiredError
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.body_intake import received
from timestore_assets.service.ingest_models import (
    ANSWERS,
    BODIES,
    IngestAccepted,
    IngestAnswer,
    IngestionAnswer,
    ingestion_answer,
    landed_answer,
)
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.state import UsesCaller, UsesService
from timestore_assets.service.submitting import source_of, submitted

router = APIRouter(tags=["ingest"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="Names this request: sent again under it, also after a restart, it lands once and is answered alike.",
        examples=["station-7-2024-05-01T12:00"],
    ),
]
Prefer = Annotated[
    str | None,
    Header(description="`respond-async`: be answered 202 before the records are durable.", examples=["respond-async"]),
]


@router.post(
    "/datasets/{name}/ingest",
    summary="Land records",
    response_model=IngestAnswer,
    responses=ANSWERS,
    openapi_extra=BODIES,
)
async def ingest(
    name: str,
    request: Request,
    caller: UsesCaller,
    service: UsesService,
    key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> JSONResponse:
    """Answered once these records are durable and can be asked for; a bad record becomes a dead letter and stops no other.

    Requests that are under way at the same time share one commit. Bodies are JSON (`{"records": […]}` or an array), JSON lines,
    CSV with a header, or an Arrow IPC stream; gzip and zstd are understood. The dataset must take records over HTTP: its
    declaration has `- http: {}` among its sources.
    """
    dataset = service.dataset(caller, name, need="write")
    if service.warehouse.is_retired(name):
        raise RetiredError(name)
    source = source_of(dataset)
    body = await received(request, dataset, source, service.intake)
    answer = await submitted(service.landers, dataset, body, actor=caller.name, key=key, asynchronous=_wants_async(prefer))
    if isinstance(answer, Accepted):
        accepted = IngestAccepted(ingestion_id=answer.id, dataset=name, repeated=answer.repeated)
        headers = {"Location": f"/ingestions/{answer.id}", "Preference-Applied": "respond-async"}
        return JSONResponse(_plain(accepted), status_code=HTTPStatus.ACCEPTED, headers=headers)
    shown = answer if _may_see(caller, dataset, answer.actor) else answer.without_values()
    return JSONResponse(_plain(landed_answer(name, shown)))


@router.get(
    "/ingestions/{ingestion_id}",
    summary="What became of a request",
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def ingestion(ingestion_id: str, caller: UsesCaller, service: UsesService) -> IngestionAnswer:
    """Of requests that had an `Idempotency-Key` or were answered 202; others are not kept, their answer says all.

    It is shown to who sent the request and to who may read the dataset.
    """
    found = service.warehouse.catalog.ingestions.find(ingestion_id)
    dataset = None if found is None else service.visible(caller, "see").get(found.dataset)
    if found is None or dataset is None or not _may_see(caller, dataset, found.actor):
        raise UnknownResourceError(f"there is no ingestion {ingestion_id[:64]!r} that you may see, or it is no longer kept")
    return ingestion_answer(found)


def _may_see(caller: Caller, dataset: Dataset, actor: str) -> bool:
    """Whether what became of a request of `actor`, refused values included, is for this caller."""
    return actor == caller.name or caller.may_read(dataset)


def _wants_async(prefer: str | None) -> bool:
    wishes = (wish.partition(";")[0].strip().casefold() for wish in (prefer or "").split(","))
    return "respond-async" in wishes


def _plain(model: IngestAnswer | IngestAccepted) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)

"""Records over HTTP: `POST /datasets/{name}/ingest`, and what became of them."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from secrets import token_hex
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse

from timestore_assets.landing.group_bounds import BufferFullError
from timestore_assets.landing.group_requests import Accepted, KeyReusedError, Submission
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import RefusedError
from timestore_assets.service.ingest.documentation import ANSWERS, BODIES
from timestore_assets.service.ingest.models import (
    IngestAccepted,
    IngestAnswer,
    IngestionAnswer,
    ingestion_answer,
    landed_answer,
)
from timestore_assets.service.ingest.reading import received
from timestore_assets.service.problems import NotFoundError, ReusedKeyError, TooManyRequestsError, responses
from timestore_assets.service.state import UsesCaller, UsesService
from timestore_assets.tracing import here

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
    source = _source(dataset)
    body = await received(request, dataset, source, service.intake)
    submission = Submission(
        id=token_hex(16), body=body, actor=caller.name, key=key, asynchronous=_wants_async(prefer), place=here()
    )
    try:
        waiting = service.landers.submit(dataset, source, submission)
        answer = await asyncio.wrap_future(waiting)
    except BufferFullError as error:
        raise TooManyRequestsError(str(error), retry_after=math.ceil(error.retry_after)) from None
    except KeyReusedError as error:
        raise ReusedKeyError(str(error)) from None
    if isinstance(answer, Accepted):
        accepted = IngestAccepted(ingestion_id=answer.id, dataset=name, repeated=answer.repeated)
        headers = {"Location": f"/ingestions/{answer.id}", "Preference-Applied": "respond-async"}
        return JSONResponse(_plain(accepted), status_code=HTTPStatus.ACCEPTED, headers=headers)
    return JSONResponse(_plain(landed_answer(name, answer)))


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
    """Of requests that had an `Idempotency-Key` or were answered 202; others are not kept, their answer says all."""
    found = service.warehouse.catalog.ingestions.find(ingestion_id)
    if found is None or found.dataset not in service.visible(caller, "see"):
        raise NotFoundError(f"there is no ingestion {ingestion_id[:64]!r} that you may see, or it is no longer kept")
    return ingestion_answer(found)


def _source(dataset: Dataset) -> HttpSource:
    source = dataset.http_source
    if source is None:
        raise RefusedError(f"dataset {dataset.name!r} takes no records over HTTP; add `- http: {{}}` to its `sources`")
    return source


def _wants_async(prefer: str | None) -> bool:
    wishes = (wish.partition(";")[0].strip().casefold() for wish in (prefer or "").split(","))
    return "respond-async" in wishes


def _plain(model: IngestAnswer | IngestAccepted) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)

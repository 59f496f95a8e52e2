"""Records over HTTP: `POST /datasets/{name}/ingest`, and what became of them.

Many small requests a second are what this address is for, so it is answered ahead of FastAPI's router: finding routes and solving
dependencies would take a third of the time of such a request. FastAPI's own route describes it, and answers what is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from timestore_assets.landing.requests.submission import Accepted
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import RetiredError, TimestoreError
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
from timestore_assets.service.state import Service, UsesCaller, UsesService
from timestore_assets.service.submitting import source_of, submitted

router = APIRouter(tags=["ingest"])
PATH = "/datasets/{name}/ingest"
_LONGEST_KEY = 200
_KEY = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
_GOOD_KEY = re.compile(_KEY.encode())
_ADDRESS = re.compile(r"/datasets/([^/]+)/ingest")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=_LONGEST_KEY,
        pattern=_KEY,
        description="Names this request: sent again under it, also after a restart, it lands once and is answered alike.",
        examples=["station-7-2024-05-01T12:00"],
    ),
]
Prefer = Annotated[
    str | None,
    Header(description="`respond-async`: be answered 202 before the records are durable.", examples=["respond-async"]),
]


@router.post(
    PATH,
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
) -> Response:
    """Answered once these records are durable and can be asked for; a bad record becomes a dead letter and stops no other.

    Requests that are under way at the same time share one commit. Bodies are JSON (`{"records": […]}` or an array), JSON lines,
    CSV with a header, or an Arrow IPC stream; gzip and zstd are understood. The dataset must take records over HTTP: its
    declaration has `- http: {}` among its sources.
    """
    return await _answered(name, request, caller, service, key=key, prefer=prefer)


class DirectIngest:
    """An application in which this address is answered first. What FastAPI may have to refuse, a method or a key, is left to it.

    `refused`: the answer to an error.
    """

    path_format = PATH
    """How figures name the route."""

    def __init__(self, app: ASGIApp, *, service: Service, refused: Callable[[TimestoreError], Response]) -> None:
        self._app, self._service, self._refused = app, service, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _name_in(scope)
        if name is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self
        request = Request(scope, receive)
        try:
            response = await self._answer(request, name)
        except TimestoreError as error:
            response = self._refused(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request, name: str) -> Response:
        caller = await self._service.caller(request)
        key, prefer = request.headers.get("idempotency-key"), request.headers.get("prefer")
        return await _answered(name, request, caller, self._service, key=key, prefer=prefer)


def _name_in(scope: Scope) -> str | None:
    """The dataset that records are sent for, None where it is anything else or may have to be refused."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    found = _ADDRESS.fullmatch(scope["path"])
    return found[1] if found is not None and _are_good([v for k, v in scope["headers"] if k == b"idempotency-key"]) else None


def _are_good(keys: list[bytes]) -> bool:
    return not keys or (len(keys) == 1 and len(keys[0]) <= _LONGEST_KEY and _GOOD_KEY.fullmatch(keys[0]) is not None)


async def _answered(
    name: str, request: Request, caller: Caller, service: Service, *, key: str | None, prefer: str | None
) -> Response:
    dataset = service.dataset(caller, name, need="write")
    if service.warehouse.is_retired(name):
        raise RetiredError(name)
    source = source_of(dataset)
    body = await received(request, dataset, source, service.intake)
    answer = await submitted(service.landers, dataset, body, actor=caller.name, key=key, asynchronous=_wants_async(prefer))
    if isinstance(answer, Accepted):
        accepted = IngestAccepted(ingestion_id=answer.id, dataset=name, repeated=answer.repeated)
        headers = {"Location": f"/ingestions/{answer.id}", "Preference-Applied": "respond-async"}
        return _json(accepted, status_code=HTTPStatus.ACCEPTED, headers=headers)
    shown = answer if _may_see(caller, dataset, answer.actor) else answer.without_values()
    return _json(landed_answer(name, shown))


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


def _json(
    model: IngestAnswer | IngestAccepted, *, status_code: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    content = model.model_dump_json(by_alias=True)
    return Response(content, status_code=status_code, headers=headers, media_type="application/json")

"""`/admin/datasets/{name}/operations/{id}`: how long requests stand, and how routes that begin one answer in bounded time."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import Field
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.long_requests import Operation, OperationKind, OperationState
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.operation_runner import RunningOperation
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()

ANSWERED_SECONDS = 10.0
"""What has not ended by then is answered as running."""
ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)  # fmt: skip
OperationId = Annotated[str, Path(max_length=64, description="As the request that began it was answered.")]


class OperationProgress(Wire):
    """Of a reload: files, or records of a topic."""

    done: int = Field(examples=[3])
    of: int = Field(examples=[5])


class OperationAnswer(Wire):
    """A request that may take long."""

    id: str = Field(examples=["5f2b…"])
    dataset: str = Field(examples=["power"])
    kind: OperationKind
    state: OperationState = Field(description="`broken_off`: its service ended before it did; the same request goes on with it.")
    request: dict[str, Any] = Field(description="What was asked for, without values of rows.")
    progress: OperationProgress | None = Field(description="Of a reload that is at work.")
    outcome: dict[str, Any] | None = Field(description="What came of it, once it is `done`.")
    reason: str = Field(description="Why it `failed`; else empty.")
    actor: str
    began_at: str = Field(examples=["2026-01-02T03:04:05Z"])
    ended_at: str | None


BEGINS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.ACCEPTED.value: {
        "model": OperationAnswer,
        "description": "It takes longer than a request may; `Location` tells how it stands.",
        "headers": {"Location": {"description": "Of the operation.", "schema": {"type": "string"}}},
    },
    **ERRORS,
    **responses(
        HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.INSUFFICIENT_STORAGE,
        *json_bodies.ERRORS,
    ),
}  # fmt: skip


@router.get(
    "/admin/datasets/{name}/operations/{id}",
    summary="How a long request stands",
    response_model=OperationAnswer,
    responses=ERRORS,
)
def shown(name: DatasetName, id: OperationId, caller: UsesAdmin, service: UsesService) -> OperationAnswer:
    """Any service of the warehouse tells, for as long as the audit is kept."""
    service.dataset(caller, name)
    return answer_of(service, name, id)


async def begun(service: Service, name: str, running: RunningOperation, response: Response) -> OperationAnswer:
    """The answer of a route that has begun one: what came of it if that is soon, else 202 and where to ask.

    Raises:
        TimestoreError: it ended by that.
    """
    ended = await run_in_threadpool(running.wait, ANSWERED_SECONDS)
    if not ended:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = "5"
    response.headers["Location"] = f"/admin/datasets/{name}/operations/{running.id}"
    return await run_in_threadpool(answer_of, service, name, running.id)


def answer_of(service: Service, name: str, operation_id: str) -> OperationAnswer:
    """How an operation of a dataset stands; UnknownResourceError when there is none of that id."""
    _, record = service.warehouse.resolve(name)
    is_one = re.fullmatch(r"[0-9a-f]{32}", operation_id)
    found = service.warehouse.catalog.operations.find(record.id, operation_id) if is_one else None
    if found is None:
        raise UnknownResourceError(f"dataset {name!r} has no operation {operation_id[:64]!r}, or it is no longer kept")
    return OperationAnswer(
        id=found.id,
        dataset=name,
        kind=found.kind,
        state=found.state,
        request=dict(found.request),
        progress=_progress(service, name, found),
        outcome=None if found.outcome is None else dict(found.outcome),
        reason=found.reason,
        actor=found.actor,
        began_at=format_time(found.began_at),
        ended_at=None if found.ended_at is None else format_time(found.ended_at),
    )


def camel(value: Any) -> Any:
    """Plain values with the names of the wire."""
    if isinstance(value, dict):
        return {to_camel(key): camel(one) for key, one in value.items()}
    return [camel(one) for one in value] if isinstance(value, list) else value


def _progress(service: Service, name: str, found: Operation) -> OperationProgress | None:
    if found.state != "running" or found.kind != "reload":
        return None
    far = service.warehouse.reload_progress(name, found.request, since=found.began_at)
    return None if far is None else OperationProgress(done=far[0], of=far[1])

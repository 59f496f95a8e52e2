"""SELECTs with a name and parameters, shared by those who may read what they read."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request
from starlette.responses import Response

from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets.service import json_bodies
from timestore_assets.service.answers.answer_formats import Formulas, documented
from timestore_assets.service.answers.query_gate import in_turn
from timestore_assets.service.etags import NOT_MODIFIED, TAGGED, IfMatch, tagged, version_of
from timestore_assets.service.problems import PreconditionFailedError, responses
from timestore_assets.service.sql import saved_query_access
from timestore_assets.service.sql.saved_query_access import (
    EXAMPLE,
    RunBody,
    SavedQueryBody,
    SavedQueryFacts,
    SavedQueryList,
    facts_of,
)
from timestore_assets.service.sql.sql_route import SQL_ERRORS, SqlAnswer, sql_response
from timestore_assets.service.state import UsesCaller, UsesService
from timestore_assets.service.versions_given import meant_by

router = APIRouter(tags=["saved queries"])
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="The query's name.")]
NameOrId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}(~[0-9a-f]{12})?$", description="The query's name, or its id.")]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only when there is none of that name yet.", max_length=1000)]
_READING = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_CHANGING = (*_READING, HTTPStatus.PRECONDITION_FAILED)


@router.get(
    "/saved-queries",
    summary="Saved queries",
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
def listed(caller: UsesCaller, service: UsesService) -> SavedQueryList:
    """Those whose datasets you may all read, by name."""
    return SavedQueryList(queries=[facts_of(saved) for saved in saved_query_access.visible(service, caller)])


@router.get(
    "/saved-queries/{name}",
    summary="One saved query",
    response_model=SavedQueryFacts,
    responses={
        HTTPStatus.OK.value: {"headers": TAGGED},
        **NOT_MODIFIED,
        **responses(*_READING, HTTPStatus.NOT_FOUND),
    },
)
def one(name: NameOrId, request: Request, caller: UsesCaller, service: UsesService) -> Response:
    """Its SQL and parameters. The ETag works for PUT's and DELETE's `If-Match`."""
    saved = saved_query_access.existing(service, caller, name)
    return tagged(request, facts_of(saved), version=saved.version)


@router.put(
    "/saved-queries/{name}",
    summary="Save a query",
    openapi_extra=json_bodies.described(SavedQueryBody, EXAMPLE),
    response_model=SavedQueryFacts,
    responses={
        HTTPStatus.OK.value: {"headers": TAGGED},
        HTTPStatus.CREATED.value: {"model": SavedQueryFacts, "description": "It is new.", "headers": TAGGED},
        **responses(*_CHANGING, *json_bodies.ERRORS, HTTPStatus.TOO_MANY_REQUESTS),
    },
)
async def put(
    name: Name,
    request: Request,
    caller: UsesCaller,
    body: Annotated[SavedQueryBody, Depends(json_bodies.json_body(SavedQueryBody))],
    service: UsesService,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Save a SELECT under a name, or replace the one there. Its SQL is checked.

    It takes the right to read all of its datasets and the general write scope. `If-Match` changes only what was read before,
    `If-None-Match: *` only makes a new one.
    """
    saved_query_access.require_writer(caller)
    wanted = 0 if if_none_match == "*" else version_of(if_match)

    def save(began: Callable[[Cancellable], object]) -> SavedQuery:
        query = saved_query_access.checked(service, caller, name, body, began=began)
        if if_match is not None and saved_query_access.find(service, caller, name) is None:
            raise PreconditionFailedError(f"there is no saved query {name!r} to replace; leave If-Match out to make one")
        return service.warehouse.catalog.saved_queries.put(query, if_version=wanted)

    saved = await in_turn(request, service.gate, save, principal=caller.name)
    status = HTTPStatus.CREATED if saved.version == 1 else HTTPStatus.OK
    return tagged(request, facts_of(saved), version=saved.version, status=status)


@router.delete(
    "/saved-queries/{name}",
    summary="Remove a saved query",
    status_code=HTTPStatus.NO_CONTENT,
    responses=responses(*_CHANGING, HTTPStatus.NOT_FOUND),
)
def remove(name: NameOrId, caller: UsesCaller, service: UsesService, if_match: IfMatch = None) -> None:
    """It takes the same rights as saving it."""
    saved_query_access.require_writer(caller)
    saved = saved_query_access.existing(service, caller, name)
    service.warehouse.catalog.saved_queries.remove(saved.name, actor=caller.name, if_version=version_of(if_match))


@router.post(
    "/saved-queries/{name}/run",
    summary="Run a saved query",
    response_class=Response,
    openapi_extra=json_bodies.described(RunBody, {"parameters": {"since": "2024-01-01T00:00:00Z"}}),
    responses={
        **documented(SqlAnswer),
        **responses(*SQL_ERRORS, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    },
)
def run(
    name: NameOrId,
    request: Request,
    caller: UsesCaller,
    body: Annotated[RunBody, Depends(json_bodies.json_body(RunBody))],
    service: UsesService,
    formulas: Formulas = "keep",
) -> Response:
    """Its answer, as from `POST /sql`."""
    saved = saved_query_access.existing(service, caller, name)
    return sql_response(
        service,
        caller,
        saved.sql,
        parameters=saved_query_access.arguments(saved, body),
        as_of=meant_by(body.as_of),
        accept=request.headers.get("accept"),
        kind="saved_query",
        timeout=body.timeout_seconds,
        formulas=formulas,
    )

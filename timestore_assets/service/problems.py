"""Errors as HTTP answers: `application/problem+json` (RFC 9457) with one clear sentence, never a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from timestore_assets.model.errors import (
    CatalogReplacedError,
    ConflictError,
    DamagedError,
    DeclarationError,
    DroppedError,
    InputError,
    OwnershipError,
    RefusedError,
    StaleVersionError,
    StorageFullError,
    TimeLimitError,
    TimestoreError,
    UnavailableError,
    UnknownOutcomeError,
    UnreadableVersionError,
)
from timestore_assets.service.error_redaction import ErrorRedaction
from timestore_assets.service.service_log import Log

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong. Some kinds say more, in members of their own."""

    model_config = ConfigDict(extra="allow")

    status: int = Field(description="The HTTP status.", examples=[404])
    title: str = Field(description="Name of the status.", examples=["Not Found"])
    code: str = Field(description="Stable name of the kind of problem.", examples=["not_found"])
    detail: str = Field(description="One sentence: what, where and what to do.", examples=["there is no dataset 'wether' here"])


class ServiceError(TimestoreError):
    """An error that has a status of its own. Subclasses are raised by routes; `headers` go with the answer.

    `members`: what the problem says beside its usual members, plain JSON values.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal"

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, members: Mapping[str, Any] | None = None
    ) -> None:
        self.headers, self.members = dict(headers or {}), dict(members or {})
        super().__init__(detail)


class UnauthorizedError(ServiceError):
    status, code = HTTPStatus.UNAUTHORIZED, "unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="timestore"'})


class ForbiddenError(ServiceError):
    status, code = HTTPStatus.FORBIDDEN, "forbidden"


class UnknownResourceError(ServiceError):
    status, code = HTTPStatus.NOT_FOUND, "not_found"


class NotAcceptableError(ServiceError):
    status, code = HTTPStatus.NOT_ACCEPTABLE, "not_acceptable"


class GoneError(ServiceError):
    status, code = HTTPStatus.GONE, "gone"


def unreadable(error: UnreadableVersionError) -> TimestoreError:
    """What a request is told whose version can't be read: it is wrong, or it comes too late."""
    return InputError(str(error)) if error.never_was else GoneError(str(error))


class PreconditionFailedError(ServiceError):
    status, code = HTTPStatus.PRECONDITION_FAILED, "precondition_failed"


class ReusedKeyError(ServiceError):
    status, code = HTTPStatus.CONFLICT, "key_reused"


class TooLargeError(ServiceError):
    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"


class UnsupportedMediaError(ServiceError):
    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"


class TooWideError(ServiceError):
    """A question with too large an answer. `suggestion`: the bucket length that would do, as in a query's `downsample`."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "too_wide"

    def __init__(self, detail: str, *, suggestion: Mapping[str, Any] | None) -> None:
        super().__init__(detail, members={"suggestion": suggestion})


class TooManyRequestsError(ServiceError):
    """`retry_after`: seconds."""

    status, code = HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


_STATUSES: tuple[tuple[type[TimestoreError], HTTPStatus, str], ...] = (
    (DeclarationError, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_declaration"),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY, "bad_input"),
    (DroppedError, HTTPStatus.NOT_FOUND, "not_found"),
    (StaleVersionError, HTTPStatus.PRECONDITION_FAILED, "precondition_failed"),
    (ConflictError, HTTPStatus.CONFLICT, "conflict"),
    (TimeLimitError, HTTPStatus.UNPROCESSABLE_ENTITY, "time_limit"),
    # an operator has to act, and whoever sends records should keep them until then
    (OwnershipError, HTTPStatus.SERVICE_UNAVAILABLE, "wrong_warehouse"),
    (RefusedError, HTTPStatus.FORBIDDEN, "refused"),
    (DamagedError, HTTPStatus.INTERNAL_SERVER_ERROR, "damaged"),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE, "storage_full"),
    (CatalogReplacedError, HTTPStatus.SERVICE_UNAVAILABLE, "catalog_replaced"),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    (UnknownOutcomeError, HTTPStatus.SERVICE_UNAVAILABLE, "unknown_outcome"),
)


_NO_CATALOG = "the catalog can't be used at the moment; try again later"
_SENTENCES = {
    HTTPStatus.NOT_FOUND: "there is nothing at this address; /docs lists what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address takes other methods only, see the header Allow; /docs lists them",
}


def problem_of(error: TimestoreError) -> tuple[Problem, dict[str, str]]:
    """The answer to an error of this project, with its headers."""
    if isinstance(error, ServiceError):
        return _problem(error.status, error.code, str(error), **error.members), error.headers
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
            return _problem(status, code, str(error)), headers
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", str(error)), {}


def _problem(status: HTTPStatus, code: str, detail: str, **members: Any) -> Problem:
    return Problem(status=status.value, title=status.phrase, code=code, detail=detail, **members)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem.model_dump(), status_code=problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def told(error: TimestoreError, *, log: Log, redaction: ErrorRedaction) -> tuple[Problem, dict[str, str]]:
    """The same in words for callers; those that are ours to mend are written down whole."""
    problem, headers = problem_of(error)
    about_catalog = redaction.is_about_the_catalog(problem.detail)
    if about_catalog or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warn("request_refused", reason=problem.detail, error=type(error).__name__)
    if about_catalog and not isinstance(error, OwnershipError | CatalogReplacedError):
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _NO_CATALOG), {"Retry-After": "1"}
    return problem.model_copy(update={"detail": redaction.told(problem.detail)}), headers


def unexpected(request_id: str) -> Problem:
    """What is said of a failure that nobody foresaw."""
    detail = f"something unexpected went wrong here; the log of the service tells more under request {request_id}"
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


def refusal(error: TimestoreError, *, log: Log, redaction: ErrorRedaction) -> JSONResponse:
    """The answer to an error of this project, see `told`."""
    return answer(*told(error, log=log, redaction=redaction))


def add_to(app: FastAPI, refused: Callable[[TimestoreError], JSONResponse]) -> None:
    """Answer every error in the one form. `refused`: the answer to one of this project."""

    @app.exception_handler(TimestoreError)
    async def ours(_request: Request, error: TimestoreError) -> JSONResponse:
        return refused(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(_problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_input", _finding(error)))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        detail = _SENTENCES.get(status, str(error.detail)) if error.detail == status.phrase else str(error.detail)
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _allowed(request) or headers.get("Allow", "")
        return answer(_problem(status, status.name.lower(), detail), headers)


def _allowed(request: Request) -> str:
    """All methods of an address: the router names only those of the first route that has it."""
    template = getattr(request.scope.get("route"), "path_format", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(template, ())))


def _finding(error: RequestValidationError) -> str:
    """The first finding as a sentence; the input is not repeated, it may hold a secret."""
    findings = error.errors()
    first = findings[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}{more}"


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says about the errors it answers."""
    return {status.value: {"model": Problem, "description": status.phrase, "content": {MEDIA_TYPE: {}}} for status in statuses}

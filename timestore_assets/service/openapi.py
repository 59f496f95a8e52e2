"""The description of the HTTP interface: what FastAPI derives from the routes, and what is true of all of them.

`/docs` shows it to read and try, in Swagger UI as fastapi-offline ships it; no other host is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response

from timestore_assets import __version__
from timestore_assets.service.page import PageFiles
from timestore_assets.service.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

TITLE = "timestore"
SUMMARY = "A time-series warehouse over HTTP."
DESCRIPTION = """Send records, ask questions, look after datasets.

- Who asks: `Authorization: Bearer …`, with a token of `timestore tokens create` or a JSON Web Token. Until a token exists, the
  service takes requests from its own machine only, and lets them do everything.
- Errors are `application/problem+json` (RFC 9457) with a stable `code` and one sentence in `detail`.
- Every answer has an `X-Request-Id`, which is in the log of the service too; a `traceparent` is taken up.
- Times are RFC 3339; what has no zone is UTC.
"""
TAGS = (
    {"name": "ingest", "description": "Send records; an answer comes when they are durable."},
    {"name": "query", "description": "Ask a dataset, in JSON, JSON lines, CSV, Arrow or Parquet."},
    {"name": "sql", "description": "One read-only SELECT over the datasets that you may read."},
    {"name": "saved queries", "description": "SQL with a name and parameters."},
    {"name": "datasets", "description": "What there is to read."},
    {"name": "admin", "description": "Declare and look after datasets; for administrators."},
    {"name": "operations", "description": "Health, readiness and figures."},
)
OPEN_PATHS = frozenset({"/health", "/ready"})
"""What is answered whoever asks."""
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `timestore tokens create`, or a JSON Web Token where TIMESTORE_JWKS_URL is set.",
}
_OF_ALL = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document = get_openapi(
        title=TITLE,
        version=__version__,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[dict(tag) for tag in TAGS],
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.setdefault("Problem", Problem.model_json_schema(ref_template="#/components/schemas/{model}"))
    components["securitySchemes"] = {"bearer": BEARER}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, is_open=path in OPEN_PATHS)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    """Say of one operation what holds for all: who may call it, and the one form of errors."""
    answers = operation.setdefault("responses", {})
    operation["tags"] = list(dict.fromkeys(operation.get("tags", ())))  # a router within a router says it twice
    if not is_open:
        operation["security"] = [{"bearer": []}]
        for status in _OF_ALL:
            answers.setdefault(str(status.value), {"description": status.phrase, "content": {}})
    for status, answered in answers.items():
        if (json := answered.get("content", {}).pop("application/json", None)) is not None:
            # what comes first is what `/docs` asks for
            answered["content"] = {"application/json": json, **answered["content"]}
        if status.isdecimal() and int(status) >= HTTPStatus.BAD_REQUEST and _is_problem(answered):
            answered["description"] = HTTPStatus(int(status)).phrase
            answered["content"] = {MEDIA_TYPE: {"schema": _schema_of(answered)}}


def _is_problem(answered: dict[str, Any]) -> bool:
    """Not what a route answers in a form of its own, as `/ready` does."""
    schema = answered.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "#/Problem")).endswith(("Problem", "/HTTPValidationError"))


def _schema_of(answered: dict[str, Any]) -> dict[str, Any]:
    """The problem that is declared, which may have more members than the common one."""
    schema = answered.get("content", {}).get("application/json", {}).get("schema", _PROBLEM)
    return _PROBLEM if schema.get("$ref", "").endswith("/HTTPValidationError") else dict(schema)


_OURS: Final = Path(__file__).parent.parent / "web" / "api_docs"
_SHIPPED: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _page_paths() -> Iterator[Path]:
    import fastapi_offline

    yield from _OURS.iterdir()
    yield from (Path(fastapi_offline.__file__).parent / "static" / name for name in _SHIPPED)


FILES = PageFiles(_page_paths, headers=_PAGE_HEADERS)
router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def document(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def page(request: Request) -> Response:
    return FILES.sent("docs.html", request)


@router.get("/docs/{name}")
def asset(name: str, request: Request) -> Response:
    return FILES.sent(name, request)

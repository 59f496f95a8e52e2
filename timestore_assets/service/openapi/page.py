"""`/docs`: the OpenAPI document to read and try, as a page of this package; nothing is loaded from another host."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

router = APIRouter(include_in_schema=False)
_FOLDER: Final = files("timestore_assets.service.openapi") / "assets"
_TYPES: Final = {"docs.html": "text/html", "docs.css": "text/css", "docs.js": "text/javascript"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _asset(name: str) -> Response:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    return Response(text, media_type=f"{_TYPES[name]}; charset=utf-8", headers=_HEADERS)


@router.get("/openapi.json")
def document(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def page() -> Response:
    return _asset("docs.html")


@router.get("/docs/docs.css")
def style() -> Response:
    return _asset("docs.css")


@router.get("/docs/docs.js")
def script() -> Response:
    return _asset("docs.js")

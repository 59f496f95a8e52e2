"""The page at `/`: files of the package, sent as they are, under a policy that lets them talk to this service alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from timestore_assets.service.problems import NotFoundError

FOLDER = Path(__file__).parent / "pages"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from another host, nothing inline: a value that looks like HTML could do nothing even if it were taken for it.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter(tags=["page"], include_in_schema=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """The page itself. It holds no data and asks for it with the reader's own token."""
    return _sent(INDEX, request)


@router.api_route("/pages/{name}", methods=["GET", "HEAD"])
def asset(name: str, request: Request) -> Response:
    """A script, style sheet or picture of the page."""
    return _sent(name, request)


def _sent(name: str, request: Request) -> Response:
    file = _files().get(name)
    if file is None:
        raise NotFoundError("the page has no such file")
    headers = HEADERS | {"ETag": file.etag}
    if file.etag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """All files by name: what a request may name is looked up, and never a path."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        found[path.name] = _File(content=content, media_type=MEDIA_TYPES[path.suffix], etag=etag)
    return found

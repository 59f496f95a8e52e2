"""The page at `/`: files of the package, sent as they are, under a policy that lets them talk to this service alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from timestore_assets.service.problems import UnknownResourceError

FOLDER = Path(__file__).parent.parent / "web" / "page"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


class PageFiles:
    """Files that are sent as they are: all by name, so that what a request names is looked up and never a path.

    `paths`: gives the files. `root`: their names are their paths below it; only their last part without one.
    """

    def __init__(self, paths: Callable[[], Iterable[Path]], *, headers: Mapping[str, str], root: Path | None = None) -> None:
        self._paths, self._headers, self._root = paths, headers, root

    def sent(self, name: str, request: Request) -> Response:
        """The file of that name, or that it is still the one which the browser has.

        Raises:
            UnknownResourceError: there is none.
        """
        file = self._files.get(name)
        if file is None:
            raise UnknownResourceError("the page has no such file")
        headers = {**self._headers, "ETag": file.etag}
        if file.etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @cached_property
    def _files(self) -> dict[str, _File]:
        found = {}
        for path in sorted(self._paths()):
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(self._root).as_posix() if self._root else path.name
            found[name] = _File(content=content, media_type=MEDIA_TYPES[path.suffix], etag=etag)
        return found


def page_paths() -> Iterator[Path]:
    """All files of the page."""
    return (path for path in FOLDER.rglob("*") if path.is_file())


FILES = PageFiles(page_paths, headers=HEADERS, root=FOLDER)
router = APIRouter(tags=["page"], include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """The page itself. It holds no data and asks for it with the reader's own token."""
    return FILES.sent(INDEX, request)


@router.api_route("/pages/{name:path}", methods=["GET", "HEAD"])
def asset(name: str, request: Request) -> Response:
    """A script, style sheet or picture of the page."""
    return FILES.sent(name, request)

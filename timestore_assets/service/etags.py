"""ETags: what a representation's version was and what it said, so that readers can spare a transfer and writers a lost update.

A tag is `"<version>-<digest>"`. The digest tells readers (`If-None-Match`) whether anything changed, counters included. Writers
(`If-Match`) are only held to the version, which rises with every change that somebody made: rows that land don't disturb them.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel

from timestore_assets.service.problems import PreconditionFailedError

_TAG = re.compile(r'(?:W/)?"(\d{1,18})-[0-9a-f]{16}"')

IfMatch = Annotated[
    str | None,
    Header(description="Change only what is as it was under this ETag; 412 when somebody changed it since.", max_length=1000),
]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing changed since the ETag in If-None-Match."}}
TAGGED: dict[str, Any] = {"ETag": {"description": "Tag of this version.", "schema": {"type": "string"}}}
READ: dict[int | str, dict[str, Any]] = {200: {"headers": TAGGED}, **NOT_MODIFIED}
"""What OpenAPI says of a GET that answers by `tagged`."""


def tagged(request: Request, content: BaseModel, *, version: int, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """The content as JSON with its tag, or 304 when a GET names that tag in `If-None-Match`."""
    body = content.model_dump_json(by_alias=True).encode()
    tag = f'"{version}-{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    known = request.headers.get("if-none-match", "")
    if request.method == "GET" and (known.strip() == "*" or tag in re.findall(r'"[^"]*"', known)):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def version_of(if_match: str | None) -> int | None:
    """The version that `If-Match` allows a change of; None when any is fine (no header, or `*`).

    Raises:
        PreconditionFailedError: it names several tags, or one that this service doesn't give.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        raise PreconditionFailedError("If-Match holds no single ETag of this service; send the one that GET answered with")
    return int(found[1])

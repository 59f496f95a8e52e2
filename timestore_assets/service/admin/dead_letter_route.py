"""`GET /admin/datasets/{name}/deadletters`: records that did not land, with their original bytes and the reason."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from timestore_assets.catalog.records import DeadLetterKind
from timestore_assets.landing.dead_letters.dead_letter_reader import DeadLetter, DeadLetterKey, page_of_dead_letters
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_time
from timestore_assets.service.admin.dataset_routes import ONE_ERRORS
from timestore_assets.service.etags import tagged
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

MOST_BYTES = 16_000_000
"""Original bytes of a page, whatever its limit; the record that passes it is the last."""

_CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


class Bytes(Wire):
    """Bytes as text, or in base64 when they are no UTF-8; both null when there are none."""

    text: str | None = Field(examples=['{"at": "soon"}'])
    base64: str | None = Field(examples=[None])


class HeaderAnswer(Wire):
    """A header of a topic's record."""

    name: str
    value: Bytes


class DeadLetterAnswer(Wire):
    """A record that did not land. What topics have and files don't is null for files."""

    source: str = Field(description="File address or topic.", examples=["weather.csv"])
    kind: DeadLetterKind
    code: str = Field(examples=["bad_value"])
    column: str = Field(description="The column at fault; empty when no single one is.", examples=["temp"])
    reason: str
    position: int = Field(description="Where it begins in its source.")
    line: int = Field(description="Its line in a file; 0 when there are none.")
    recorded_at: str
    raw: Bytes
    is_prefix: bool = Field(description="Whether only the beginning of it was kept.")
    timestamp: str | None
    key: Bytes
    headers: list[HeaderAnswer]


class DeadLetterPage(Wire):
    """Those of the newest commit first, by position inside one."""

    dataset: str = Field(examples=["nyc_weather"])
    dead_letters: list[DeadLetterAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class DeadLetterChoice(Wire):
    """The query string that chooses dead letters."""

    code: str | None = Field(None, max_length=100, description="Only those refused for this reason.", examples=["bad_value"])
    limit: int = Field(100, ge=1, le=1000, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


@router.get(
    "/admin/datasets/{name}/deadletters",
    summary="Records that did not land",
    response_model=DeadLetterPage,
    responses=ONE_ERRORS,
)
def dead_letters(
    request: Request,
    name: DatasetName,
    choice: Annotated[DeadLetterChoice, Query()],
    caller: UsesAdmin,
    service: UsesService,
) -> Response:
    """Pages may be shorter than `limit` when records are long. What a replay has landed since is left out."""
    service.dataset(caller, name)
    warehouse = service.warehouse
    _, record = warehouse.resolve(name)
    found, after = page_of_dead_letters(
        warehouse.catalog,
        warehouse.storage,
        record.id,
        limit=choice.limit,
        most_bytes=MOST_BYTES,
        code=choice.code,
        after=_place(choice.cursor),
    )
    answer = DeadLetterPage(
        dataset=name,
        dead_letters=[_answer(letter) for letter in found],
        next_cursor=None if after is None else f"{after.file_id}-{after.row}",
    )
    return tagged(request, answer, version=0)


def _place(cursor: str | None) -> DeadLetterKey | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InputError("cursor: is none that this service gave; begin again without one")
    return DeadLetterKey(file_id=int(found[1]), row=int(found[2]))


def _answer(letter: DeadLetter) -> DeadLetterAnswer:
    plain: dict[str, Any] = {name: getattr(letter, name) for name in ("source", "kind", "code", "column", "reason")}
    return DeadLetterAnswer(
        **plain,
        position=letter.position,
        line=letter.line,
        recorded_at=format_time(letter.recorded_at),
        raw=_bytes(letter.raw),
        is_prefix=letter.is_prefix,
        timestamp=None if letter.timestamp is None else format_time(letter.timestamp),
        key=_bytes(letter.key),
        headers=[HeaderAnswer(name=name, value=_bytes(value)) for name, value in letter.headers],
    )


def _bytes(raw: bytes | None) -> Bytes:
    if raw is None:
        return Bytes(text=None, base64=None)
    try:
        return Bytes(text=raw.decode(), base64=None)
    except UnicodeDecodeError:
        return Bytes(text=None, base64=base64.b64encode(raw).decode("ascii"))

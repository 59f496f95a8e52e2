"""`GET /admin/audit`: who changed what, and when."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from timestore_assets.model.errors import InputError
from timestore_assets.service.admin.dataset_routes import ONE_ERRORS
from timestore_assets.service.etags import tagged
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()

_ROW_ID = 2**63 - 1


class AuditRow(Wire):
    """Something that was done."""

    id: int
    at: str = Field(examples=["2026-01-02T03:04:05Z"])
    dataset: str | None = Field(description="Null for what concerns none, such as tokens.", examples=["nyc_weather"])
    actor: str = Field(description="`token:NAME`, `jwt:SUBJECT`, `proxy:USER`, `local`, or a part of the project.")
    action: str = Field(examples=["retention_set"])
    manifest_version: int | None = Field(description="The version that it made.", examples=[None])
    details: dict[str, Any]


class AuditPage(Wire):
    """The newest first."""

    rows: list[AuditRow]
    next_cursor: str | None = Field(description="Send it as `cursor` for what is older; null at the end.", examples=[None])


class AuditChoice(Wire):
    """The query string that chooses rows."""

    dataset: str | None = Field(None, max_length=200, description="Only what was done to this one.", examples=["nyc_weather"])
    limit: int = Field(100, ge=1, le=1000, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


@router.get("/admin/audit", summary="Who changed what", response_model=AuditPage, responses={**ONE_ERRORS})
def audit(request: Request, choice: Annotated[AuditChoice, Query()], _caller: UsesAdmin, service: UsesService) -> Response:
    """Every commit that changed something has a row."""
    ids = None if choice.dataset is None else _dataset_ids(service, choice.dataset)
    found = service.warehouse.catalog.audit.newest(dataset_ids=ids, limit=choice.limit + 1, before=_before(choice.cursor))
    rows = [AuditRow(**row) for row in found[: choice.limit]]
    answer = AuditPage(rows=rows, next_cursor=str(rows[-1].id) if len(found) > len(rows) else None)
    return tagged(request, answer, version=0)


def _dataset_ids(service: Service, name: str) -> list[int]:
    """The ids of a dataset that is, or was, declared; those of that name that were dropped are among them."""
    found = service.warehouse.catalog.life.ids(name)
    if not found:
        raise UnknownResourceError(f"there is no dataset {name[:63]!r} in the catalog; GET /admin/datasets lists those declared")
    return found


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > _ROW_ID:
        raise InputError("cursor: is none that this service gave; begin again without one")
    return int(cursor)

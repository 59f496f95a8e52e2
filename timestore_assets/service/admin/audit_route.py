"""`GET /admin/audit`: who or what changed what, when and why."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from timestore_assets.catalog.audit import FAILURES, AuditFilter
from timestore_assets.model.errors import InputError
from timestore_assets.service.admin.dataset_routes import ONE_ERRORS
from timestore_assets.service.error_redaction import ErrorRedaction
from timestore_assets.service.etags import tagged
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError
from timestore_assets.service.query.query_body import Instant
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
    summary: str = Field(description="All of it in one sentence, for people.", examples=["retention set by token:ops"])


class AuditPage(Wire):
    """The newest first."""

    rows: list[AuditRow]
    next_cursor: str | None = Field(description="Send it as `cursor` for what is older; null at the end.", examples=[None])


class AuditChoice(Wire):
    """The query string that chooses rows."""

    dataset: str | None = Field(None, max_length=200, description="Only what was done to this one.", examples=["nyc_weather"])
    partition: str | None = Field(None, max_length=40, description="Only what names it.", examples=["2013-01-01"])
    ticket: str | None = Field(None, max_length=200, description="Only what was done for this ticket.", examples=["OPS-12"])
    action: list[Annotated[str, Field(max_length=60)]] = Field(
        [], max_length=20, description="Only one of these; may be given several times.", examples=[["built"]]
    )
    actor: str | None = Field(None, max_length=200, description="Only of those whose name begins so.", examples=["token:"])
    since: Instant | None = Field(None, description="Only from this time on: ISO 8601, `2013-01`, `-1d`, `today`.")
    until: Instant | None = Field(None, description="Only before this time.")
    limit: int = Field(100, ge=1, le=1000, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")

    def filter(self) -> AuditFilter:
        """What rows it chooses."""
        return AuditFilter(
            partition=self.partition,
            ticket=self.ticket,
            actions=tuple(self.action),
            actor=self.actor,
            since=self.since,
            until=self.until,
        )


@router.get("/admin/audit", summary="Who changed what", response_model=AuditPage, responses={**ONE_ERRORS})
def audit(request: Request, choice: Annotated[AuditChoice, Query()], _caller: UsesAdmin, service: UsesService) -> Response:
    """Every commit that changed something has a row."""
    _require(service, choice.dataset)
    before = _before(choice.cursor)
    found = service.warehouse.audit(choice.dataset, only=choice.filter(), limit=choice.limit + 1, before=before)
    redaction = ErrorRedaction.of(service.warehouse)
    rows = [AuditRow(**_told(row, redaction)) for row in found[: choice.limit]]
    answer = AuditPage(rows=rows, next_cursor=str(rows[-1].id) if len(found) > len(rows) else None)
    return tagged(request, answer, version=0)


def _told(row: dict[str, Any], redaction: ErrorRedaction) -> dict[str, Any]:
    """With the sentences of errors as they are told over HTTP."""
    if row["action"] not in FAILURES:
        return row
    details = {**row["details"], "reason": redaction.told(row["details"].get("reason", ""))}
    return {**row, "details": details, "summary": redaction.told(row["summary"])}


def _require(service: Service, name: str | None) -> None:
    """Those that were dropped count."""
    if name is not None and not service.warehouse.catalog.life.ids(name):
        raise UnknownResourceError(f"there is no dataset {name[:63]!r} in the catalog; GET /admin/datasets lists those declared")


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > _ROW_ID:
        raise InputError("cursor: is none that this service gave; begin again without one")
    return int(cursor)

"""`GET /datasets/{name}/schema/events`: each version of a dataset's schema with what made it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from timestore_assets.model.errors import InputError
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.schema_route import SchemaChangeAnswer
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["datasets"])

_LARGEST = 2**31


class DecidingRecord(Wire):
    """The record that made a change. Where it is, is for administrators."""

    column: str = Field(examples=["humidity"])
    sample: str | None = Field(
        description="The beginning of the value, 60 characters at most; null where its column's name says that it may be secret.",
        examples=["71.5"],
    )
    file: str | None = Field(None, examples=["inbox/nyc_weather/2024-01-02.csv"])
    line: int | None = Field(None, description="From 1, where the source has lines.", examples=[3])
    position: int | None = Field(None, description="In the file or session.", examples=[120])
    topic: str | None = Field(None, examples=[None])
    partition: int | None = Field(None, description="Of the topic.", examples=[None])
    offset: int | None = Field(None, description="In the topic's partition.", examples=[None])
    request: str | None = Field(None, description="Id of the request that brought it.", examples=[None])
    record: int | None = Field(None, description="Its place in the request, from 0.", examples=[None])


class SchemaCause(Wire):
    """What made a version."""

    kind: str = Field(
        description="`data`, `replay` (of dead letters), `declaration`, or what else people do, such as `migration`.",
        examples=["data"],
    )
    source_kind: str | None = Field(None, description="Of data.", examples=["files"])
    source: str | None = Field(None, description="Address of the source; for administrators.", examples=["inbox/nyc_weather/"])
    session: int | None = Field(None, description="The landing session; for administrators.", examples=[7])
    ticket: str | None = Field(None, description="Of a migration; for administrators.", examples=[None])
    records: list[DecidingRecord] = Field(description="The record that made each change; empty where no record did.")


class SchemaEvent(Wire):
    """A version of the schema; the first has no changes, it is what was declared."""

    version: int = Field(examples=[2])
    at: str = Field(examples=["2024-01-02T06:00:00Z"])
    actor: str | None = Field(description="Who brought it; for administrators.", examples=["command line"])
    manifest_version: int = Field(description="From which on it is in force.", examples=[12])
    changes: list[SchemaChangeAnswer]
    cause: SchemaCause


class SchemaEventsPage(Wire):
    """The newest first."""

    events: list[SchemaEvent]
    next_cursor: str | None = Field(description="Send it as `cursor` for what is older; null at the end.", examples=[None])


class EventsChoice(Wire):
    """The query string that chooses events."""

    limit: int = Field(100, ge=1, le=1000, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


@router.get(
    "/datasets/{name}/schema/events",
    summary="What made each version of a dataset's schema",
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def schema_events(
    name: DatasetName, choice: Annotated[EventsChoice, Query()], caller: UsesCaller, service: UsesService
) -> SchemaEventsPage:
    """Each version with its changes, who or what made it, and the record that did."""
    service.dataset(caller, name)
    _, record = service.warehouse.resolve(name)
    before = _before(choice.cursor)
    found = service.warehouse.catalog.datasets.schema_events(record.id, limit=choice.limit + 1, before=before)
    shown = found[: choice.limit]
    cursor = str(shown[-1]["version"]) if len(found) > len(shown) else None
    return SchemaEventsPage(events=[_event(plain, is_admin=caller.is_admin) for plain in shown], next_cursor=cursor)


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > _LARGEST:
        raise InputError("cursor: is none that this service gave; begin again without one")
    return int(cursor)


def _event(plain: Mapping[str, Any], *, is_admin: bool) -> SchemaEvent:
    known = SchemaChangeAnswer.model_fields
    return SchemaEvent(
        version=plain["version"],
        at=plain["at"],
        actor=plain["actor"] if is_admin else None,
        manifest_version=plain["manifest_version"],
        changes=[SchemaChangeAnswer(**{name: change.get(name) for name in known}) for change in plain["changes"]],
        cause=_cause(plain["cause"], is_admin=is_admin),
    )


def _cause(cause: Mapping[str, Any], *, is_admin: bool) -> SchemaCause:
    records = [
        DecidingRecord(column=column, sample=one.get("sample"), **(_chosen(DecidingRecord, one) if is_admin else {}))
        for column, one in dict(cause.get("columns", {})).items()
    ]
    private = _chosen(SchemaCause, cause) if is_admin else {}
    return SchemaCause(kind=cause["kind"], source_kind=cause.get("source_kind"), records=records, **private)


_ALWAYS = ("column", "sample", "kind", "source_kind", "records")


def _chosen(shape: type[Wire], values: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer has fields for beside those that everybody gets."""
    return {key: value for key, value in values.items() if key in shape.model_fields and key not in _ALWAYS}

"""`GET /datasets/{name}/schema`: a dataset's columns as they are stored, and how they came to be."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from timestore_assets.model.schema import schema_to_plain
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["datasets"])


class SchemaChangeAnswer(Wire):
    """What one version changed in one column."""

    kind: str = Field(examples=["column_added"])
    column: str = Field(examples=["humidity"])
    before: str | None = Field(
        description="Its type before, `required` of `nullability_relaxed`; null for a column that was not there.", examples=[None]
    )
    after: str | None = Field(description="Its type since, `nullable` of `nullability_relaxed`.", examples=["double"])


class SchemaVersionAnswer(Wire):
    """A version; the first has no changes, it is what was declared."""

    version: int = Field(examples=[2])
    since: str = Field(examples=["2024-01-01T00:00:00Z"])
    actor: str | None = Field(
        description="Who brought it; null for callers that are no administrators.", examples=["command line"]
    )
    columns: int = Field(description="How many columns it has.", examples=[4])
    changes: list[SchemaChangeAnswer]


class SchemaAnswer(Wire):
    """A dataset's schema."""

    dataset: str = Field(examples=["nyc_weather"])
    version: int = Field(examples=[2])
    columns: list[dict[str, Any]] = Field(
        description="Name, type and what else is declared (nullable, unit, description, checks); defaults are left out.",
        examples=[[{"name": "temp", "type": "double", "nullable": True, "unit": "degC", "checks": {"ge": -60}}]],
    )
    history: list[SchemaVersionAnswer] = Field(description="All versions, the newest first.")


@router.get(
    "/datasets/{name}/schema",
    summary="A dataset's schema and its history",
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def schema(name: DatasetName, caller: UsesCaller, service: UsesService) -> SchemaAnswer:
    """The columns as they are stored now, evolved ones included, and every version with what it changed."""
    service.dataset(caller, name)
    _, record = service.warehouse.resolve(name)
    history = service.warehouse.catalog.datasets.schema_history(record.id)
    return SchemaAnswer(
        dataset=name,
        version=record.schema.version,
        columns=schema_to_plain(record.schema),
        history=[_version(plain, names_actor=caller.is_admin) for plain in history],
    )


def _version(plain: dict[str, Any], *, names_actor: bool) -> SchemaVersionAnswer:
    known = SchemaChangeAnswer.model_fields
    return SchemaVersionAnswer(
        version=plain["version"],
        since=plain["created_at"],
        actor=plain["actor"] if names_actor else None,
        columns=len(plain["columns"]),
        changes=[SchemaChangeAnswer(**{name: change.get(name) for name in known}) for change in plain["changes"]],
    )

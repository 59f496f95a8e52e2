"""Saved queries as they go in and out."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.model.window import format_time
from timestore_assets.querying.checked_sql import MAX_TEXT
from timestore_assets.service.answers.facts import Shape
from timestore_assets.service.bodies import Plain
from timestore_assets.service.sql.parameters import Given, Kind, ParameterName

EXAMPLE: dict[str, Any] = {
    "sql": "SELECT station, max(temp) AS warmest FROM weather WHERE ts >= $since GROUP BY station",
    "description": "The warmest moment of each station",
    "parameters": {"since": {"type": "timestamp", "default": "2024-01-01T00:00:00Z"}},
}


class DeclaredParameter(Shape):
    """A parameter. `default`: taken when a run gives no value; without one it has to."""

    model_config = ConfigDict(extra="forbid")

    type: Kind = Field(examples=["timestamp"])
    default: Plain | None = Field(None, examples=["2024-01-01T00:00:00Z"])
    description: str = Field("", max_length=1_000)


class SavedQueryBody(Shape):
    """What is saved. The SQL uses exactly the parameters that are declared."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sql: str = Field(max_length=MAX_TEXT, examples=[EXAMPLE["sql"]])
    description: str = Field("", max_length=10_000)
    parameters: dict[ParameterName, DeclaredParameter] = Field({}, max_length=100)


class SavedQueryFacts(SavedQueryBody):
    """A saved query. `id`: names it where several of one name are visible."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(examples=["warmest~0f3a5b7c9d1e"])
    name: str = Field(examples=["warmest"])
    datasets: list[str] = Field(description="What it reads.", examples=[["weather"]])
    version: int = Field(examples=[1])
    updated_by: str = Field(examples=["ann"])
    updated_at: str | None = Field(examples=["2024-01-01T00:00:00Z"])


class SavedQueryList(Shape):
    queries: list[SavedQueryFacts]


class RunBody(Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"parameters": {"since": "2024-01-01T00:00:00Z"}}]})

    parameters: dict[ParameterName, Given] = Field({}, description="Values by name; a default stands in for what is left out.")
    timeout_seconds: float | None = Field(None, gt=0, allow_inf_nan=False)


def facts_of(saved: SavedQuery) -> SavedQueryFacts:
    return SavedQueryFacts(
        id=saved.name,
        name=name_of(saved.name),
        sql=saved.sql,
        description=saved.description,
        parameters={name: DeclaredParameter.model_validate(one) for name, one in saved.parameters.items()},
        datasets=list(saved.datasets),
        version=saved.version,
        updated_by=saved.actor,
        updated_at=None if saved.updated_at is None else format_time(saved.updated_at),
    )


def name_of(key: str) -> str:
    """The name that people gave, of the one it is stored under."""
    return key.partition("~")[0]

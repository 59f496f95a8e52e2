"""Saved queries as they go in and out, and which a caller may know of: those whose datasets it may all read.

A query is stored under its name and a digest of what it reads, so that a name says nothing about queries over other datasets:
who does not see them can use it as if they were not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.model.errors import ConflictError, InputError
from timestore_assets.model.window import format_time
from timestore_assets.querying.planning.syntax import MAX_TEXT
from timestore_assets.querying.sql.sandbox import check
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.answers.answer_facts import CamelCaseModel
from timestore_assets.service.json_bodies import Plain
from timestore_assets.service.problems import ForbiddenError, UnknownResourceError
from timestore_assets.service.sql.sql_parameters import Given, Kind, ParameterName, TypedValue, typed_value
from timestore_assets.service.sql.sql_route import readable
from timestore_assets.service.state import Service
from timestore_assets.service.versions_given import SqlVersions

EXAMPLE: dict[str, Any] = {
    "sql": "SELECT station, max(temp) AS warmest FROM weather WHERE ts >= $since GROUP BY station",
    "description": "The warmest moment of each station",
    "parameters": {"since": {"type": "timestamp", "default": "2024-01-01T00:00:00Z"}},
}


class DeclaredParameter(CamelCaseModel):
    """A parameter. `default`: taken when a run gives no value; without one it has to."""

    model_config = ConfigDict(extra="forbid")

    type: Kind = Field(examples=["timestamp"])
    default: Plain | None = Field(None, examples=["2024-01-01T00:00:00Z"])
    description: str = Field("", max_length=1_000)


class SavedQueryBody(CamelCaseModel):
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


class SavedQueryList(CamelCaseModel):
    queries: list[SavedQueryFacts]


class RunBody(CamelCaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"parameters": {"since": "2024-01-01T00:00:00Z"}}]})

    parameters: dict[ParameterName, Given] = Field(
        {}, max_length=1_000, description="Values by name; a default stands in for what is left out."
    )
    as_of: SqlVersions = None
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


_SAMPLES: Mapping[Kind, Any] = {
    "string": None,
    "int": 0,
    "double": 0.0,
    "bool": False,
    "timestamp": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
}


def visible(service: Service, caller: Caller) -> list[SavedQuery]:
    """By name."""
    datasets = service.visible(caller).keys()
    return [saved for saved in service.warehouse.catalog.saved_queries.listed() if datasets >= set(saved.datasets)]


def find(service: Service, caller: Caller, name: str) -> SavedQuery | None:
    """The query of that name or id, None when there is none that the caller may know of.

    Raises:
        ConflictError: there are several of that name.
    """
    found = [saved for saved in visible(service, caller) if name in (saved.name, name_of(saved.name))]
    if len(found) > 1:
        raise ConflictError(f"several queries are named {name!r}; use an id: {', '.join(saved.name for saved in found)}")
    return found[0] if found else None


def existing(service: Service, caller: Caller, name: str) -> SavedQuery:
    """The same; UnknownResourceError when there is none."""
    found = find(service, caller, name)
    if found is None:
        raise UnknownResourceError(f"there is no saved query {name[:80]!r} that you may use; GET /saved-queries lists those")
    return found


def require_writer(caller: Caller) -> None:
    """Saved queries are shared, so changing them takes more than reading.

    Raises:
        ForbiddenError: the caller holds neither the general write scope nor the admin's.
    """
    if not caller.is_admin and caller.known.write not in caller.scopes:
        raise ForbiddenError(f"changing saved queries needs the scope {caller.known.write!r}")


def checked(
    service: Service, caller: Caller, name: str, body: SavedQueryBody, *, began: Callable[[Cancellable], object] | None = None
) -> SavedQuery:
    """What is to be stored, new or in place of the one of that name, after its SQL was checked against its parameters.

    `began`: is given what stops the check.

    Raises:
        ForbiddenError: the caller may read nothing.
        InputError, RefusedError: the SQL could not be run by the caller, or a default is not of its type.
        ConflictError: the one of that name reads other datasets, so that others may see it than could see this one.
    """
    samples = {one: _sample(one, declared) for one, declared in body.parameters.items()}
    datasets = check(
        service.warehouse.querier,
        body.sql,
        readable(service, caller),
        parameters=samples,
        timeout=float(service.warehouse.settings.sql_timeout_seconds),
        began=began,
        room=service.workers.room,
    ).datasets
    if not datasets:
        raise InputError("body.sql: reads no dataset, so nothing says who may see it; a saved query has to read one")
    key, before = _key(name, datasets), find(service, caller, name)
    if before is not None and before.name != key:
        reads = ", ".join(before.datasets)
        raise ConflictError(f"saved query {name!r} reads {reads} and has to go on so; remove it first, or take another name")
    return SavedQuery(
        name=key,
        sql=body.sql,
        parameters={one: declared.model_dump(exclude_unset=True) for one, declared in body.parameters.items()},
        datasets=datasets,
        description=body.description,
        actor=caller.name,
    )


def arguments(saved: SavedQuery, body: RunBody) -> dict[str, Any]:
    """Values of all parameters for a run.

    Raises:
        InputError: one is missing, unknown or not of its type.
    """
    declared = facts_of(saved).parameters
    if unknown := sorted(body.parameters.keys() - declared.keys()):
        raise InputError(f"{name_of(saved.name)!r} has no parameter {unknown[0]!r}; it has {', '.join(declared) or 'none'}")
    return {name: _argument(name, one, body) for name, one in declared.items()}


def _argument(name: str, declared: DeclaredParameter, body: RunBody) -> Any:
    if name not in body.parameters and "default" not in declared.model_fields_set:
        raise InputError(f"the parameter {name!r} needs a value, a {declared.type}")
    given = body.parameters.get(name, declared.default)
    return typed_value(name, declared.type, given.value if isinstance(given, TypedValue) else given)


def _sample(name: str, declared: DeclaredParameter) -> Any:
    """A value of the parameter's type; its default is checked by the way."""
    default = typed_value(name, declared.type, declared.default)
    return typed_value(name, declared.type, _SAMPLES[declared.type]) if default is None else default


def _key(name: str, datasets: Sequence[str]) -> str:
    return f"{name}~{hashlib.sha256(' '.join(sorted(datasets)).encode()).hexdigest()[:12]}"

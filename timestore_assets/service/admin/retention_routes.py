"""`/admin/datasets/{name}/retention`: how long partitions are to be kept."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, field_validator

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_duration, parse_duration
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.policies import (
    CHANGE_ERRORS,
    ERRORS,
    PolicyAnswer,
    PolicyChange,
    changed_policy,
    set_here,
    shown_policy,
)
from timestore_assets.service.etags import READ, IfMatch, version_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()


class RetentionWish(Wire):
    """How long partitions are to be kept from now on."""

    max_age: str | None = Field(description="A duration such as 90d or 5y (a year has 365 days); null for ever.", examples=["5y"])

    @field_validator("max_age")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        try:
            if value is not None and not parse_duration(value):
                raise ValueError("is no time at all; write null to keep partitions for ever")
        except InputError as error:
            raise ValueError(str(error)) from None
        return value


class RetentionAnswer(PolicyAnswer):
    """How long partitions are to be kept."""

    declared: str | None = Field(description="What the declaration says; null for ever.", examples=["5y"])
    effective: str | None = Field(description="What counts: what was set here, else what is declared.", examples=["90d"])


@router.get(
    "/admin/datasets/{name}/retention",
    summary="How long partitions are kept",
    response_model=RetentionAnswer,
    responses={**ERRORS, **READ},
)
def shown(request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService) -> Response:
    """What is declared and what counts. Nothing is deleted yet: this version keeps the policy and does not act on it."""
    return shown_policy(request, service, caller, name, retention_of)


@router.put(
    "/admin/datasets/{name}/retention",
    summary="Set how long partitions are kept",
    response_model=RetentionAnswer,
    responses=CHANGE_ERRORS,
    openapi_extra=json_bodies.described(RetentionWish, {"maxAge": "5y"}),
)
async def changed(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RetentionWish, Depends(json_bodies.json_body(RetentionWish))],
    if_match: IfMatch = None,
) -> Response:
    """Stands in for what the declaration says, and is written to the audit log with what was before.

    Nothing is deleted yet: this version keeps the policy and does not act on it. `If-Match` may be left out; then the change is
    made whatever others did.
    """
    change = PolicyChange(kind="retention", value={"max_age": wish.max_age}, if_version=version_of(if_match))
    return await changed_policy(request, service, caller, name, change, retention_of)


def retention_of(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> RetentionAnswer:
    """The retention of a dataset, as declared and as set."""
    policy = catalog.policies.find(record.id, "retention")
    max_age = dataset.retention.max_age
    declared = None if max_age is None else format_duration(max_age)
    return RetentionAnswer(
        declared=declared,
        effective=policy.value["max_age"] if policy else declared,
        **set_here(policy),
    )

"""`/admin/storage-targets` and `/admin/datasets/{name}/storage-target`: where segments live."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.target import StorageTarget as ConfiguredTarget
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
from timestore_assets.service.etags import READ, IfMatch, tagged, version_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService
from timestore_assets.storage.target_settings import configured_targets, place_of

router = APIRouter()


class StorageTargetAnswer(Wire):
    """A place for segments."""

    name: str = Field(examples=[DEFAULT_TARGET])
    driver: str = Field(description="What kind of storage it is: local, s3, gcs or azure_blob.", examples=["s3"])
    place: str | None = Field(
        description="URI of its bucket and prefix; null for a folder of the service's machine.", examples=["s3://bucket/prefix"]
    )
    endpoint: str | None = Field(description="Of a compatible store; null for the provider's own.", examples=[None])
    datasets: int = Field(description="To how many datasets' new segments it is home.", examples=[2])


class StorageTargets(Wire):
    """Every place for segments that is set up."""

    targets: list[StorageTargetAnswer]


class StorageWish(Wire):
    """Where new segments are to go."""

    target: str = Field(max_length=200, description="Name of a storage target.", examples=[DEFAULT_TARGET])


class StorageAnswer(PolicyAnswer):
    """Where a dataset's segments go."""

    target: str = Field(examples=[DEFAULT_TARGET])


@router.get(
    "/admin/storage-targets",
    summary="Where segments can live",
    response_model=StorageTargets,
    responses={
        **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
        **READ,
    },
)
def targets(request: Request, _caller: UsesAdmin, service: UsesService) -> Response:
    """The targets of the service's settings; their credentials are not shown."""
    warehouse = service.warehouse
    chosen = {record.name: record.storage for record in warehouse.catalog.datasets.all()}
    used = Counter(chosen.get(name, dataset.storage) for name, dataset in warehouse.datasets.items())
    found = [_shown(target, used[name]) for name, target in configured_targets(warehouse.settings).items()]
    return tagged(request, StorageTargets(targets=found), version=0)


@router.get(
    "/admin/datasets/{name}/storage-target",
    summary="Where a dataset's segments live",
    response_model=StorageAnswer,
    responses={**ERRORS, **READ},
)
def shown(request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService) -> Response:
    """The target that new segments go to."""
    return shown_policy(request, service, caller, name, storage_of)


@router.put(
    "/admin/datasets/{name}/storage-target",
    summary="Set where a dataset's segments live",
    response_model=StorageAnswer,
    responses=CHANGE_ERRORS,
    openapi_extra=json_bodies.described(StorageWish, {"target": DEFAULT_TARGET}),
)
async def changed(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[StorageWish, Depends(json_bodies.json_body(StorageWish))],
    if_match: IfMatch = None,
) -> Response:
    """Only a target that is set up can be set. What is stored stays where it is: `timestore storage move` brings it along.

    Audited; `If-Match` may be left out.
    """
    change = PolicyChange(kind="storage_target", value={"target": wish.target}, if_version=version_of(if_match))
    service.dataset(caller, name)
    if wish.target not in service.warehouse.storage.names:
        raise InputError(f"body.target: there is no storage target {wish.target[:60]!r}; GET /admin/storage-targets lists them")
    return await changed_policy(request, service, caller, name, change, storage_of)


def _shown(target: ConfiguredTarget, datasets: int) -> StorageTargetAnswer:
    place = None if target.driver == "local" else place_of(target)
    return StorageTargetAnswer(name=target.name, driver=target.driver, place=place, endpoint=target.endpoint, datasets=datasets)


def storage_of(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> StorageAnswer:
    """Where a dataset's new segments go."""
    policy = catalog.policies.find(record.id, "storage_target")
    return StorageAnswer(
        target=policy.value["target"] if policy and policy.value else dataset.storage,
        **set_here(policy),
    )

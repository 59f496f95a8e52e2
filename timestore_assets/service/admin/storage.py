"""`/admin/storage-targets` and `/admin/datasets/{name}/storage-target`: where segments live."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_time
from timestore_assets.service import bodies
from timestore_assets.service.admin.retention import CHANGE_ERRORS, ERRORS
from timestore_assets.service.etags import READ, IfMatch, tagged, version_of
from timestore_assets.service.problems import responses
from timestore_assets.service.query.overview import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService
from timestore_assets.service.wire import Wire

router = APIRouter()

DEFAULT = "default"


class StorageTarget(Wire):
    """A place for segments."""

    name: str = Field(examples=[DEFAULT])
    driver: str = Field(description="What kind of storage it is.", examples=["local"])
    datasets: int = Field(description="How many datasets have their segments there.", examples=[2])


class StorageTargets(Wire):
    """Every place for segments that is set up."""

    targets: list[StorageTarget]


class StorageWish(Wire):
    """Where new segments are to go."""

    target: str = Field(max_length=200, description="Name of a storage target.", examples=[DEFAULT])


class StorageAnswer(Wire):
    """Where a dataset's segments go."""

    target: str = Field(examples=[DEFAULT])
    version: int = Field(description="Rises with every change made here; 0 when there was none.", examples=[0])
    set_by: str | None = Field(examples=[None])
    set_at: str | None = Field(examples=[None])


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
    """This version has one, the store of the settings."""
    driver = service.warehouse.settings.storage_driver
    used = Counter(dataset.storage for dataset in service.warehouse.datasets.values())
    answer = StorageTargets(targets=[StorageTarget(name=DEFAULT, driver=driver, datasets=used[DEFAULT])])
    return tagged(request, answer, version=0)


@router.get(
    "/admin/datasets/{name}/storage-target",
    summary="Where a dataset's segments live",
    response_model=StorageAnswer,
    responses={**ERRORS, **READ},
)
def shown(request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService) -> Response:
    """The target that new segments go to."""
    service.dataset(caller, name)
    answer = storage_of(service.warehouse.catalog, *service.warehouse.resolve(name))
    return tagged(request, answer, version=answer.version)


@router.put(
    "/admin/datasets/{name}/storage-target",
    summary="Set where a dataset's segments live",
    response_model=StorageAnswer,
    responses=CHANGE_ERRORS,
    openapi_extra=bodies.described(StorageWish, {"target": DEFAULT}),
)
async def changed(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[StorageWish, Depends(bodies.json_body(StorageWish))],
    if_match: IfMatch = None,
) -> Response:
    """Only a target that is there can be set, and this version has only `default`. Audited; `If-Match` may be left out."""
    wanted = version_of(if_match)
    service.dataset(caller, name)
    if wish.target != DEFAULT:
        raise InputError(f"body.target: there is no storage target {wish.target[:60]!r}; GET /admin/storage-targets lists them")

    def work() -> StorageAnswer:
        dataset, record = service.warehouse.resolve(name)
        catalog = service.warehouse.catalog
        catalog.policies.put(record.id, "storage_target", {"target": wish.target}, actor=caller.name, if_version=wanted)
        return storage_of(catalog, dataset, record)

    answer = await run_in_threadpool(work)
    return tagged(request, answer, version=answer.version)


def storage_of(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> StorageAnswer:
    """Where a dataset's new segments go."""
    policy = catalog.policies.find(record.id, "storage_target")
    return StorageAnswer(
        target=policy.value["target"] if policy else dataset.storage,
        version=policy.version if policy else 0,
        set_by=policy.actor if policy else None,
        set_at=format_time(policy.updated_at) if policy else None,
    )

"""`DELETE /admin/datasets/{name}`, `…/rename` and `…/retire`: what ends a dataset, or its name."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import ConflictError
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.dataset_routes import DatasetDetail, detail_of
from timestore_assets.service.etags import TAGGED, IfMatch, tagged, version_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
CHANGE_ERRORS = {200: {"headers": TAGGED}, **ERRORS, **responses(*json_bodies.ERRORS)}


class DroppedAnswer(Wire):
    """What went, counted just before."""

    dataset: str = Field(examples=["power"])
    rows: int = Field(description="Of live segments, unbuilt duplicates included.")
    bytes: int
    segments: int
    partitions: int
    dead_letters: int = Field(description="Records kept that did not land.")
    queries: list[str] = Field(description="Saved queries that read it, which fail from now on.")


class NewName(Wire):
    """What a dataset is to be called."""

    name: str = Field(description="As in a declaration.", max_length=200, examples=["power_of_meters"])


class Retirement(Wire):
    """Whether anything lands in a dataset."""

    retired: bool = Field(strict=True, description="True: nothing lands in it any more. False: it does again.", examples=[True])


@router.delete("/admin/datasets/{name}", summary="Drop a dataset", response_model=DroppedAnswer, responses=ERRORS)
def dropped(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    data: Annotated[bool, Query(description="Also one that a file declares, whose file stays.")] = False,
    if_match: IfMatch = None,
) -> DroppedAnswer:
    """Its declaration over HTTP goes, and its rows and dead letters: nobody sees them from now on, and the next `timestore gc`
    removes the files. Whatever lands or builds in it at the moment commits nothing any more; whoever reads it reads on.

    What a file declares is 409 without `data=true`. With it the file is ignored by every process until it is written again.
    Declared anew, over HTTP or in a file, it begins empty, and files that had landed land again.
    """
    service.dataset(caller, name)
    warehouse = service.warehouse
    if warehouse.declarations.is_in_file(name) and not data:
        raise ConflictError(f"dataset {name!r} is declared in a file: remove that, or send data=true to drop what it has")
    told = warehouse.belongings(name)
    warehouse.drop(name, actor=caller.name, if_version=version_of(if_match))
    return DroppedAnswer(dataset=name, **asdict(told))


@router.post(
    "/admin/datasets/{name}/rename",
    summary="Rename a dataset",
    response_model=DatasetDetail,
    responses=CHANGE_ERRORS,
    openapi_extra=json_bodies.described(NewName, {"name": "power_of_meters"}),
)
async def renamed(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[NewName, Depends(json_bodies.json_body(NewName))],
    if_match: IfMatch = None,
) -> Response:
    """Rows, checkpoints, dead letters and watched prefixes stay as they are. Saved queries that read it fail until they are
    changed, scopes stay, and so does a file: it counts under the new name until it is written again.
    """
    wanted = version_of(if_match)
    service.dataset(caller, name)

    def work() -> DatasetDetail:
        service.warehouse.rename(name, wish.name, actor=caller.name, if_version=wanted)
        return detail_of(service, wish.name)

    detail = await run_in_threadpool(work)
    return tagged(request, detail, version=detail.version)


@router.post(
    "/admin/datasets/{name}/retire",
    summary="Retire a dataset, or use it again",
    response_model=DatasetDetail,
    responses=CHANGE_ERRORS,
    openapi_extra=json_bodies.described(Retirement, {"retired": True}),
)
async def retired(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[Retirement, Depends(json_bodies.json_body(Retirement))],
) -> Response:
    """Nothing lands in a retired dataset, and its alerts are quiet. What it has can be read, built and dropped."""
    service.dataset(caller, name)

    def work() -> DatasetDetail:
        service.warehouse.retire(name, actor=caller.name, undo=not wish.retired)
        return detail_of(service, name)

    detail = await run_in_threadpool(work)
    return tagged(request, detail, version=detail.version)

"""`PUT /admin/datasets/{name}`: a dataset declared over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import Field, RootModel
from starlette.concurrency import run_in_threadpool

from timestore_assets.service import bodies
from timestore_assets.service.admin.datasets import DatasetDetail, detail_of
from timestore_assets.service.etags import TAGGED, IfMatch, tagged, version_of
from timestore_assets.service.problems import PreconditionFailedError, responses
from timestore_assets.service.query.overview import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

EXAMPLE = {
    "description": "Power of each meter",
    "columns": {"at": {"type": "timestamp"}, "meter": {"type": "string"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"http": {}}],
    "access": {"read": ["power:read"], "write": ["power:write"]},
}
IfNoneMatch = Annotated[
    str | None, Header(description="`*`: only when it was not declared over HTTP before; else 412.", max_length=1000)
]


class Attributes(RootModel[dict[str, Any]]):
    """What stands below `attributes:` in a `defs.yaml`, as JSON; `name` may be left out. See the reference of datasets."""

    root: dict[str, Any] = Field(examples=[EXAMPLE])


@router.put(
    "/admin/datasets/{name}",
    summary="Declare a dataset",
    response_model=DatasetDetail,
    responses={
        HTTPStatus.OK.value: {"headers": TAGGED},
        HTTPStatus.CREATED.value: {
            "model": DatasetDetail,
            "description": "It was declared for the first time.",
            "headers": TAGGED,
        },
        **responses(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.CONFLICT,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.SERVICE_UNAVAILABLE,
            *bodies.ERRORS,
        ),
    },
    openapi_extra=bodies.described(Attributes, EXAMPLE),
)
async def declare(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    attributes: Annotated[Attributes, Depends(bodies.json_body(Attributes))],
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The same keys and checks as in a `defs.yaml`, whole each time: what is left out goes back to its default.

    It is usable here at once, by other processes of the service within two seconds, and becomes an asset when Dagster next loads
    its definitions. Rows that are there already must allow the change; otherwise nothing of it is kept and 403 says why. A name
    that a file declares is 409. Over HTTP, files are watched below `inbox/` only, and neither a pandera model nor brokers of
    one's own can be named.
    """
    wanted = _version(if_match, if_none_match)

    def work() -> tuple[DatasetDetail, bool]:
        stored = service.warehouse.declare(name, attributes.root, actor=caller.name, if_version=wanted)
        return detail_of(service, name), stored.version == 1

    detail, is_new = await run_in_threadpool(work)
    return tagged(request, detail, version=detail.version, status=HTTPStatus.CREATED if is_new else HTTPStatus.OK)


def _version(if_match: str | None, if_none_match: str | None) -> int | None:
    if if_none_match is None:
        return version_of(if_match)
    if if_none_match.strip() != "*":
        raise PreconditionFailedError("If-None-Match can only be * here; to change what is there send If-Match")
    return 0

"""`POST /admin/datasets/{name}/deadletters/replay`: try refused records again, after the declaration was mended."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.landing.dead_letters.replay import ReplayReport, Selection
from timestore_assets.service import json_bodies
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

MOST_FILES = 1_000


class ReplayWish(Wire):
    """Which dead letters to try."""

    code: str | None = Field(None, max_length=100, description="Only those refused for this reason.", examples=["bad_value"])
    kind: Literal["refused", "late_dropped", "held", "all"] = Field(
        "refused", description="Late ones are tried only when this names them: to replay them is to accept them."
    )
    files: int = Field(100, ge=1, le=MOST_FILES, description="Dead-letter files to try at most, the oldest first.")


class ReplayAnswer(Wire):
    """What one replay did: records = landed + refused, as far as others had not replayed them."""

    dataset: str = Field(examples=["nyc_weather"])
    manifest_version: int
    files: int = Field(description="Dead-letter files that were tried.", examples=[1])
    records: int = Field(description="Dead letters that were tried.", examples=[3])
    landed: int = Field(examples=[2])
    refused: int = Field(description="Those that are dead letters still.", examples=[1])
    reasons: dict[str, int] = Field(description="Why they are, by code.", examples=[{"bad_value": 1}])
    problems: dict[str, int] = Field(description="Why whole files could not be tried, with their number.", examples=[{}])


@router.post(
    "/admin/datasets/{name}/deadletters/replay",
    summary="Try dead letters again",
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.INSUFFICIENT_STORAGE,
        *json_bodies.ERRORS,
    ),
    openapi_extra=json_bodies.described(ReplayWish, {"code": "bad_value"}),
)
async def replay(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[ReplayWish, Depends(json_bodies.json_body(ReplayWish))],
) -> ReplayAnswer:
    """Judged by the declaration as it is now; what fits lands, each record once, the rest stays with its original bytes.

    It may be asked again at any time, also after it broke off. Under `order: strict` each is judged at the place it came at.
    """
    service.dataset(caller, name)
    selection = Selection(code=wish.code, kind=None if wish.kind == "all" else wish.kind, files=wish.files)
    report = await run_in_threadpool(lambda: service.warehouse.replay(name, selection, actor=caller.name))
    return answer_of(report)


def answer_of(report: ReplayReport) -> ReplayAnswer:
    """A replay's report in its HTTP form."""
    return ReplayAnswer(
        dataset=report.dataset,
        manifest_version=report.manifest_version,
        files=report.files,
        records=report.records,
        landed=report.landed,
        refused=report.refused,
        reasons=report.reasons,
        problems=report.problems,
    )

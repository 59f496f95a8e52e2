"""`GET /health` and `GET /ready`, for whoever starts, watches and balances services."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.part import PartState
from timestore_assets.service.observing.readiness import Findings
from timestore_assets.service.state import UsesService, operator_of

router = APIRouter(tags=["operations"])
_SHAPE = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Health(BaseModel):
    """The process lives and answers."""

    status: Literal["alive"] = "alive"


class PartReadiness(BaseModel):
    model_config = _SHAPE

    name: str = Field(description="`catalog`, `storage`, `ingest` or `hot_buffer`.", examples=["catalog"])
    state: PartState = Field(description="`warning`: it works, but not at its best.", examples=["ready"])
    reason: str = Field(description="What is the matter and what to do; empty when it is ready.", examples=[""])


class Readiness(BaseModel):
    model_config = _SHAPE

    status: Literal["ready", "not_ready"] = Field(description="Whether requests should be sent here.")
    parts: list[PartReadiness] | None = Field(None, description="Part by part; for administrators only, else null.")


@router.get("/health", summary="Whether the process lives", description="Always 200 while it does; asks nobody else.")
async def health() -> Health:
    return Health()


@router.get(
    "/ready",
    summary="Whether the service can do its work",
    description="503 while the catalog, the store or ingest can't work. Anybody gets the status; administrators get the reasons.",
    response_model=Readiness,
    responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": Readiness, "description": "Send requests elsewhere for now."}},
)
async def ready(request: Request, service: UsesService) -> JSONResponse:
    findings = await run_in_threadpool(service.readiness.look)
    status = HTTPStatus.OK if findings.ready else HTTPStatus.SERVICE_UNAVAILABLE
    shown = _shown(findings, reasons=await _may_know(request))
    return JSONResponse(shown.model_dump(by_alias=True), status_code=status)


def _shown(findings: Findings, *, reasons: bool) -> Readiness:
    parts = [PartReadiness(name=one.name, state=one.state, reason=one.reason) for one in findings.parts]
    return Readiness(status="ready" if findings.ready else "not_ready", parts=parts if reasons else None)


async def _may_know(request: Request) -> bool:
    try:
        return (await operator_of(request)).is_admin
    except TimestoreError:  # nobody we know, or the catalog can't say
        return False

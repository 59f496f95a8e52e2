"""`GET /health`, `GET /ready` and `GET /metrics`, for whoever starts, watches and balances services."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.readiness import Findings, PartState
from timestore_assets.service.problems import ForbiddenError, responses
from timestore_assets.service.state import UsesOperator, UsesService, operator_of

SCOPE: Final = "timestore:metrics"
"""What a scraper's token needs; figures name every dataset, so a tenant's scopes don't do."""

router = APIRouter(tags=["operations"])
_METRICS = """# HELP timestore_records_read_total Records read from a source.
# TYPE timestore_records_read_total counter
timestore_records_read_total{dataset="weather",source="http:http"} 120000.0
"""
_SHAPE = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Health(BaseModel):
    """The process lives and answers."""

    status: Literal["alive"] = "alive"


class PartReadiness(BaseModel):
    model_config = _SHAPE

    name: str = Field(
        description="`catalog`, `storage`, `ingest`, `hot_buffer`; `declarations` while a file of them is wrong.",
        examples=["catalog"],
    )
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


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    description=f"What the service counts, in Prometheus' text format. Needs the scope `{SCOPE}` or that of administrators.",
    response_class=PlainTextResponse,
    responses={
        HTTPStatus.OK.value: {"content": {"text/plain": {"example": _METRICS}}, "description": "The figures."},
        **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    },
)
def metrics(service: UsesService, caller: UsesOperator) -> Response:
    if not (caller.is_admin or SCOPE in caller.scopes):
        raise ForbiddenError(f"this needs the scope {SCOPE!r} or {caller.known.admin!r}")
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _shown(findings: Findings, *, reasons: bool) -> Readiness:
    parts = [PartReadiness(name=one.name, state=one.state, reason=one.reason) for one in findings.parts]
    return Readiness(status="ready" if findings.ready else "not_ready", parts=parts if reasons else None)


async def _may_know(request: Request) -> bool:
    try:
        return (await operator_of(request)).is_admin
    except TimestoreError:  # nobody we know, or the catalog can't say
        return False

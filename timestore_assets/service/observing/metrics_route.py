"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from timestore_assets.service.problems import ForbiddenError, responses
from timestore_assets.service.state import UsesOperator, UsesService

SCOPE: Final = "timestore:metrics"
"""What a scraper's token needs; figures name every dataset, so a tenant's scopes don't do."""

router = APIRouter(tags=["operations"])
EXAMPLE = """# HELP timestore_records_read_total Records read from a source.
# TYPE timestore_records_read_total counter
timestore_records_read_total{dataset="weather",source="http:http"} 120000.0
"""


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    description=f"What the service counts, in Prometheus' text format. Needs the scope `{SCOPE}` or that of administrators.",
    response_class=PlainTextResponse,
    responses={
        HTTPStatus.OK.value: {"content": {"text/plain": {"example": EXAMPLE}}, "description": "The figures."},
        **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
    },
)
def metrics(service: UsesService, caller: UsesOperator) -> Response:
    if not (caller.is_admin or SCOPE in caller.scopes):
        raise ForbiddenError(f"this needs the scope {SCOPE!r} or {caller.known.admin!r}")
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

"""`POST /sql`: one read-only SELECT in which each dataset that the caller may read is a view."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from timestore_assets.querying.checked_sql import MAX_TEXT
from timestore_assets.service import bodies
from timestore_assets.service.answers.facts import Shape, SqlFacts
from timestore_assets.service.answers.formats import documented
from timestore_assets.service.problems import responses
from timestore_assets.service.sql.answer import sql_response
from timestore_assets.service.sql.parameters import Given, ParameterName, values_of
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["sql"])
SQL_ERRORS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_ACCEPTABLE,
    *bodies.ERRORS,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


EXAMPLE = {
    "sql": "SELECT station, max(temp) AS warmest FROM weather WHERE ts >= $since GROUP BY station",
    "parameters": {"since": {"type": "timestamp", "value": "2024-01-01T00:00:00Z"}},
}


class SqlBody(Shape):
    model_config = ConfigDict(extra="forbid")

    sql: str = Field(max_length=MAX_TEXT, description="One SELECT.", examples=["SELECT 1 AS one"])
    parameters: dict[ParameterName, Given] = Field({}, description="Values of what the text writes as `$name`.")
    timeout_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="How long it may compute; at most TIMESTORE_SQL_TIMEOUT_SECONDS."
    )


class SqlAnswer(SqlFacts):
    """The answer as JSON, written as it is computed; values as in a query's."""

    rows: list[dict[str, Any]] = Field(examples=[[{"one": 1}]])


@router.post(
    "/sql",
    summary="Ask in SQL",
    response_class=Response,
    openapi_extra=bodies.described(SqlBody, EXAMPLE),
    responses={
        **documented(SqlAnswer, "The answer, in the format that `Accept` asks for."),
        **responses(*SQL_ERRORS),
    },
)
def sql(
    request: Request,
    caller: UsesCaller,
    body: Annotated[SqlBody, Depends(bodies.json_body(SqlBody))],
    service: UsesService,
) -> Response:
    """DuckDB's SQL, as far as it reads datasets: no files, settings or system tables, within limits of time and memory.

    It is cancelled when the client goes. Each dataset is read at its newest manifest version, without rows that have not landed.
    """
    return sql_response(
        service,
        service.visible(caller),
        body.sql,
        parameters=values_of(body.parameters),
        accept=request.headers.get("accept"),
        kind="sql",
        timeout=body.timeout_seconds,
    )

"""`POST /sql`: one read-only SELECT over exactly the datasets that the caller may read, each of them a view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.as_of import AsOfEach
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import UnreadableVersionError
from timestore_assets.querying.planning.syntax import MAX_TEXT
from timestore_assets.querying.sql.datasets_as_of import DatasetsAsOf
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.service import json_bodies
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.answers.answer_facts import CamelCaseModel, SqlFacts, columns_of
from timestore_assets.service.answers.answer_formats import Formulas, chosen, documented
from timestore_assets.service.answers.computation import Answered, AnswerResponse, Computation, Interruption
from timestore_assets.service.problems import ForbiddenError, responses, unreadable
from timestore_assets.service.sql.sql_parameters import Given, ParameterName, values_of
from timestore_assets.service.state import Service, UsesCaller, UsesService
from timestore_assets.service.versions_given import SqlVersions, meant_by
from timestore_assets.warehouse import Warehouse


class ReadableDatasets(Mapping[str, "tuple[Dataset, DatasetRecord]"]):
    """These datasets by name, with their catalog records, which are read when they are asked for."""

    def __init__(self, warehouse: Warehouse, datasets: Mapping[str, Dataset]) -> None:
        self._warehouse, self._datasets = warehouse, datasets

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        if name not in self._datasets:
            raise KeyError(name)
        return self._warehouse.resolve(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


def readable(service: Service, caller: Caller) -> ReadableDatasets:
    """What a caller may read.

    Raises:
        ForbiddenError: it is nothing, so that there is no reason to look at any SQL of this caller.
    """
    datasets = service.visible(caller)
    if not datasets and not caller.is_admin:
        raise ForbiddenError("your scopes open no dataset, so there is nothing that SQL could read")
    return ReadableDatasets(service.warehouse, datasets)


def sql_response(
    service: Service,
    caller: Caller,
    text: str,
    *,
    parameters: Mapping[str, Any],
    as_of: AsOfEach | None,
    accept: str | None,
    kind: str,
    timeout: float | None = None,
    formulas: Formulas = "keep",
) -> AnswerResponse:
    """The answer to a SELECT over what the caller may read.

    Args:
        as_of: which versions are read, None for the newest.
        kind: as the metrics call it.
        timeout: seconds that it may take, at most and by default those of the settings.

    Raises:
        ForbiddenError: as `readable`.
    """
    seconds = seconds_for(service, timeout)
    ask = asking(service, caller, text, parameters=parameters, as_of=as_of, seconds=seconds)
    done = partial(service.metrics.observe_query, dataset="", kind=kind)
    computation = Computation(ask, chosen(accept), seconds=seconds, done=done, formulas=formulas)
    return AnswerResponse(computation, service.gate, principal=caller.name)


def seconds_for(service: Service, timeout: float | None) -> float:
    """How long a statement may compute: what was asked for, at most and by default what the settings say."""
    most = float(service.warehouse.settings.sql_timeout_seconds)
    return most if timeout is None else min(timeout, most)


def asking(
    service: Service, caller: Caller, text: str, *, parameters: Mapping[str, Any], as_of: AsOfEach | None, seconds: float
) -> Callable[[Interruption], Answered]:
    """What asks a SELECT over what the caller may read; ForbiddenError as `readable`."""
    readable_ones = readable(service, caller)

    def ask(stop: Interruption) -> Answered:
        # versions are decided when it is its turn: what a tag stands for may change while it waits
        datasets = DatasetsAsOf(service.warehouse.querier, readable_ones, as_of)
        try:
            answer = run_sql(
                service.warehouse.querier,
                text,
                datasets,
                parameters=parameters,
                timeout=seconds,
                began=stop.watch,
                room=service.workers.room,
                answers=service.warehouse.answers,
            )
        except UnreadableVersionError as error:
            raise unreadable(error) from None
        if answer.cached:
            service.metrics.observe_kept_answer()
        facts = SqlFacts(
            manifest_versions=answer.manifest_versions,
            scanned=answer.scanned,
            pruned=answer.pruned,
            warnings=list(answer.warnings),
            columns=columns_of(answer.schema),
            cached=answer.cached,
        )
        return Answered(facts=facts, schema=answer.schema, batches=answer.batches(), close=answer.close)

    return ask


router = APIRouter(tags=["sql"])
SQL_ERRORS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.GONE,
    *json_bodies.ERRORS,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


EXAMPLE = {
    "sql": "SELECT station, max(temp) AS warmest FROM weather WHERE ts >= $since GROUP BY station",
    "parameters": {"since": {"type": "timestamp", "value": "2024-01-01T00:00:00Z"}},
}


class SqlBody(CamelCaseModel):
    model_config = ConfigDict(extra="forbid")

    sql: str = Field(
        max_length=MAX_TEXT, description="SELECT, DESCRIBE, SUMMARIZE, EXPLAIN, SHOW TABLES.", examples=["SELECT 1 AS one"]
    )
    parameters: dict[ParameterName, Given] = Field({}, max_length=1_000, description="Values of what the text writes as `$name`.")
    as_of: SqlVersions = None
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
    openapi_extra=json_bodies.described(SqlBody, EXAMPLE),
    responses={
        **documented(SqlAnswer),
        **responses(*SQL_ERRORS),
    },
)
async def sql(
    request: Request,
    caller: UsesCaller,
    body: Annotated[SqlBody, Depends(json_bodies.json_body(SqlBody))],
    service: UsesService,
    formulas: Formulas = "keep",
) -> Response:
    """DuckDB's SQL, as far as it reads datasets: no files, settings or system tables, within limits of time and memory.

    It is cancelled when the client goes. Each dataset is read at its newest manifest version, or at the one that `asOf` means,
    without rows that have not landed.
    """
    return sql_response(
        service,
        caller,
        body.sql,
        parameters=values_of(body.parameters),
        as_of=meant_by(body.as_of),
        accept=request.headers.get("accept"),
        kind="sql",
        timeout=body.timeout_seconds,
        formulas=formulas,
    )

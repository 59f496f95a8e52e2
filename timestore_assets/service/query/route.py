"""Asking a dataset over HTTP: `POST /datasets/{name}/query`, and what there is to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.completeness import UNKNOWN, Completeness, completeness
from timestore_assets.querying.names import find_column, unique
from timestore_assets.querying.question import Question
from timestore_assets.querying.streaming import Streaming
from timestore_assets.service import bodies
from timestore_assets.service.answers.computation import Answered, Computation, Interruption
from timestore_assets.service.answers.facts import QueryFacts, columns_of, completeness_facts, streaming_facts
from timestore_assets.service.answers.formats import chosen, documented
from timestore_assets.service.answers.response import AnswerResponse
from timestore_assets.service.problems import GoneError, responses
from timestore_assets.service.query import datasets
from timestore_assets.service.query.models import EXAMPLES, QueryAnswer, QueryBody
from timestore_assets.service.query.pages import Place, cursor_of, digest_of, page_question, place_of, read_page
from timestore_assets.service.query.question import question_of
from timestore_assets.service.query.width import Limits, check_width
from timestore_assets.service.state import Service, UsesCaller, UsesService

router = APIRouter(tags=["query"])
router.include_router(datasets.router)


@router.post(
    "/datasets/{name}/query",
    summary="Ask a dataset",
    response_class=Response,
    openapi_extra=bodies.described(QueryBody, EXAMPLES[0]),
    responses={
        **documented(QueryAnswer, "The answer, in the format that `Accept` asks for."),
        **responses(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.NOT_ACCEPTABLE,
            HTTPStatus.GONE,
            *bodies.ERRORS,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
)
def query(
    name: str,
    request: Request,
    caller: UsesCaller,
    body: Annotated[QueryBody, Depends(bodies.json_body(QueryBody))],
    service: UsesService,
) -> Response:
    """Rows in order of time, or figures of buckets of time, with filters on typed columns.

    The answer says which manifest version it is of, how far the dataset is complete, what was read, and what was merged in
    before it landed. JSON has that in the object around the rows; the other formats have it in `X-Timestore-…` headers.
    """
    dataset = service.dataset(caller, name)
    asking = _Asking(service=service, dataset=dataset, body=body)
    computation = Computation(
        asking.ask,
        chosen(request.headers.get("accept")),
        seconds=service.warehouse.settings.sql_timeout_seconds,
        done=partial(_done, service, name),
    )
    return AnswerResponse(computation, service.gate)


_NOT_MERGED = Streaming(buffer_state="off", merged_rows=0, watermark=None, fresh=False)


def _done(service: Service, name: str, seconds: float, rows: int) -> None:
    service.metrics.observe_query(dataset=name, kind="query", seconds=seconds, rows=rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asking:
    """One request's question."""

    service: Service
    dataset: Dataset
    body: QueryBody

    def ask(self, stop: Interruption) -> Answered:
        """Check the question, ask it, and say what there is to say about the answer."""
        warehouse, body = self.service.warehouse, self.body
        _, record = warehouse.resolve(self.dataset.name)
        question = question_of(body, record.schema, dataset=self.dataset.name)
        place = self._place()
        # before the version is pinned: what is said about now then holds for the answer
        known = UNKNOWN if place or question.as_of is not None else completeness(warehouse.catalog, record.id)
        if place is None:
            limits = Limits(rows=warehouse.settings.query_max_rows, buckets=warehouse.settings.query_max_buckets)
            landed = self._asks(stop, fresh=False)
            with stop.clock.running():
                check_width(landed, warehouse.catalog, record, question, limits, paged=body.page_size is not None)
        if body.page_size is None:
            answer = self._asks(stop, fresh=True)(question)
            facts, more = self._facts(answer, known), {"nextCursor": None}
            return Answered(facts=facts, schema=answer.schema, batches=answer.batches(), close=answer.close, more=more)
        return self._page(record, question, place, body.page_size, stop, known)

    def _page(
        self,
        record: DatasetRecord,
        question: Question,
        place: Place | None,
        size: int,
        stop: Interruption,
        known: Completeness,
    ) -> Answered:
        if question.columns is not None:
            names = unique(find_column(record.schema, one, dataset=self.dataset.name).name for one in question.columns)
            question = replace(question, columns=names)
        asked = page_question(question, place, size=size, time=self.dataset.time)
        with self._asks(stop, fresh=False)(asked) as answer, stop.clock.running():
            begin = place or Place(digest=self._digest(), version=answer.manifest_version or 0, time=None, skip=0, given=0)
            time = None if question.aggregates else self.dataset.time
            shown = None if question.columns is None else len(question.columns)
            page = read_page(answer, begin, size=size, time=time, shown=shown)
            facts = self._facts(answer, known, page.schema)
        more = {"nextCursor": cursor_of(page.next) if page.next else None}
        return Answered(facts=facts, schema=page.schema, batches=iter(page.batches), close=answer.close, more=more)

    def _place(self) -> Place | None:
        return None if self.body.cursor is None else place_of(self.body.cursor, digest=self._digest())

    def _digest(self) -> str:
        asked = self.body.model_dump_json(exclude={"cursor", "page_size"})
        return digest_of(f"{self.dataset.name} {asked}")

    def _asks(self, stop: Interruption, *, fresh: bool) -> Callable[[Question], Answer]:
        """What answers questions. `fresh`: with the rows that have not landed yet."""

        def ask(question: Question) -> Answer:
            try:
                return stop.watch(self.service.warehouse.ask(question, hot=self.service.hot if fresh else None))
            except RefusedError as error:
                if question.as_of is None:
                    raise
                _, record = self.service.warehouse.resolve(question.dataset)
                raise (InputError if question.as_of > record.manifest_version else GoneError)(str(error)) from None

        return ask

    def _facts(self, answer: Answer, known: Completeness, schema: pa.Schema | None = None) -> QueryFacts:
        streaming = answer.streaming or (_NOT_MERGED if self.dataset.kafka_sources else None)
        return QueryFacts(
            dataset=self.dataset.name,
            manifest_version=answer.manifest_version or 0,
            completeness=completeness_facts(known),
            scanned=answer.scanned,
            pruned=answer.pruned,
            streaming=streaming_facts(streaming),
            warnings=[streaming.warning] if streaming and streaming.warning else [],
            columns=columns_of(answer.schema if schema is None else schema),
        )

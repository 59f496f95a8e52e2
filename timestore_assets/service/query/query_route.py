"""Asking a dataset over HTTP: `POST /datasets/{name}/query`, from its body to the question, and what there is to ask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError, InputError, UnreadableVersionError
from timestore_assets.model.question import Aggregate, Every, Question
from timestore_assets.model.schema import Schema
from timestore_assets.querying.answer import UNKNOWN, Answer, Completeness, Streaming, completeness
from timestore_assets.querying.planning.column_names_in_sql import find_column, unique
from timestore_assets.querying.planning.time_buckets import BucketWidth
from timestore_assets.querying.planning.typed_filters import where_of
from timestore_assets.service import json_bodies
from timestore_assets.service.answers.answer_facts import QueryFacts, columns_of, completeness_facts, streaming_facts
from timestore_assets.service.answers.answer_formats import Formulas, chosen, documented
from timestore_assets.service.answers.computation import Answered, AnswerResponse, Computation, Interruption
from timestore_assets.service.problems import responses, unreadable
from timestore_assets.service.query import dataset_list
from timestore_assets.service.query.answer_pages import (
    PageStart,
    cursor_of,
    digest_of,
    page_question,
    place_of,
    read_ahead,
    read_page,
)
from timestore_assets.service.query.answer_width import AnswerLimits, check_width
from timestore_assets.service.query.query_body import EXAMPLES, Aggregation, Downsample, QueryAnswer, QueryBody
from timestore_assets.service.state import Service, UsesCaller, UsesService


def question_of(body: QueryBody, schema: Schema, *, dataset: str, as_of: int | None = None) -> Question:
    """The question, checked as far as types of values go; the rest is checked when it is asked.

    `as_of`: the version that the body means.

    Raises:
        InputError: a filter or an aggregation that makes no sense.
    """
    asked = body.downsample
    return Question(
        dataset=dataset,
        start=body.time_range.start,
        end=body.time_range.end,
        columns=None if body.columns is None else tuple(body.columns),
        where=where_of(body.filters, schema, dataset=dataset),
        every=_every(asked),
        timezone=asked.timezone if asked else None,
        aggregates=tuple(_aggregate(one) for one in asked.aggregations) if asked else (),
        group_by=tuple(asked.group_by) if asked else (),
        fill=None if asked is None or asked.fill == "none" else asked.fill,
        limit=body.limit,
        descending=body.descending,
        as_of=as_of,
    )


def _every(asked: Downsample | None) -> Every | None:
    return (
        None
        if asked is None or asked.interval_unit is None
        else BucketWidth(unit=asked.interval_unit, size=asked.interval_size).every
    )


def _aggregate(asked: Aggregation) -> Aggregate:
    if (asked.percentile is not None) != (asked.fn == "percentile"):
        needs = "needs 'percentile', a number from 0 to 100" if asked.fn == "percentile" else "takes no 'percentile'"
        raise InputError(f"{asked.fn} {needs}")
    if asked.column is None and asked.fn != "count":
        raise InputError(f"{asked.fn} needs a column")
    return Aggregate(fn=asked.fn, column=asked.column, percentile=asked.percentile, alias=asked.alias)


router = APIRouter(tags=["query"])
router.include_router(dataset_list.router)


@router.post(
    "/datasets/{name}/query",
    summary="Ask a dataset",
    response_class=Response,
    openapi_extra=json_bodies.described(QueryBody, EXAMPLES[0]),
    responses={
        **documented(QueryAnswer),
        **responses(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.NOT_ACCEPTABLE,
            HTTPStatus.GONE,
            *json_bodies.ERRORS,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
)
def query(
    name: str,
    request: Request,
    caller: UsesCaller,
    body: Annotated[QueryBody, Depends(json_bodies.json_body(QueryBody))],
    service: UsesService,
    formulas: Formulas = "keep",
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
        done=partial(service.metrics.observe_query, dataset=name, kind="query"),
        formulas=formulas,
    )
    return AnswerResponse(computation, service.gate, principal=caller.name)


_NOT_MERGED = Streaming(buffer_state="off", merged_rows=0, watermark=None, fresh=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asking:
    """One request's question."""

    service: Service
    dataset: Dataset
    body: QueryBody

    def ask(self, stop: Interruption) -> Answered:
        """Check the question, ask it, and say what there is to say about the answer.

        It is asked again where columns became others after it was checked by them and before its version was held.
        """
        while True:
            dataset, record = self._resolved()
            try:
                return self._asked(dataset, record, stop)
            except (InputError, ConflictError):
                if self._resolved()[1].schema.version == record.schema.version:
                    raise

    def _resolved(self) -> tuple[Dataset, DatasetRecord]:
        return self.service.warehouse.resolve(self.dataset.name)

    def _asked(self, dataset: Dataset, record: DatasetRecord, stop: Interruption) -> Answered:
        warehouse, body = self.service.warehouse, self.body
        place = self._place()
        # all pages are of the version that the first one found, whatever a tag or a time means by then
        as_of = None if place or body.as_of is None else warehouse.version_of(self.dataset.name, body.as_of)
        if (version := place.version if place else as_of) is not None:
            # columns may have got other names since
            dataset, record = warehouse.in_force(self.dataset.name, version)
        question = question_of(body, record.schema, dataset=self.dataset.name, as_of=as_of)
        # before the version is pinned: what is said about now then holds for the answer
        known = UNKNOWN if place or question.as_of is not None else completeness(warehouse.catalog, record.id)
        # each page of figures computes all of them, and anybody can write a cursor
        if place is None or question.aggregates:
            limits = AnswerLimits(rows=warehouse.settings.query_max_rows, buckets=warehouse.settings.query_max_buckets)
            landed = self._asks(stop, fresh=False)
            asked = replace(question, as_of=place.version) if place else question
            with stop.clock.running():
                check_width(landed, warehouse.catalog, record, asked, limits, paged=body.page_size is not None)
        if body.page_size is None:
            return self._whole(question, stop, known)
        return self._page(dataset, record, question, place, body.page_size, stop, known)

    def _whole(self, question: Question, stop: Interruption, known: Completeness) -> Answered:
        answer = self._asks(stop, fresh=True)(question)
        batches, is_read = answer.batches(), False
        if question.limit is not None:
            # which segments a limit takes is known behind the last row
            with ExitStack() as failing, stop.clock.running():
                failing.callback(answer.close)
                ahead, is_read = read_ahead(batches)
                failing.pop_all()
            batches = chain(ahead, batches)
        facts = self._facts(answer, known, is_read=is_read)
        return Answered(facts=facts, schema=answer.schema, batches=batches, close=answer.close, more={"nextCursor": None})

    def _page(
        self,
        dataset: Dataset,
        record: DatasetRecord,
        question: Question,
        place: PageStart | None,
        size: int,
        stop: Interruption,
        known: Completeness,
    ) -> Answered:
        if question.columns is not None:
            names = unique(find_column(record.schema, one, dataset=self.dataset.name).name for one in question.columns)
            question = replace(question, columns=names)
        asked = page_question(question, place, size=size, time=dataset.time)
        with self._asks(stop, fresh=False)(asked) as answer, stop.clock.running():
            if asked.as_of is None:
                self._check_columns(record, answer)
            begin = place or PageStart(digest=self._digest(), version=answer.manifest_version or 0, time=None, skip=0, given=0)
            time = None if question.aggregates else dataset.time
            shown = None if question.columns is None else len(question.columns)
            page = read_page(answer, begin, size=size, time=time, shown=shown)
            facts = self._facts(answer, known, page.schema, is_read=True)
        more = {"nextCursor": cursor_of(page.next) if page.next else None}
        return Answered(facts=facts, schema=page.schema, batches=iter(page.batches), close=answer.close, more=more)

    def _check_columns(self, record: DatasetRecord, answer: Answer) -> None:
        """ConflictError when the answer is of a version with other columns than the question was made by."""
        _, found = self.service.warehouse.querier.in_force(self.dataset, record, answer.manifest_version or 0)
        if found.schema.version != record.schema.version:
            raise ConflictError(f"the columns of {self.dataset.name!r} changed meanwhile; ask again")

    def _place(self) -> PageStart | None:
        return None if self.body.cursor is None else place_of(self.body.cursor, digest=self._digest())

    def _digest(self) -> str:
        # a cursor of before there was a direction stays good
        same = {"cursor", "page_size"} | (set[str]() if self.body.descending else {"descending"})
        asked = self.body.model_dump_json(exclude=same)
        return digest_of(f"{self.dataset.name} {asked}")

    def _asks(self, stop: Interruption, *, fresh: bool) -> Callable[[Question], Answer]:
        """What answers questions. `fresh`: with the rows that have not landed yet."""

        def ask(question: Question) -> Answer:
            try:
                return stop.watch(self.service.warehouse.ask(question, hot=self.service.hot if fresh else None))
            except UnreadableVersionError as error:
                raise unreadable(error) from None

        return ask

    def _facts(
        self, answer: Answer, known: Completeness, schema: pa.Schema | None = None, *, is_read: bool = False
    ) -> QueryFacts:
        """`is_read`: no more segments are going to be opened for it than have been."""
        scanned = answer.segments_read if is_read else answer.scanned
        streaming = answer.streaming or (_NOT_MERGED if self.dataset.kafka_sources else None)
        return QueryFacts(
            dataset=self.dataset.name,
            manifest_version=answer.manifest_version or 0,
            completeness=completeness_facts(known),
            scanned=scanned,
            pruned=answer.scanned + answer.pruned - scanned,
            streaming=streaming_facts(streaming),
            warnings=[*answer.warnings, *([streaming.warning] if streaming and streaming.warning else [])],
            columns=columns_of(answer.schema if schema is None else schema),
        )

"""`/admin/datasets/{name}/retractions`: rows that are taken out, and taken back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path
from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.retractions import RetractionRecord, RetractionState
from timestore_assets.model.moment import parse_moment
from timestore_assets.model.row_selector import Bound, FileRows, RequestRows, RowSelector, SessionRows, TopicRows
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
RetractionId = Annotated[int, Path(description="Of a retraction.", ge=1, le=2**53, examples=[3])]


class RetractionWish(Wire):
    """Which rows are to be taken out: by exactly one of `topic`, `file`, `key` and `session`."""

    topic: str | None = Field(
        None, max_length=300, description="Records of a topic between `from` and `to`.", examples=["weather"]
    )
    partition: int | None = Field(None, ge=0, lt=2**31, description="Of the topic; offsets need one, times take all without it.")
    from_: int | str | None = Field(None, alias="from", description="First offset, or RFC 3339: when the first was produced.")
    to: int | str | None = Field(None, description="The offset after the last, or a time likewise.")
    file: str | None = Field(None, max_length=4000, description="Address of a file, all of whose rows go.")
    key: str | None = Field(None, max_length=1000, description="Idempotency key of a request.")
    session: int | None = Field(None, ge=1, lt=2**53, description="A landing session.")
    dry_run: bool = Field(False, strict=True, description="Count the rows, and change nothing.")

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if sum(one is not None for one in (self.topic, self.file, self.key, self.session)) != 1:
            raise ValueError("name exactly one of topic, file, key and session")
        ranged = (self.partition, self.from_, self.to)
        if self.topic is None and any(one is not None for one in ranged):
            raise ValueError("partition, from and to are those of a topic")
        if self.topic is not None and self.from_ is None and self.to is None:
            raise ValueError("say from where to where: from, to, or both")
        return self

    def selector(self) -> RowSelector:
        """As the warehouse takes it; InputError where a time is none."""
        if self.topic is not None:
            return TopicRows(topic=self.topic, number=self.partition, start=_bound(self.from_), end=_bound(self.to))
        if self.file is not None:
            return FileRows(address=self.file)
        return RequestRows(key=self.key) if self.key is not None else SessionRows(session=self.session or 0)


class RetractionAnswer(Wire):
    """Rows that were taken out, or would be."""

    id: int | None = Field(description="Null where nothing was changed.", examples=[3])
    state: RetractionState | None = Field(
        description="`hidden`: not shown, and it can be undone. `dropped`: builds have dropped the rows. Null for a dry run."
    )
    selector: dict[str, int | str | None] = Field(description="What was asked for.", examples=[{"file": "2024-01-01.csv"}])
    rows: int = Field(description="That it hides; before deduplication of those that are not built.", examples=[1440])
    partitions: dict[str, int] = Field(description="The same by partition.", examples=[{"2024-01-01": 1440}])
    manifest_version: int | None = Field(description="The first without them.", examples=[8])
    actor: str | None = None
    at: str | None = None


class RetractionList(Wire):
    """All that were ever made, the newest first."""

    dataset: str = Field(examples=["power"])
    retractions: list[RetractionAnswer]


@router.get(
    "/admin/datasets/{name}/retractions", summary="Rows that were taken out", response_model=RetractionList, responses=ERRORS
)
def listed(name: DatasetName, caller: UsesAdmin, service: UsesService) -> RetractionList:
    """Retractions that people made. Those of files that another content replaced are not among them: they are in the audit."""
    service.dataset(caller, name)
    return RetractionList(dataset=name, retractions=[_answer(one) for one in service.warehouse.retractions(name)])


@router.post(
    "/admin/datasets/{name}/retractions",
    summary="Take rows out",
    response_model=RetractionAnswer,
    responses={**ERRORS, **responses(*json_bodies.ERRORS)},
    openapi_extra=json_bodies.described(RetractionWish, {"file": "2024-01-01.csv"}),
)
async def retracted(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RetractionWish, Depends(json_bodies.json_body(RetractionWish))],
) -> RetractionAnswer:
    """No answer shows them from the next manifest version on, and the next build of each partition drops them. Until then it can
    be undone. What lands later is shown, at the same place too.
    """
    service.dataset(caller, name)

    def work() -> RetractionAnswer:
        selector = wish.selector()
        if wish.dry_run:
            plan = service.warehouse.plan_retraction(name, selector)
            rows = {partition.key: number for partition, number in plan.wanted.rows.items()}
            return RetractionAnswer(
                id=None, state=None, selector=selector.plain(), rows=plan.rows, partitions=rows, manifest_version=None
            )
        return _answer(service.warehouse.retract(name, selector, actor=caller.name)[1])

    return await run_in_threadpool(work)


@router.delete(
    "/admin/datasets/{name}/retractions/{retraction_id}",
    summary="Show rows again that were taken out",
    response_model=RetractionAnswer,
    responses=ERRORS,
)
def undone(name: DatasetName, retraction_id: RetractionId, caller: UsesAdmin, service: UsesService) -> RetractionAnswer:
    """Refused once a build has dropped rows of it, or what it took out has landed again by name."""
    service.dataset(caller, name)
    return _answer(service.warehouse.undo_retraction(name, retraction_id, actor=caller.name))


def _answer(one: RetractionRecord) -> RetractionAnswer:
    return RetractionAnswer(
        id=one.id,
        state=one.state,
        selector=dict(one.selector),
        rows=one.rows,
        partitions=dict(one.partitions),
        manifest_version=one.manifest_version,
        actor=one.actor,
        at=format_time(one.at),
    )


def _bound(value: int | str | None) -> Bound:
    return parse_moment(value) if isinstance(value, str) else value

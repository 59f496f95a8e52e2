"""`/datasets/{name}/tags` and `…/rollback`: versions with names, and going back to one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.records import PartitionState
from timestore_assets.catalog.rollbacks import Rollback
from timestore_assets.catalog.tags import Tag
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesCaller, UsesService
from timestore_assets.service.versions_given import VersionGiven

router = APIRouter()

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
CHANGE_ERRORS = {**ERRORS, **responses(HTTPStatus.CONFLICT)}
BODY_ERRORS = {**CHANGE_ERRORS, **responses(*json_bodies.ERRORS)}
TagName = Annotated[str, Path(description="Name of a tag.", examples=["before-cleaning"], max_length=100)]
Release = Annotated[bool, Query(description="Even if that ends a legal hold.")]


class TagAnswer(Wire):
    """A version that has a name."""

    tag: str = Field(examples=["before-cleaning"])
    version: int = Field(examples=[17])
    legal_hold: bool = Field(description="Nothing that it shows may be deleted, whatever a policy says.")
    note: str
    actor: str = Field(description="Who gave it, or changed it last.", examples=["token:ann"])
    at: str = Field(examples=["2024-05-01T12:00:00Z"])


class TagList(Wire):
    """All tags of a dataset, by name."""

    dataset: str = Field(examples=["nyc_weather"])
    tags: list[TagAnswer]


class TagWish(Wire):
    """What a tag is to stand for."""

    version: VersionGiven | None = Field(
        None, description="A version's number, or a time at which it was in force; the newest, or that of the tag, by default."
    )
    legal_hold: bool = Field(False, strict=True)
    note: str = Field("", max_length=2000)


class RollbackWish(Wire):
    """Where to go back to."""

    to: VersionGiven = Field(description="A version's number, a time at which it was in force, or a tag.", examples=[17])
    dry_run: bool = Field(False, strict=True, description="Only say what would change.")
    and_landings: bool = Field(False, strict=True, description="What landed since goes too; files and topics land again.")
    discard: bool = Field(False, strict=True, description="Rows may go that came over HTTP and don't come again by themselves.")
    nulls: bool = Field(False, strict=True, description="Rows landed since may have no value in columns that come back.")


class RolledPartitionAnswer(Wire):
    """What changes in a partition."""

    partition: str = Field(examples=["2013-01-01"])
    state: PartitionState = Field(description="After it.")
    segments_out: int
    segments_in: int
    rows_out: int = Field(description="Of the segments that go.")
    rows_in: int
    landings: int = Field(description="Segments that landed since, and are there after it.")
    landed_rows: int


class RollbackAnswer(Wire):
    """What was done, or would be."""

    dataset: str = Field(examples=["nyc_weather"])
    start_version: int = Field(description="Of before it; rolling back to that is going forward again.")
    to_version: int
    version: int = Field(description="Of after it; that of before when all is as it was.")
    dry_run: bool
    partitions: list[RolledPartitionAnswer]
    retractions_back: int = Field(description="Retractions that count again.")
    retractions_off: int = Field(description="Retractions made since that don't count any more.")
    files: list[str] = Field(description="Addresses of files that land again.")
    topics: list[str] = Field(description="Addresses of topic sources whose checkpoints are set back.")
    lost_requests: int = Field(description="Rows of requests that go and don't come again by themselves.")
    expired: list[str] = Field(description="Partitions that held rows then, and stay away because they have expired since.")
    schema_version: int | None = Field(description="Whose columns are in force again; null where no migration lies between.")


@router.get("/datasets/{name}/tags", summary="Tags", response_model=TagList, responses=ERRORS)
def listed(name: DatasetName, caller: UsesCaller, service: UsesService) -> TagList:
    """Versions that have a name and are kept for as long as they have it."""
    service.dataset(caller, name)
    return TagList(dataset=name, tags=[_answer(tag) for tag in service.warehouse.tags(name)])


@router.get("/datasets/{name}/tags/{tag}", summary="One tag", response_model=TagAnswer, responses=ERRORS)
def shown(name: DatasetName, tag: TagName, caller: UsesCaller, service: UsesService) -> TagAnswer:
    """The version that it stands for."""
    service.dataset(caller, name)
    found = next((one for one in service.warehouse.tags(name) if one.name == tag), None)
    if found is None:
        raise _unknown(name, tag)
    return _answer(found)


@router.put(
    "/datasets/{name}/tags/{tag}",
    summary="Tag a version",
    response_model=TagAnswer,
    responses=BODY_ERRORS,
    openapi_extra=json_bodies.described(TagWish, {"version": 17, "note": "before the cleaning of May"}),
)
async def put(
    name: DatasetName,
    tag: TagName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[TagWish, Depends(json_bodies.json_body(TagWish))],
    release: Release = False,
) -> TagAnswer:
    """Keep a version under a name, or change that tag's note and hold. 409 when the name stands for another version."""
    service.dataset(caller, name)

    def work() -> Tag:
        return service.warehouse.tag(
            name,
            tag,
            version=wish.version,
            note=wish.note,
            is_legal_hold=wish.legal_hold,
            may_release=release,
            actor=caller.name,
        )

    return _answer(await run_in_threadpool(work))


@router.delete("/datasets/{name}/tags/{tag}", summary="Delete a tag", response_model=TagAnswer, responses=CHANGE_ERRORS)
def deleted(name: DatasetName, tag: TagName, caller: UsesAdmin, service: UsesService, release: Release = False) -> TagAnswer:
    """Its version may be collected then; the answer is what the tag was. A legal hold is 403 without `release=true`."""
    service.dataset(caller, name)
    found = service.warehouse.untag(name, tag, may_release=release, actor=caller.name)
    if found is None:
        raise _unknown(name, tag)
    return _answer(found)


@router.post(
    "/datasets/{name}/rollback",
    summary="Roll rows back",
    response_model=RollbackAnswer,
    responses=BODY_ERRORS,
    openapi_extra=json_bodies.described(RollbackWish, {"to": "before-cleaning", "dryRun": True}),
)
async def rolled_back(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RollbackWish, Depends(json_bodies.json_body(RollbackWish))],
) -> RollbackAnswer:
    """Show the rows of an earlier version again, as a new version: what builds and retractions have done since is undone, what
    landed since stays. 403 when the version was collected or erased, or when rows would be lost.
    """
    service.dataset(caller, name)

    def work() -> Rollback:
        return service.warehouse.rollback(
            name,
            wish.to,
            dry_run=wish.dry_run,
            with_landings=wish.and_landings,
            may_lose=wish.discard,
            may_null=wish.nulls,
            actor=caller.name,
        )

    done = await run_in_threadpool(work)
    return RollbackAnswer(
        dataset=name,
        start_version=done.start_version,
        to_version=done.to_version,
        version=done.version,
        dry_run=wish.dry_run,
        partitions=[
            RolledPartitionAnswer(
                partition=one.partition,
                state=one.state,
                segments_out=one.segments_out,
                segments_in=one.segments_in,
                rows_out=one.rows_out,
                rows_in=one.rows_in,
                landings=one.landings,
                landed_rows=one.landed_rows,
            )
            for one in done.partitions
        ],
        retractions_back=done.retractions_back,
        retractions_off=done.retractions_off,
        files=list(done.files),
        topics=list(done.topics),
        lost_requests=done.lost_requests,
        expired=list(done.expired),
        schema_version=done.schema_version,
    )


def _unknown(name: str, tag: str) -> UnknownResourceError:
    return UnknownResourceError(f"dataset {name!r} has no tag {tag[:100]!r}; GET /datasets/{name}/tags lists those it has")


def _answer(tag: Tag) -> TagAnswer:
    return TagAnswer(
        tag=tag.name,
        version=tag.version,
        legal_hold=tag.is_legal_hold,
        note=tag.note,
        actor=tag.actor,
        at=format_time(tag.at),
    )

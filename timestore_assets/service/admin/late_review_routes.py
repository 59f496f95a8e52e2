"""`/admin/datasets/{name}/late/…`: what is held for being late, and accepting or refusing it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.dataset_status import held_to_plain
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.dead_letter_replay_route import ReplayAnswer, answer_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import ERRORS as READ_ERRORS
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
    *json_bodies.ERRORS,
)


class HeldPartition(Wire):
    """Held records of one partition."""

    partition: str = Field(examples=["2013-01-01"])
    rows: int = Field(examples=[3])
    at_least_seconds: int = Field(description="They were late by so much, counted from when their partition was closed.")
    below_seconds: int = Field(description="And by less than this.", examples=[65536])


class HeldAnswer(Wire):
    """Records that one commit held; they are accepted or refused together."""

    batch: int = Field(description="What names it.", examples=[7])
    source: str = Field(examples=["kafka:weather"])
    records: int = Field(examples=[3])
    held_at: str
    partitions: list[HeldPartition] = Field(description="Empty for records that were held before this was noted.")
    samples: list[str] = Field(description="The first records as they came; bytes that are no text are replaced.")


class HeldPage(Wire):
    """The oldest batches."""

    dataset: str = Field(examples=["nyc_weather"])
    held: list[HeldAnswer]
    batches: int = Field(description="How many there are.", examples=[1])


class HeldChoice(Wire):
    """The query string that chooses what is shown."""

    limit: int = Field(100, ge=1, le=1000, description="So many batches at most, the oldest.")
    samples: int = Field(3, ge=0, le=20, description="So many first records of each.")


class HeldWish(Wire):
    """Which batches."""

    batches: list[int] | None = Field(None, min_length=1, max_length=1000, description="Null: all that are held.", examples=[[7]])


class RefusedAnswer(Wire):
    """What is dropped now."""

    dataset: str = Field(examples=["nyc_weather"])
    late_dropped: int = Field(description="Records.", examples=[3])


Wish = Annotated[HeldWish, Depends(json_bodies.json_body(HeldWish))]
DESCRIBED = json_bodies.described(HeldWish, {"batches": [7]})


@router.get("/admin/datasets/{name}/late/held", summary="What is held for being late", responses=READ_ERRORS)
def held(name: DatasetName, choice: Annotated[HeldChoice, Query()], caller: UsesAdmin, service: UsesService) -> HeldPage:
    """Batches with their partitions, how late their records were, and the first of them."""
    window = service.dataset(caller, name).window
    found, batches = service.warehouse.held(name, limit=choice.limit, samples=choice.samples)
    return HeldPage(dataset=name, held=[HeldAnswer(**held_to_plain(one, window)) for one in found], batches=batches)


@router.post("/admin/datasets/{name}/late/accept", summary="Accept held records", responses=ERRORS, openapi_extra=DESCRIBED)
async def accept(name: DatasetName, caller: UsesAdmin, service: UsesService, wish: Wish) -> ReplayAnswer:
    """They land, each once, and their partitions are built again. What the declaration refuses by now stays held.

    It may be asked again at any time, also after it broke off. A batch that is not held, or not any more, is 422.
    """
    service.dataset(caller, name)
    report = await run_in_threadpool(lambda: service.warehouse.accept_held(name, wish.batches, actor=caller.name))
    return answer_of(report)


@router.post("/admin/datasets/{name}/late/refuse", summary="Refuse held records", responses=ERRORS, openapi_extra=DESCRIBED)
async def refuse(name: DatasetName, caller: UsesAdmin, service: UsesService, wish: Wish) -> RefusedAnswer:
    """They count as dropped for being late, and stay dead letters of that kind.

    A batch that is not held, or not any more, is 422.
    """
    service.dataset(caller, name)
    dropped = await run_in_threadpool(lambda: service.warehouse.refuse_held(name, wish.batches, actor=caller.name))
    return RefusedAnswer(dataset=name, late_dropped=dropped)

"""`GET /datasets/{name}/late`: how many records came late, and how late, for those who may read the dataset."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from timestore_assets.dataset_status import late_to_plain
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName, after_cursor
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["datasets"])

MOST = 10_000


class LateAnswer(Wire):
    """Records of one partition and source that were about as late and went the same way."""

    partition: str = Field(examples=["2013-01-01"])
    source: str = Field(description="Kind and address.", examples=["kafka:weather"])
    disposition: Literal["corrected", "dropped", "held"] = Field(
        description="`corrected`: landed, and the partition is built again."
    )
    at_least_seconds: int = Field(description="They were late by so much, counted from when their partition was closed.")
    below_seconds: int = Field(description="And by less than this, a power of two.", examples=[65536])
    rows: int = Field(examples=[3])
    first_at: str = Field(description="When the first of them came.", examples=["2013-01-05T08:00:00Z"])
    last_at: str


class LatePage(Wire):
    """The ledger in order of time, whole partitions."""

    dataset: str = Field(examples=["nyc_weather"])
    late: list[LateAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class LateChoice(Wire):
    """The query string that chooses partitions of the ledger."""

    partition: str | None = Field(None, max_length=40, description="Only this one.", examples=["2013-01-01"])
    limit: int = Field(1000, ge=1, le=MOST, description="So many partitions at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


@router.get(
    "/datasets/{name}/late",
    summary="What came late",
    responses=responses(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def late(name: DatasetName, choice: Annotated[LateChoice, Query()], caller: UsesCaller, service: UsesService) -> LatePage:
    """Records that came after their partition was closed: how many, from which source, how late, and what became of them."""
    dataset = service.dataset(caller, name)
    after = None if choice.cursor is None else after_cursor(dataset.window, choice.cursor)
    ledger = service.warehouse.late(name, choice.partition)
    starts = sorted({one.partition.start for one in ledger if after is None or one.partition.start > after})
    page = set(starts[: choice.limit])
    return LatePage(
        dataset=name,
        late=[LateAnswer(**plain) for plain in late_to_plain(one for one in ledger if one.partition.start in page)],
        next_cursor=dataset.window.key_of(max(page)) if len(starts) > len(page) else None,
    )

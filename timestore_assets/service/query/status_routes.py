"""`GET /datasets/{name}/partitions` and `/status`: how a dataset stands, for those who may read it.

Partitions are given some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from timestore_assets.catalog.records import PartitionRecord, PartitionState
from timestore_assets.dataset_status import partitions_to_plain, stats_to_plain
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment
from timestore_assets.model.window import Window
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.state import Service, UsesCaller, UsesService

MOST = 10_000


class PartitionAnswer(Wire):
    """One partition; `deltas` of its `segments` are not built yet."""

    partition: str = Field(examples=["2013-01-01"])
    start: str = Field(examples=["2013-01-01T00:00:00Z"])
    end: str = Field(examples=["2013-01-02T00:00:00Z"])
    state: PartitionState
    rows: int = Field(description="Of live segments; before deduplication of those that are not built.", examples=[72])
    bytes: int = Field(examples=[4096])
    segments: int = Field(examples=[1])
    deltas: int = Field(examples=[0])
    schema_version: int = Field(examples=[1])
    superseded_rows: int = Field(description="Rows that builds removed as duplicates.", examples=[0])
    content_hash: str | None = Field(description="Of the logical rows; only of sealed partitions.", examples=[None])
    min_time: str | None = Field(examples=["2013-01-01T00:00:00Z"])
    max_time: str | None = Field(examples=["2013-01-01T23:00:00Z"])
    manifest_version: int = Field(description="Version at which it last changed.", examples=[7])


class PartitionPage(Wire):
    """Partitions in order of time."""

    dataset: str = Field(examples=["nyc_weather"])
    manifest_version: int = Field(examples=[7])
    partitions: list[PartitionAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class PartitionChoice(Wire):
    """The query string that chooses partitions."""

    state: PartitionState | None = Field(None, description="Only those in this state.")
    from_: str | None = Field(
        None,
        alias="from",
        max_length=40,
        description="Only those that end after this time (RFC 3339).",
        examples=["2013-01-01T00:00:00Z"],
    )
    to: str | None = Field(
        None,
        max_length=40,
        description="Only those that start before this time (RFC 3339).",
        examples=["2013-02-01T00:00:00Z"],
    )
    limit: int = Field(1000, ge=1, le=MOST, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


def page_of(
    dataset: str, window: Window, partitions: Iterable[PartitionRecord], choice: PartitionChoice, *, manifest_version: int
) -> PartitionPage:
    """The page of partitions that was asked for.

    Raises:
        InputError: a time or the cursor can't be read.
    """
    first, last = _time(choice.from_, "from"), _time(choice.to, "to")
    after = None if choice.cursor is None else after_cursor(window, choice.cursor)
    chosen = [
        found
        for found in partitions
        if (choice.state is None or found.state == choice.state)
        and (first is None or found.partition.end > first)
        and (last is None or found.partition.start < last)
        and (after is None or found.partition.start > after)
    ]
    page = chosen[: choice.limit]
    return PartitionPage(
        dataset=dataset,
        manifest_version=manifest_version,
        partitions=[PartitionAnswer(**plain) for plain in partitions_to_plain(page)],
        next_cursor=page[-1].partition.key if len(chosen) > len(page) else None,
    )


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def after_cursor(window: Window, cursor: str) -> datetime:
    """Start of the partition that a cursor names; InputError when it is none."""
    try:
        return window.parse_key(cursor).start
    except InputError:
        raise InputError("cursor: is none that this service gave; begin again without one") from None


router = APIRouter(tags=["datasets"])

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
DatasetName = Annotated[str, Path(description="Name of a dataset.", examples=["nyc_weather"], max_length=200)]


class SourceStatus(Wire):
    """What became of a source's records: read = landed + duplicates + lateDropped + held + deadLetters."""

    source: str = Field(description="Kind and address.", examples=["kafka:weather"])
    read: int
    landed: int
    duplicates: int
    late_dropped: int
    held: int
    dead_letters: int
    lag: int | None = Field(description="Records of its topics not read yet; null for other sources and when no broker answers.")
    rows_last_minute: int = Field(description="Landed in the last minute.")
    rows_per_second: float = Field(description="The same, a second.")
    paused: bool
    paused_reason: str | None
    watermark: str | None = Field(description="No records are expected before it; null while unknown.")


class DatasetStatus(Wire):
    """A dataset in the shape of `timestore status --json`."""

    dataset: str = Field(examples=["nyc_weather"])
    retired: bool = Field(description="Nothing lands in it any more; what it has can be read.")
    behind: bool = Field(description="Its declaration is of before the columns that the catalog has, which count.")
    problem: str | None = Field(description="Why its declaration is refused; null when it is not.")
    manifest_version: int
    rows: int = Field(description="Of live segments; before deduplication of those that are not built.")
    bytes: int
    partitions: int
    unbuilt_rows: int
    pending_files: int
    sources: list[SourceStatus]


@router.get("/datasets/{name}/partitions", summary="A dataset's partitions", responses=ERRORS)
def partitions(
    name: DatasetName, choice: Annotated[PartitionChoice, Query()], caller: UsesCaller, service: UsesService
) -> PartitionPage:
    """State, rows and bytes of each partition, in order of time."""
    service.dataset(caller, name)
    return partition_page(service, name, choice)


@router.get("/datasets/{name}/status", summary="How a dataset stands", responses=ERRORS)
def status(name: DatasetName, caller: UsesCaller, service: UsesService) -> DatasetStatus:
    """Rows, what waits, and what became of each source's records. Brokers that don't answer hold it up for a second at most."""
    dataset = service.dataset(caller, name)
    lags = service.lags.current() if dataset.kafka_sources else {}
    of_this = {address: lag for (of, address), lag in lags.items() if of == name}
    return DatasetStatus(**stats_to_plain(service.warehouse.status(name, lags=of_this)))


def partition_page(service: Service, name: str, choice: PartitionChoice) -> PartitionPage:
    """The partitions asked for, of a dataset that the caller may look at."""
    dataset, record = service.warehouse.resolve(name)
    found = service.warehouse.catalog.partitions.of(record.id)
    return page_of(name, dataset.window, found, choice, manifest_version=record.manifest_version)

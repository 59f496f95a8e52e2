"""`GET /datasets/{name}/partitions` and `/status`: how a dataset stands, for those who may read it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from timestore_assets import overview
from timestore_assets.service.problems import responses
from timestore_assets.service.query.partition_list import PartitionChoice, PartitionPage, page_of
from timestore_assets.service.state import Service, UsesCaller, UsesService
from timestore_assets.service.wire import Wire

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
    rows_per_second: float = Field(description="Landed over the last minute.")
    paused: bool
    paused_reason: str | None
    watermark: str | None = Field(description="No records are expected before it; null while unknown.")


class DatasetStatus(Wire):
    """A dataset in the shape of `timestore status --json`."""

    dataset: str = Field(examples=["nyc_weather"])
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
    plain = overview.dataset_status(service.warehouse, name, lags=of_this)
    sources = [SourceStatus(**source) for source in plain["sources"]]
    rest: dict[str, Any] = {key: value for key, value in plain.items() if key != "sources"}
    return DatasetStatus(**rest, sources=sources)


def partition_page(service: Service, name: str, choice: PartitionChoice) -> PartitionPage:
    """The partitions asked for, of a dataset that the caller may look at."""
    dataset, record = service.warehouse.resolve(name)
    rows = overview.partition_rows(service.warehouse, name)
    return page_of(name, dataset.window, rows, choice, manifest_version=record.manifest_version)

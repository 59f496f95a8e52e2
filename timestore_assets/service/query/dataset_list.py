"""What there is to ask: `GET /datasets` and `GET /datasets/{name}`."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import Field

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.dataset_status import PartitionTotals
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.window import format_time
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.answers.answer_facts import CamelCaseModel
from timestore_assets.service.problems import responses
from timestore_assets.service.state import Service, UsesCaller, UsesService

router = APIRouter(tags=["query"])


class DatasetColumn(CamelCaseModel):
    name: str = Field(examples=["temp"])
    type: str = Field(description="As in a declaration.", examples=["double"])
    nullable: bool = Field(examples=[True])
    unit: str = Field("", examples=["degC"])
    description: str = ""


class DeclaredSource(CamelCaseModel):
    """Where records come from, as it is declared."""

    kind: str = Field(description="`files`, `kafka` or `http`.", examples=["files"])
    address: str = Field(description="Watched prefix and pattern, topics, or `/ingest`.", examples=["inbox/weather/**/*"])


class DatasetFacts(CamelCaseModel):
    """A dataset as its readers see it. What is in it is null for callers that may only write to it."""

    name: str = Field(examples=["weather"])
    description: str = ""
    time: str = Field(description="The column that holds a row's time.", examples=["ts"])
    window: str = Field(description="Length of a partition.", examples=["day"])
    partition_by: list[str] = Field([], description="Segments of a partition hold one combination of these each.")
    keys: list[str] = Field([], description="Columns of which each combination is there once; none are declared when empty.")
    columns: list[DatasetColumn]
    sources: list[DeclaredSource] = Field([], description="Empty for callers that may only write to it.")
    rows: int | None = Field(description="Rows that landed, before unbuilt ones are deduplicated.", examples=[1000])
    newest: str | None = Field(description="Newest time of a row.", examples=["2024-01-01T00:59:00Z"])
    manifest_version: int | None = Field(examples=[7])
    readable: bool = Field(description="Whether the caller may query it.", examples=[True])
    writable: bool = Field(description="Whether the caller may send records to it.", examples=[False])
    retired: bool = Field(False, description="Nothing lands in it any more; what it has can be read.")


class DatasetList(CamelCaseModel):
    datasets: list[DatasetFacts]


@router.get(
    "/datasets",
    summary="Datasets you may use",
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
def listed(caller: UsesCaller, service: UsesService) -> DatasetList:
    """By name, with their columns."""
    records = {record.name: record for record in service.warehouse.catalog.datasets.all()}
    seen = service.visible(caller, "see")
    return DatasetList(datasets=[_facts(service, caller, one, records.get(name)) for name, one in seen.items()])


@router.get(
    "/datasets/{name}",
    summary="One dataset",
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
def one(name: str, caller: UsesCaller, service: UsesService) -> DatasetFacts:
    """Its columns with types and units, and how much is in it."""
    dataset = service.dataset(caller, name, "see")
    return _facts(service, caller, dataset, service.warehouse.catalog.datasets.find(name))


def _facts(service: Service, caller: Caller, dataset: Dataset, record: DatasetRecord | None) -> DatasetFacts:
    readable = caller.may_read(dataset)
    partitions = service.warehouse.catalog.partitions.of(record.id) if record and readable else []
    totals = PartitionTotals.of(partitions)
    return DatasetFacts(
        name=dataset.name,
        description=dataset.description,
        time=dataset.time,
        window=str(dataset.window),
        partition_by=list(dataset.partition_by),
        keys=list(dataset.dedupe.keys) if dataset.dedupe else [],
        columns=_columns(record.schema if record and readable else dataset.schema),
        sources=[DeclaredSource(kind=source.kind, address=source.address) for source in dataset.sources] if readable else [],
        rows=totals.rows if readable else None,
        newest=format_time(totals.newest) if totals.newest else None,
        manifest_version=(record.manifest_version if record else 0) if readable else None,
        readable=readable,
        writable=caller.may_write(dataset),
        retired=service.warehouse.is_retired(dataset.name),
    )


def _columns(schema: Schema) -> list[DatasetColumn]:
    return [
        DatasetColumn(
            name=column.name, type=str(column.type), nullable=column.nullable, unit=column.unit, description=column.description
        )
        for column in schema
    ]

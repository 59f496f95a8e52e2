"""`GET /admin/datasets` and `/admin/datasets/{name}`: everything that is known of a dataset."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from timestore_assets.catalog.records import DatasetRecord, SourceRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.definition import schema_to_plain
from timestore_assets.model.window import format_time
from timestore_assets.service.admin.retention import RetentionAnswer, retention_of
from timestore_assets.service.admin.storage import StorageAnswer, storage_of
from timestore_assets.service.etags import READ, tagged
from timestore_assets.service.problems import responses
from timestore_assets.service.query.overview import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesService
from timestore_assets.service.wire import Wire

router = APIRouter()

READ_ERRORS = {
    **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    **READ,
}
ONE_ERRORS = {**READ_ERRORS, **responses(HTTPStatus.NOT_FOUND)}

SourceKind = Literal["files", "kafka", "http"]
DeclaredIn = Literal["file", "http"]


class DatasetLine(Wire):
    """A dataset in the list."""

    name: str = Field(examples=["nyc_weather"])
    description: str
    owners: list[str] = Field(examples=[["team:weather"]])
    window: str = Field(description="Length of a partition.", examples=["day"])
    sources: list[SourceKind] = Field(description="Kinds of its sources.", examples=[["files"]])
    declared_in: DeclaredIn = Field(description="A file, or over HTTP; what a file declares is changed there.")
    manifest_version: int = Field(description="0 as long as nothing has landed.")
    schema_version: int


class DatasetLines(Wire):
    """Datasets in order of name."""

    datasets: list[DatasetLine]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class DatasetChoice(Wire):
    """The query string that chooses datasets."""

    search: str = Field("", max_length=200, description="Only those with this text in name or description, in any case.")
    source: SourceKind | None = Field(None, description="Only those with a source of this kind.")
    owner: str | None = Field(None, max_length=200, description="Only those of this owner.", examples=["team:weather"])
    limit: int = Field(100, ge=1, le=1000, description="So many at most.")
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before.")


class SourceAnswer(Wire):
    """A source with what became of its records: read = landed + duplicates + lateDropped + held + deadLetters."""

    kind: str
    address: str
    read: int
    landed: int
    duplicates: int
    late_dropped: int
    held: int
    dead_letters: int
    watermark: str | None
    paused: str = Field(description="Why landing from it is paused; empty when it is not.")


class AccessAnswer(Wire):
    """Scopes of which any is enough; the general ones where the declaration names none."""

    read: list[str]
    write: list[str]


class DatasetDetail(Wire):
    """All that is known of a dataset."""

    name: str = Field(examples=["nyc_weather"])
    declared_in: DeclaredIn
    version: int = Field(description="Of its declaration over HTTP, rising with every change; 0 when a file declares it.")
    attributes: dict[str, Any] | None = Field(description="What was declared over HTTP, as it was sent; null for a file's.")
    declaration: dict[str, Any] = Field(description="What is in force, defaults included; durations in seconds.")
    manifest_version: int
    schema_version: int
    columns: list[dict[str, Any]] = Field(description="The columns as they are stored now, evolved ones included.")
    sources: list[SourceAnswer]
    retention: RetentionAnswer
    access: AccessAnswer
    storage: StorageAnswer
    rows: int
    bytes: int
    segments: int
    partitions: dict[str, int] = Field(description="Number of partitions by state.", examples=[{"open": 1, "sealed": 364}])


@router.get("/admin/datasets", summary="All datasets", response_model=DatasetLines, responses=READ_ERRORS)
def listed(request: Request, choice: Annotated[DatasetChoice, Query()], _caller: UsesAdmin, service: UsesService) -> Response:
    """Datasets by name, filtered, some at a time."""
    registered = {record.name: record for record in service.warehouse.catalog.datasets()}
    chosen = [
        dataset
        for name, dataset in sorted(service.warehouse.datasets.items())
        if _is_chosen(dataset, choice) and (choice.cursor is None or name > choice.cursor)
    ]
    page = chosen[: choice.limit]
    lines = [_line(service, dataset, registered.get(dataset.name)) for dataset in page]
    answer = DatasetLines(datasets=lines, next_cursor=page[-1].name if len(chosen) > len(page) else None)
    return tagged(request, answer, version=0)


@router.get("/admin/datasets/{name}", summary="One dataset", response_model=DatasetDetail, responses=ONE_ERRORS)
def shown(request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService) -> Response:
    """Its declaration, schema, sources with counters, policies, access and storage. The ETag works for PUT's `If-Match`."""
    service.dataset(caller, name)
    detail = detail_of(service, name)
    return tagged(request, detail, version=detail.version)


def detail_of(service: Service, name: str) -> DatasetDetail:
    """All that is known of a declared dataset."""
    catalog = service.warehouse.catalog
    dataset, record = service.warehouse.resolve(name)
    stored = None if service.warehouse.declarations.is_in_file(name) else catalog.declarations.find(name)
    partitions = catalog.partitions(record.id)
    states = [one.state for one in partitions]
    known = service.access.scopes
    return DatasetDetail(
        name=name,
        declared_in="file" if stored is None else "http",
        version=stored.version if stored else 0,
        attributes=dict(stored.attributes) if stored else None,
        declaration=dataset.definition(),
        manifest_version=record.manifest_version,
        schema_version=record.schema.version,
        columns=schema_to_plain(record.schema),
        sources=[_source(source) for source in catalog.sources(record.id)],
        retention=retention_of(catalog, dataset, record),
        access=AccessAnswer(read=list(dataset.access.read or (known.read,)), write=list(dataset.access.write or (known.write,))),
        storage=storage_of(catalog, dataset, record),
        rows=sum(one.rows for one in partitions),
        bytes=sum(one.bytes for one in partitions),
        segments=sum(one.segments for one in partitions),
        partitions={state: states.count(state) for state in sorted(set(states))},
    )


def _is_chosen(dataset: Dataset, choice: DatasetChoice) -> bool:
    text = choice.search.casefold()
    return (
        (text in dataset.name or text in dataset.description.casefold())
        and (choice.source is None or any(source.kind == choice.source for source in dataset.sources))
        and (choice.owner is None or choice.owner in dataset.owners)
    )


def _line(service: Service, dataset: Dataset, record: DatasetRecord | None) -> DatasetLine:
    return DatasetLine(
        name=dataset.name,
        description=dataset.description,
        owners=list(dataset.owners),
        window=dataset.window.value,
        sources=list(dict.fromkeys(source.kind for source in dataset.sources)),
        declared_in="file" if service.warehouse.declarations.is_in_file(dataset.name) else "http",
        manifest_version=record.manifest_version if record else 0,
        schema_version=record.schema.version if record else 1,
    )


def _source(source: SourceRecord) -> SourceAnswer:
    counters = source.counters
    return SourceAnswer(
        kind=source.kind,
        address=source.address,
        read=counters.read,
        landed=counters.landed,
        duplicates=counters.duplicates,
        late_dropped=counters.late_dropped,
        held=counters.held,
        dead_letters=counters.dead_letters,
        watermark=format_time(source.watermark) if source.watermark else None,
        paused=source.paused,
    )

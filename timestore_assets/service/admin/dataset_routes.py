"""`/admin/datasets` and `/admin/datasets/{name}`: everything that is known of a dataset, and declaring one over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field, RootModel
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.records import DatasetRecord, SourceRecord
from timestore_assets.dataset_status import PartitionTotals
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import schema_to_plain
from timestore_assets.model.source_kinds import SourceKind
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.retention_routes import RetentionAnswer, retention_of
from timestore_assets.service.admin.storage_routes import StorageAnswer, storage_of
from timestore_assets.service.etags import READ, TAGGED, IfMatch, tagged, version_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import PreconditionFailedError, responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()

READ_ERRORS = {
    **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    **READ,
}
ONE_ERRORS = {**READ_ERRORS, **responses(HTTPStatus.NOT_FOUND)}

DeclaredIn = Literal["file", "http"]


class DatasetLine(Wire):
    """A dataset in the list."""

    name: str = Field(examples=["nyc_weather"])
    description: str
    owners: list[str] = Field(examples=[["team:weather"]])
    window: str = Field(description="Length of a partition.", examples=["day"])
    sources: list[SourceKind] = Field(description="Kinds of its sources.", examples=[["files"]])
    declared_in: DeclaredIn = Field(description="A file, or over HTTP; what a file declares is changed there.")
    retired: bool = Field(description="Nothing lands in it any more.")
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

    kind: SourceKind
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
    retired: bool = Field(description="Nothing lands in it any more.")
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
    registered = {record.name: record for record in service.warehouse.catalog.datasets.all()}
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
    totals = PartitionTotals.of(catalog.partitions.of(record.id))
    known = service.access.scopes
    return DatasetDetail(
        name=name,
        declared_in="file" if stored is None else "http",
        version=stored.version if stored else 0,
        attributes=dict(stored.attributes) if stored else None,
        declaration=dataset.definition(),
        retired=record.is_retired,
        manifest_version=record.manifest_version,
        schema_version=record.schema.version,
        columns=schema_to_plain(record.schema),
        sources=[_source(source) for source in catalog.sources.of(record.id)],
        retention=retention_of(catalog, dataset, record),
        access=AccessAnswer(read=list(dataset.access.read or (known.read,)), write=list(dataset.access.write or (known.write,))),
        storage=storage_of(catalog, dataset, record),
        rows=totals.rows,
        bytes=totals.bytes,
        segments=totals.segments,
        partitions={str(state): number for state, number in totals.states.items()},
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
        retired=record.is_retired if record else False,
        manifest_version=record.manifest_version if record else 0,
        schema_version=record.schema.version if record else 1,
    )


def _source(source: SourceRecord) -> SourceAnswer:
    return SourceAnswer(
        kind=source.kind,
        address=source.address,
        **dict(source.counters.items()),
        watermark=format_time(source.watermark) if source.watermark else None,
        paused=source.paused,
    )


EXAMPLE = {
    "description": "Power of each meter",
    "columns": {"at": {"type": "timestamp"}, "meter": {"type": "string"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"http": {}}],
    "access": {"read": ["power:read"], "write": ["power:write"]},
}
IfNoneMatch = Annotated[
    str | None, Header(description="`*`: only when it was not declared over HTTP before; else 412.", max_length=1000)
]


class DeclaredAttributes(RootModel[dict[str, Any]]):
    """What stands below `attributes:` in a `defs.yaml`, as JSON; `name` may be left out. See the reference of datasets."""

    root: dict[str, Any] = Field(examples=[EXAMPLE])


@router.put(
    "/admin/datasets/{name}",
    summary="Declare a dataset",
    response_model=DatasetDetail,
    responses={
        HTTPStatus.OK.value: {"headers": TAGGED},
        HTTPStatus.CREATED.value: {
            "model": DatasetDetail,
            "description": "It was declared for the first time.",
            "headers": TAGGED,
        },
        **responses(
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.CONFLICT,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.SERVICE_UNAVAILABLE,
            *json_bodies.ERRORS,
        ),
    },
    openapi_extra=json_bodies.described(DeclaredAttributes, EXAMPLE),
)
async def declare(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    attributes: Annotated[DeclaredAttributes, Depends(json_bodies.json_body(DeclaredAttributes))],
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The same keys and checks as in a `defs.yaml`, whole each time: what is left out goes back to its default.

    It is usable here at once, by other processes of the service within two seconds, and becomes an asset when Dagster next loads
    its definitions. Rows that are there already must allow the change; otherwise nothing of it is kept and 403 says why. A name
    that a file declares is 409. Which folders, topics, consumer groups and storage targets it may name is up to the operator (by
    default `inbox/NAME/` and no topic), and neither a pandera model nor brokers of one's own can be named.
    """
    wanted = _version(if_match, if_none_match)

    def work() -> tuple[DatasetDetail, bool]:
        stored = service.warehouse.declare(name, attributes.root, actor=caller.name, if_version=wanted)
        return detail_of(service, name), stored.version == 1

    detail, is_new = await run_in_threadpool(work)
    return tagged(request, detail, version=detail.version, status=HTTPStatus.CREATED if is_new else HTTPStatus.OK)


def _version(if_match: str | None, if_none_match: str | None) -> int | None:
    if if_none_match is None:
        return version_of(if_match)
    if if_none_match.strip() != "*":
        raise PreconditionFailedError("If-None-Match can only be * here; to change what is there send If-Match")
    return 0

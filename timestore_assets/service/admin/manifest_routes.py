"""`/admin/datasets/{name}/manifest` and `/partitions`: segments of a version, and what they add up to."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Window, format_time
from timestore_assets.service.admin.dataset_routes import ONE_ERRORS
from timestore_assets.service.etags import tagged
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import GoneError, responses
from timestore_assets.service.query.status_routes import DatasetName, PartitionChoice, PartitionPage, partition_page
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()

_CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")
_LEASE = timedelta(seconds=60)


class SegmentAnswer(Wire):
    """Rows of a partition in an immutable file."""

    name: str = Field(description="The file's name inside its storage target; small segments of one commit share a file.")
    storage: str = Field(description="Storage target that it is in.", examples=["default"])
    partition: str = Field(examples=["2013-01-01"])
    kind: str = Field(description="`delta`: as landed. `sealed`: made by a build.", examples=["sealed"])
    format: str = Field(examples=["parquet"])
    rows: int
    bytes: int = Field(description="Of the file, or its share of one that it has not for itself.")
    first_row: int | None = Field(
        description="Number of its first row in a shared file; null: the file is its own.", examples=[None]
    )
    min_time: str = Field(examples=["2013-01-01T00:00:00Z"])
    max_time: str = Field(examples=["2013-01-01T23:00:00Z"])
    schema_version: int
    level: int = Field(description="How often its rows were merged; 0 as landed.")
    semantic_key: list[str] | None = Field(description="Its values of the `partition_by` columns; null when it holds several.")
    sorted_by: list[str]
    deduplicated: bool
    content_hash: str | None
    added_version: int | None = Field(description="Manifest version that it came with.")


class ManifestPage(Wire):
    """Live segments at a version, by partition."""

    dataset: str = Field(examples=["nyc_weather"])
    version: int = Field(examples=[7])
    total: int = Field(description="How many segments that version has.", examples=[1])
    segments: list[SegmentAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class ManifestChoice(Wire):
    """The query string that chooses segments."""

    version: int | None = Field(None, ge=0, le=2**53, description="An earlier manifest version; the newest by default.")
    limit: int = Field(1000, ge=1, le=10_000, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before; it names the version.")


@router.get(
    "/admin/datasets/{name}/manifest",
    summary="Segments of a version",
    response_model=ManifestPage,
    responses={**ONE_ERRORS, **responses(HTTPStatus.GONE)},
)
def manifest(
    request: Request,
    name: DatasetName,
    choice: Annotated[ManifestChoice, Query()],
    caller: UsesAdmin,
    service: UsesService,
) -> Response:
    """All pages show one version, whatever lands meanwhile; 410 when it has been collected."""
    dataset = service.dataset(caller, name)
    version, first = _place(choice)
    version, segments = _segments(service, name, version)
    page = segments[first : first + choice.limit]
    rest = first + len(page) < len(segments)
    answer = ManifestPage(
        dataset=name,
        version=version,
        total=len(segments),
        segments=[_answer(segment, dataset.window) for segment in page],
        next_cursor=f"{version}-{first + len(page)}" if rest else None,
    )
    return tagged(request, answer, version=version)


@router.get("/admin/datasets/{name}/partitions", summary="Partitions", response_model=PartitionPage, responses=ONE_ERRORS)
def partitions(
    request: Request,
    name: DatasetName,
    choice: Annotated[PartitionChoice, Query()],
    caller: UsesAdmin,
    service: UsesService,
) -> Response:
    """State, rows and bytes of each partition, in order of time."""
    service.dataset(caller, name)
    page = partition_page(service, name, choice)
    return tagged(request, page, version=page.manifest_version)


def _place(choice: ManifestChoice) -> tuple[int | None, int]:
    """The version asked for, and how many of its segments were given before."""
    if choice.cursor is None:
        return choice.version, 0
    found = _CURSOR.fullmatch(choice.cursor)
    if found is None or choice.version not in (None, int(found[1])):
        raise InputError("cursor: is none that this service gave for this version; begin again without one")
    return int(found[1]), int(found[2])


def _segments(service: Service, name: str, version: int | None) -> tuple[int, list[Segment]]:
    """The segments of a version, which can't be collected meanwhile."""
    _, record = service.warehouse.resolve(name)
    catalog = service.warehouse.catalog
    newest = catalog.manifest.version(record.id)
    if version is not None and version > newest:
        raise InputError(f"version: dataset {name!r} has no version {version}; the newest is {newest}")
    try:
        pin = SnapshotPin(catalog, record.id, version=version, holder=service.warehouse.holder, ttl=_LEASE)
    except RefusedError as error:
        raise GoneError(str(error)) from None
    try:
        found = catalog.manifest.segments(record.id, version=pin.version, with_stats=False)
        pin.confirm()
        return pin.version, found
    finally:
        pin.release()


def _answer(segment: Segment, window: Window) -> SegmentAnswer:
    return SegmentAnswer(
        name=segment.name,
        storage=segment.storage,
        partition=window.key_of(segment.partition_start),
        kind=segment.kind,
        format=segment.format,
        rows=segment.rows,
        bytes=segment.bytes,
        first_row=segment.first_row,
        min_time=format_time(segment.min_time),
        max_time=format_time(segment.max_time),
        schema_version=segment.schema_version,
        level=segment.level,
        semantic_key=None if segment.semantic_key is None else list(segment.semantic_key),
        sorted_by=list(segment.sorted_by),
        deduplicated=segment.deduplicated,
        content_hash=segment.content_hash,
        added_version=segment.added_version,
    )

"""`GET /datasets/{name}/schema/archives`: what dropped columns held, and where it is kept."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from timestore_assets.catalog.archives import Archive
from timestore_assets.model.window import format_time
from timestore_assets.service.admin.migration_routes import READ_ERRORS
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter(tags=["admin"])


class ArchiveFileAnswer(Wire):
    """The values of one partition."""

    partition_start: str = Field(examples=["2024-01-01T00:00:00Z"])
    target: str | None = Field(
        description="Its storage target; null for a file in a folder outside of all.", examples=["default"]
    )
    name: str = Field(description="Of the object, or the file.", examples=["rooms/archives/2024-01-01-note-4f….parquet"])
    rows: int
    bytes: int
    sha256: str


class ArchiveAnswer(Wire):
    """A column that was dropped to be archived."""

    column: str = Field(examples=["note"])
    schema_version: int = Field(description="That dropped it.", examples=[2])
    partitions: int = Field(description="That are written.")
    rows: int
    bytes: int
    is_whole: bool = Field(description="Nothing is left to be written.")
    targets: list[str] = Field(description="Storage targets that have some of it.")
    files: list[ArchiveFileAnswer] = Field(description="Empty unless `files=true`.")


class ArchiveList(Wire):
    archives: list[ArchiveAnswer]


@router.get("/datasets/{name}/schema/archives", summary="Archives of dropped columns", responses=READ_ERRORS)
def archives(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    files: Annotated[bool, Query(description="With each file.")] = False,
) -> ArchiveList:
    """What migrations archived, by schema version and column. `timestore schema archives` tells folders of machines, too."""
    service.dataset(caller, name)
    known = set(service.warehouse.storage.names)
    found = [
        ArchiveAnswer(
            column=one.column,
            schema_version=one.schema_version,
            partitions=len(one.files),
            rows=one.rows,
            bytes=one.bytes,
            is_whole=one.is_whole,
            targets=[place for place in one.places if place in known],
            files=[_file(file, known) for file in one.files] if files else [],
        )
        for one in service.warehouse.archives(name)
    ]
    return ArchiveList(archives=found)


def _file(file: Archive, known: set[str]) -> ArchiveFileAnswer:
    return ArchiveFileAnswer(
        partition_start=format_time(file.partition_start),
        target=file.storage if file.storage in known else None,
        name=file.name,
        rows=file.rows,
        bytes=file.bytes,
        sha256=file.sha256,
    )

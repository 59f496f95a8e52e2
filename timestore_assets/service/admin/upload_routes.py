"""A file over HTTP: `/admin/proposals` looks at one and proposes a dataset, `/admin/datasets/{name}/files` lands one."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets import file_access
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import ConflictError, RefusedError, UnavailableError
from timestore_assets.service.admin.uploads import BODY, Proposer, UploadWishes, uploaded
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()

FileName = Annotated[
    str, Query(description="Its name, whose ending tells the format.", min_length=1, max_length=200, examples=["a.csv"])
]
_ERRORS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)


class ProposalChoice(Wire):
    """The query string: the file's name, and what the person decides about the dataset."""

    file: str = Field(
        description="The file's name, whose ending tells the format.", min_length=1, max_length=200, examples=["a.csv"]
    )
    name: str | None = Field(None, max_length=63, description="Name of the dataset; from the file's by default.")
    time: str | None = Field(None, max_length=255, description="The time column; the likeliest by default.")
    time_format: str | None = Field(None, max_length=100, description="How times are written; tried out by default.")
    window: str | None = Field(None, max_length=20, description="Length of a partition.", examples=["day"])


class ProposedColumnAnswer(Wire):
    name: str
    type: str
    missing: int = Field(description="Records without a value, of those that were looked at.")
    example: str
    note: str


class ProposalAnswer(Wire):
    """What `timestore init` would declare. Nothing is declared or landed by it."""

    dataset: str
    format: str = Field(examples=["csv"])
    records: int = Field(description="That were looked at: all of the file, or its beginning.")
    complete: bool = Field(description="Whether that is all of the file.")
    time: str
    window: str
    columns: list[ProposedColumnAnswer]
    remarks: list[str] = Field(description="What was found, left out, or could be meant in another way.")
    attributes: dict[str, Any] = Field(description="As `PUT /admin/datasets/{name}` takes them.")
    declaration: str = Field(description="The same as a `defs.yaml`, with comments.")


class LandedFileAnswer(Wire):
    """What became of a file's records: read = landed + duplicates + lateDropped + held + deadLetters."""

    dataset: str
    file: str = Field(description="Where it is kept, below the dataset's watched prefix.")
    manifest_version: int
    read: int
    landed: int
    duplicates: int
    late_dropped: int
    held: int
    dead_letters: int
    reasons: dict[str, int] = Field(description="Why records were refused, by code.")


@router.post(
    "/admin/proposals",
    summary="Propose a dataset for a file",
    responses=responses(*_ERRORS),
    openapi_extra=BODY,
)
async def propose(
    request: Request, choice: Annotated[ProposalChoice, Query()], _caller: UsesAdmin, service: UsesService
) -> ProposalAnswer:
    """The file is the body, at most TIMESTORE_UPLOAD_BYTES. It is looked at and not kept."""
    proposer: Proposer | None = getattr(request.app.state, "proposer", None)
    if proposer is None:
        raise RefusedError("this service was started without what looks at files; `timestore init FILE` does the same")
    wishes = UploadWishes(name=choice.name, time=choice.time, time_format=choice.time_format, window=choice.window)
    async with uploaded(request, service.warehouse.settings, choice.file) as path:
        found = await run_in_threadpool(proposer, path, wishes)
    columns = [
        ProposedColumnAnswer(name=one.name, type=one.type, missing=one.missing, example=one.example, note=one.note)
        for one in found.columns
    ]
    return ProposalAnswer(
        dataset=found.name,
        format=found.format,
        records=found.rows,
        complete=found.complete,
        time=found.time,
        window=found.window,
        columns=columns,
        remarks=list(found.remarks),
        attributes=found.attributes,
        declaration=found.declaration,
    )


@router.post(
    "/admin/datasets/{name}/files",
    summary="Land a file",
    responses=responses(*_ERRORS, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    openapi_extra=BODY,
)
async def land(
    request: Request,
    name: DatasetName,
    file: FileName,
    caller: UsesAdmin,
    service: UsesService,
) -> LandedFileAnswer:
    """The file is the body. It is put into the dataset's watched folder and landed at once, exactly as one that is dropped there.

    A name that is taken there is 409; a dataset that watches no folder of this machine is 403.
    """
    dataset = service.dataset(caller, name, need="write")
    folder = _watched_folder(dataset, service)
    async with uploaded(request, service.warehouse.settings, file) as path:

        def work() -> LandedFileAnswer:
            kept = _keep(path, folder)
            report = service.warehouse.land(name, [kept], actor=caller.name)
            return LandedFileAnswer(
                dataset=name,
                file=kept.name,
                manifest_version=report.manifest_version,
                **dict(report.counters.items()),
                reasons=dict(report.dead_letter_reasons),
            )

        return await run_in_threadpool(work)


def _watched_folder(dataset: Dataset, service: Service) -> Path:
    """Of the first file source, under which `Warehouse.land` lands."""
    source: FileSource | None = next(iter(dataset.file_sources), None)
    if source is None or source.scheme is not None or source.times is not None:
        raise RefusedError(f"dataset {dataset.name!r} watches no single folder of this machine, so there is no place for a file")
    return service.warehouse.settings.home_folder / source.prefix


def _keep(path: Path, folder: Path) -> Path:
    """Give the file its place, whole at once; ConflictError when the name is taken."""
    place = folder / path.name
    try:
        file_access.make_folder(folder)
        os.link(path, place)  # unlike a rename it never takes the place of another
    except FileExistsError:
        raise ConflictError(f"there is a file {path.name!r} already, which has landed or will; choose another name") from None
    except OSError as error:
        raise UnavailableError(f"the file can't be put into the watched folder: {error.strerror}") from None
    return place

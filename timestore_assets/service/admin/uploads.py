"""Files that come over HTTP: kept in a folder of their own while they are looked at, bounded in size, with a harmless name."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from timestore_assets import file_access
from timestore_assets.model.errors import InputError
from timestore_assets.service.problems import TooLargeError
from timestore_assets.settings import Settings
from timestore_assets.sources.files.file_listing import ignored

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "at,celsius\n2024-01-01T00:00:00Z,1.5\n",
            }
        },
    }
}
"""What OpenAPI says of a body that is a file."""
FORGOTTEN_SECONDS = 86_400
"""No upload takes so long."""
_NAME = re.compile(r"[^\W_][\w .()+-]{0,199}")
_LONGEST_NAME = 200
"""Bytes; disks take 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadWishes:
    """What the person decides about a proposed dataset; None is left to the file."""

    name: str | None
    time: str | None
    time_format: str | None
    window: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedColumn:
    name: str
    type: str
    missing: int
    example: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedDataset:
    """A declaration for a file. `rows`: that were looked at. `attributes`: as `PUT /admin/datasets/{name}` takes them."""

    name: str
    format: str
    rows: int
    complete: bool
    time: str
    window: str
    columns: tuple[ProposedColumn, ...]
    remarks: tuple[str, ...]
    attributes: dict[str, Any]
    declaration: str


Proposer = Callable[[Path, UploadWishes], ProposedDataset]
"""What looks at a file; handed in by the program that serves, since this is what its command `init` does.

Raises (it): InputError, where no declaration fits the file.
"""


@asynccontextmanager
async def uploaded(request: Request, settings: Settings, name: str) -> AsyncIterator[Path]:
    """The body of a request as a file of this name, gone at the end.

    Raises:
        InputError: the name can't be a file's, or the connection ended early.
        TooLargeError: it is longer than a file may be.
    """
    if not _NAME.fullmatch(name) or ignored(name) or len(name.encode()) > _LONGEST_NAME:
        raise InputError(
            f"file: {name[:60]!r} is no plain name of a finished file;"
            f" write letters, digits, blanks or . _ - ( ) +, up to {_LONGEST_NAME} bytes"
        )
    folder = settings.home_folder / "uploads" / token_hex(8)
    await run_in_threadpool(_make, folder)
    try:
        path = folder / name
        await _receive(request, path, most=settings.upload_bytes)
        yield path
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


def _make(folder: Path) -> None:
    """Make the folder, and remove those that a process which was killed has left beside it."""
    file_access.make_folder(folder)
    for other in folder.parent.iterdir():
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > FORGOTTEN_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


async def _receive(request: Request, path: Path, *, most: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    size = 0
    file_access.make_file(path)
    with path.open("wb") as file:
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                await run_in_threadpool(file.write, piece)
        except ClientDisconnect:
            raise InputError("the connection ended before the file did") from None
    if not size:
        raise InputError("the file is empty")


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"the file is longer than {most:,} bytes (TIMESTORE_UPLOAD_BYTES); drop it into a watched folder instead"
    )

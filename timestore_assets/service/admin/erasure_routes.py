"""`POST /admin/datasets/{name}/erasures`: rows go from every version, with what may hold them beside segments."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import to_plain
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.operation_routes import BEGINS, OperationAnswer, begun, camel
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()
_PART = re.compile(r"\w+")
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "like", "between", "true", "false", "cast", "as"})
"""Of the condition that may be repeated beside names of columns."""


class ErasureWish(Wire):
    """Which rows are to go for good."""

    where: str = Field(
        min_length=1, max_length=100_000, description="A SQL condition over the columns.", examples=["meter = 'kitchen'"]
    )
    execute: bool = Field(False, strict=True, description="False only says what would go.")
    dead_letters: bool = Field(
        False, strict=True, description="Also remove all dead letters of the dataset, which may hold such rows."
    )
    archives: bool = Field(False, strict=True, description="Also remove the archives of its dropped columns.")


@router.post(
    "/admin/datasets/{name}/erasures",
    summary="Erase rows for good",
    response_model=OperationAnswer,
    responses=BEGINS,
    openapi_extra=json_bodies.described(ErasureWish, {"where": "meter = 'kitchen'", "execute": False}),
)
async def erased(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    response: Response,
    wish: Annotated[ErasureWish, Depends(json_bodies.json_body(ErasureWish))],
) -> OperationAnswer:
    """Says what would go, and with `execute: true` erases it: partitions that hold such rows are written anew without them, and
    no older version can be read from then on. There is no undo; a legal hold refuses it (403).

    What takes longer than 10 s goes on as an operation (202). The condition is written down nowhere, and no answer repeats its
    values. Broken off, the same request goes on with it. Not reached: backups, the sources, and what they send again.
    """
    service.dataset(caller, name)
    warehouse, where = service.warehouse, wish.where

    def check() -> None:
        dataset, _ = warehouse.resolve(name)
        try:
            warehouse.check_erasure(name, where)
        except InputError as error:
            raise InputError(f"body.where: {hushed(str(error), where, dataset.schema.names)}") from None

    def work(_: threading.Event) -> Mapping[str, Any]:
        report = warehouse.erase(
            name,
            where,
            execute=wish.execute,
            dead_letters=wish.dead_letters,
            archives=wish.archives,
            actor=caller.name,
        )
        outcome: dict[str, Any] = camel(to_plain(report))
        return outcome

    await run_in_threadpool(check)
    asked = {"execute": wish.execute, "deadLetters": wish.dead_letters, "archives": wish.archives}
    running = await run_in_threadpool(lambda: service.operations.begin(name, "erasure", asked, work, actor=caller.name))
    return await begun(service, name, running, response)


def hushed(text: str, where: str, columns: tuple[str, ...]) -> str:
    """A sentence about a condition without what may be a value of it: any word of the condition that is no column's name."""
    known = _WORDS | {name.casefold() for name in columns}
    hidden = sorted({part for part in _PART.findall(where) if part.casefold() not in known}, key=len, reverse=True)
    for part in hidden:
        text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "…", text, flags=re.IGNORECASE)
    return text

"""`POST /admin/datasets/{name}/reloads`: files, or a window of a topic, are read again and swapped in at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response
from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool

from timestore_assets.model.errors import UnavailableError
from timestore_assets.model.moment import parse_moment
from timestore_assets.model.row_selector import Bound, TopicRows
from timestore_assets.service import json_bodies
from timestore_assets.service.admin.operation_routes import BEGINS, OperationAnswer, begun, camel
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()
MOST_FILES = 200
Address = Annotated[str, Field(min_length=1, max_length=4000)]


class ReloadWish(Wire):
    """What is to be read again: either `files`, or a `topic` between `from` and `to`."""

    files: list[Address] | None = Field(
        None, min_length=1, max_length=MOST_FILES, description="Addresses of files that have landed.", examples=[["a.csv"]]
    )
    topic: str | None = Field(None, max_length=300, description="Records of a topic between `from` and `to`.")
    partition: int | None = Field(None, ge=0, lt=2**31, description="Of the topic; offsets need one, times take all without it.")
    from_: int | str | None = Field(None, alias="from", description="First offset, or RFC 3339: when the first was produced.")
    to: int | str | None = Field(None, description="The offset after the last, or a time likewise.")

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if (self.files is None) == (self.topic is None):
            raise ValueError("name either files or a topic")
        ranged = (self.partition, self.from_, self.to)
        if self.topic is None and any(one is not None for one in ranged):
            raise ValueError("partition, from and to are those of a topic")
        if self.topic is not None and self.from_ is None and self.to is None:
            raise ValueError("say from where to where: from, to, or both")
        return self

    def window(self, topic: str) -> TopicRows:
        """As the warehouse takes it; InputError where a time is none."""
        return TopicRows(topic=topic, number=self.partition, start=_bound(self.from_), end=_bound(self.to))


@router.post(
    "/admin/datasets/{name}/reloads",
    summary="Read files or a topic again",
    response_model=OperationAnswer,
    responses=BEGINS,
    openapi_extra=json_bodies.described(ReloadWish, {"files": ["2024-01-01.csv"]}),
)
async def reloaded(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    response: Response,
    wish: Annotated[ReloadWish, Depends(json_bodies.json_body(ReloadWish))],
) -> OperationAnswer:
    """What it landed as is judged by the declaration of now. The old rows leave with the commit that shows the new ones: of each
    file, and of the whole window. A file that is not there any more keeps its rows and is told.

    What takes longer than 10 s goes on as an operation (202). Broken off, it changes nothing that anybody sees, and the same
    request goes on with it.
    """
    service.dataset(caller, name)
    warehouse, files = service.warehouse, wish.files
    asked: dict[str, Any] = {"files": files}
    window: TopicRows | None = None
    if wish.topic is not None:
        window = wish.window(wish.topic)
        asked = {"topic": wish.topic, **{key: value for key, value in window.plain().items() if value is not None}}

    def work(stop: threading.Event) -> Mapping[str, Any]:
        if window is None:
            found = warehouse.reload_files(name, files or [], actor=caller.name)
            told = {"counters": dict(found.counters.items()), "left": list(found.left)}
            return {**camel(told), "manifestVersion": found.manifest_version}
        done = warehouse.reload_topic(name, window, stop=stop, actor=caller.name)
        if not done.is_done:
            raise UnavailableError(
                "the service ended before the window was read; nothing has changed, and the same request goes on"
            )
        windows = {place: list(bounds) for place, bounds in done.windows.items()}
        told = camel({"counters": dict(done.counters.items())})
        return {**told, "windows": windows, "manifestVersion": done.manifest_version}

    running = await run_in_threadpool(lambda: service.operations.begin(name, "reload", asked, work, actor=caller.name))
    return await begun(service, name, running, response)


def _bound(value: int | str | None) -> Bound:
    return parse_moment(value) if isinstance(value, str) else value

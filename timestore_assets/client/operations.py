"""What a client can do, as steps: for one that blocks and one that does not."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

from timestore_assets.client.asking import QueryArguments, SqlAsOf, question, statement
from timestore_assets.client.client_errors import UnavailableError
from timestore_assets.client.exchange import Exchange, Pause, Steps
from timestore_assets.client.http_answer import readable
from timestore_assets.client.ingest_report import IngestReport
from timestore_assets.client.ingesting import ingest

if TYPE_CHECKING:
    import httpx

LOOK_SECONDS = 0.2
"""Pause between two looks at an ingestion that is waited for."""
PAGE_ROWS = 10_000


class Operations:
    """Steps of each, for one service. `streaming`: whether answers are left to be read."""

    def __init__(self, exchange: Exchange, *, streaming: bool) -> None:
        self._exchange, self._streaming = exchange, streaming

    def ingest(
        self, dataset: str, data: Any, *, key: str | None, chunk_rows: int | None, asynchronous: bool
    ) -> Steps[IngestReport]:
        name = key or uuid.uuid4().hex
        return ingest(self._exchange, dataset, data, key=name, chunk_rows=chunk_rows, asynchronous=asynchronous)

    def ingestion(self, id: str) -> Steps[dict[str, Any]]:
        return self._exchange.json("GET", f"/ingestions/{_segment(id)}")

    def wait(self, report: IngestReport, *, timeout: float) -> Steps[IngestReport]:
        if not report.pending:
            return report
        deadline = time.monotonic() + timeout
        complete = IngestReport(dataset=report.dataset, key=report.key)
        for request in report.requests:
            answer = yield from self._landed(request.ingestion, deadline)
            complete = complete.with_sent(request).with_answer(answer, first_row=request.first_row)
        return complete

    def _landed(self, id: str, deadline: float) -> Steps[Mapping[str, Any]]:
        while True:
            found = yield from self.ingestion(id)
            answer: Mapping[str, Any] | None = found["answer"]
            if answer is not None:
                return answer
            if found["state"] != "pending":
                raise UnavailableError(f"ingestion {id}: {found['detail']}", code=found["state"])
            if time.monotonic() >= deadline:
                raise UnavailableError(f"ingestion {id} has not landed yet; wait for it again", code="pending")
            yield Pause(seconds=LOOK_SECONDS)

    def query(self, dataset: str, **asked: Unpack[QueryArguments]) -> Steps[httpx.Response]:
        return self._ask(f"/datasets/{_segment(dataset)}/query", question(**asked))

    def page(self, dataset: str, page_rows: int, cursor: str | None, **asked: Unpack[QueryArguments]) -> Steps[httpx.Response]:
        """One page; the first without a cursor."""
        body = {**question(**asked), "pageSize": page_rows} | ({} if cursor is None else {"cursor": cursor})
        return self._ask(f"/datasets/{_segment(dataset)}/query", body)

    def sql(self, text: str, parameters: Mapping[str, Any] | None, as_of: SqlAsOf) -> Steps[httpx.Response]:
        return self._ask("/sql", statement({"sql": text}, parameters or {}, as_of))

    def saved_query(self, name: str, parameters: Mapping[str, Any], as_of: SqlAsOf) -> Steps[httpx.Response]:
        return self._ask(f"/saved-queries/{_segment(name)}/run", statement({}, parameters, as_of))

    def _ask(self, path: str, body: Mapping[str, Any]) -> Steps[httpx.Response]:
        return self._exchange.send("POST", path, stream=self._streaming, json=body, headers={"Accept": readable()})

    def datasets(self) -> Steps[list[dict[str, Any]]]:
        found: list[dict[str, Any]] = (yield from self._exchange.json("GET", "/datasets"))["datasets"]
        return found

    def partitions(self, dataset: str) -> Steps[list[dict[str, Any]]]:
        path, found = f"/datasets/{_segment(dataset)}/partitions", list[dict[str, Any]]()
        cursor: str | None = None
        while True:
            page = yield from self._exchange.json("GET", path, params={"cursor": cursor} if cursor else {})
            found += page["partitions"]
            cursor = page["nextCursor"]
            if cursor is None:
                return found

    def status(self, dataset: str) -> Steps[dict[str, Any]]:
        return self._exchange.json("GET", f"/datasets/{_segment(dataset)}/status")


def _segment(name: str) -> str:
    return quote(name, safe="")

"""`AsyncTimestoreClient`: the same for programs with an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from timestore_assets.client.asking import QueryArguments, SqlAsOf
from timestore_assets.client.exchange import Retries, Steps
from timestore_assets.client.http_answer import HttpAnswer, readable
from timestore_assets.client.ingest_report import IngestReport
from timestore_assets.client.operations import PAGE_ROWS, Operations
from timestore_assets.client.result import Result
from timestore_assets.client.timestore_client import TIMEOUT_SECONDS
from timestore_assets.client.transport import AsyncTransport

if TYPE_CHECKING:
    import httpx


class AsyncTimestoreClient:
    """`TimestoreClient` with methods that are awaited; see there for what they take, give and raise.

    An answer is received as a whole before it is given, so that reading it blocks nobody: ask for `pages` where it is long.
    Rows that are ingested may come from an iterator, which is read in the event loop.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries | int = Retries(),  # noqa: B008 - frozen
    ) -> None:
        chosen = retries if isinstance(retries, Retries) else Retries(attempts=retries + 1)
        self._transport = AsyncTransport(url, token, timeout=timeout, retries=chosen)
        self._operations = Operations(self._transport.exchange, streaming=False)

    async def ingest(
        self, dataset: str, data: Any, *, key: str | None = None, chunk_rows: int | None = None, asynchronous: bool = False
    ) -> IngestReport:
        steps = self._operations.ingest(dataset, data, key=key, chunk_rows=chunk_rows, asynchronous=asynchronous)
        return await self._transport.run(steps)

    async def ingestion(self, id: str) -> dict[str, Any]:
        return await self._transport.run(self._operations.ingestion(id))

    async def wait(self, report: IngestReport, *, timeout: float = 300.0) -> IngestReport:
        return await self._transport.run(self._operations.wait(report, timeout=timeout))

    async def query(self, dataset: str, **asked: Unpack[QueryArguments]) -> Result:
        return await self._answer(self._operations.query(dataset, **asked))

    async def pages(self, dataset: str, *, page_rows: int = PAGE_ROWS, **asked: Unpack[QueryArguments]) -> AsyncIterator[Result]:
        cursor: str | None = None
        while True:
            page = await self._answer(self._operations.page(dataset, page_rows, cursor, **asked))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def sql(self, text: str, parameters: Mapping[str, Any] | None = None, *, as_of: SqlAsOf = None) -> Result:
        return await self._answer(self._operations.sql(text, parameters, as_of))

    async def saved_query(self, name: str, *, as_of: SqlAsOf = None, **parameters: Any) -> Result:
        return await self._answer(self._operations.saved_query(name, parameters, as_of))

    async def _answer(self, steps: Steps[httpx.Response]) -> Result:
        return Result(HttpAnswer(await self._transport.run(steps), self._transport.reading, media_type=readable()))

    async def datasets(self) -> list[dict[str, Any]]:
        return await self._transport.run(self._operations.datasets())

    async def partitions(self, dataset: str) -> list[dict[str, Any]]:
        return await self._transport.run(self._operations.partitions(dataset))

    async def status(self, dataset: str) -> dict[str, Any]:
        return await self._transport.run(self._operations.status(dataset))

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

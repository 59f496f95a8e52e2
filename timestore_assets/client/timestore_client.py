"""`TimestoreClient`: land rows and ask questions over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from timestore_assets.client.asking import QueryArguments, SqlAsOf
from timestore_assets.client.exchange import Retries, Steps
from timestore_assets.client.http_answer import HttpAnswer, readable
from timestore_assets.client.ingest_report import IngestReport
from timestore_assets.client.operations import PAGE_ROWS, Operations
from timestore_assets.client.result import Result
from timestore_assets.client.transport import Transport

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 60.0


class TimestoreClient:
    """Speaks to the service at `url`. Threads may share it; close it, or use it as a context manager.

    `token`: an API token or a JSON Web Token; not needed for a service on this machine that has no tokens. `timeout`: seconds of
    silence after which a request counts as failed. `retries`: what happens then; a number means so many further tries.
    Methods raise the errors of `timestore_assets.client.client_errors`, whose text is the service's own sentence.
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
        self._transport = Transport(url, token, timeout=timeout, retries=chosen)
        self._operations = Operations(self._transport.exchange, streaming=True)

    # --- landing

    def ingest(
        self,
        dataset: str,
        data: Any,
        *,
        key: str | None = None,
        chunk_rows: int | None = None,
        asynchronous: bool = False,
    ) -> IngestReport:
        """Land rows; when it returns they are durable, each once, whatever was sent twice on the way.

        `data`: records (dicts), an Arrow table, batch or reader, a Polars or pandas frame, or an iterator of these, which is read
        as it is sent, so that memory stays bounded. `key`: names the input; ingesting it again with the same key, also from
        another process, lands nothing twice. `chunk_rows`: rows of one request at most. `asynchronous`: return once the service
        has taken the rows; `wait` then waits for them to be durable. Rows the service refuses don't raise, the report has them.

        Raises:
            InputError: the data is of no such kind.
            RejectedError, ConflictError, NotFoundError, RefusedError: refused as a whole; nothing landed.
            InterruptedIngestError: it ended half way, or the outcome is not known; it says how to go on.
            Exception: what an iterator of rows itself raises; with a `key` of one's own all of it can be sent again.
        """
        steps = self._operations.ingest(dataset, data, key=key, chunk_rows=chunk_rows, asynchronous=asynchronous)
        return self._transport.run(steps)

    def ingestion(self, id: str) -> dict[str, Any]:
        """What the service knows of a request that was sent: its `state` (pending, landed, abandoned), and its `answer`."""
        return self._transport.run(self._operations.ingestion(id))

    def wait(self, report: IngestReport, *, timeout: float = 300.0) -> IngestReport:
        """Wait until an asynchronous ingest is durable; its complete report.

        Raises:
            UnavailableError: it is not within `timeout` seconds, or the service gave it up: send it again with the same key.
        """
        return self._transport.run(self._operations.wait(report, timeout=timeout))

    # --- asking

    def query(self, dataset: str, **asked: Unpack[QueryArguments]) -> Result:
        """Rows of a dataset in `[start, end)`, in order of time, or figures per bucket of time.

        Keyword arguments: `start`, `end`, `columns`, `filters`, `every`, `timezone`, `aggregates`, `group_by`, `fill`, `limit`,
        `descending`, `as_of`; see `asking.QueryArguments`.
        """
        return self._answer(self._operations.query(dataset, **asked))

    def pages(self, dataset: str, *, page_rows: int = PAGE_ROWS, **asked: Unpack[QueryArguments]) -> Iterator[Result]:
        """The answer to `query(dataset, **asked)` page by page, all of one manifest version, each a request of its own."""
        cursor: str | None = None
        while True:
            with self._answer(self._operations.page(dataset, page_rows, cursor, **asked)) as page:
                yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def sql(self, text: str, parameters: Mapping[str, Any] | None = None, *, as_of: SqlAsOf = None) -> Result:
        """The answer to one SELECT over the datasets that the token may read; `$name` in it stands for a parameter.

        `as_of`: a time or a tag, to ask what was known then, a manifest version where one dataset is read, or any of these by
        dataset: `{"power": 17}`.
        """
        return self._answer(self._operations.sql(text, parameters, as_of))

    def saved_query(self, name: str, *, as_of: SqlAsOf = None, **parameters: Any) -> Result:
        """The answer to a query that is saved in the service; `as_of` as for `sql`."""
        return self._answer(self._operations.saved_query(name, parameters, as_of))

    def _answer(self, steps: Steps[httpx.Response]) -> Result:
        return Result(HttpAnswer(self._transport.run(steps), self._transport.reading, media_type=readable()))

    # --- looking

    def datasets(self) -> list[dict[str, Any]]:
        """The datasets that the token opens: name, description, columns, rows, newest time, …"""
        return self._transport.run(self._operations.datasets())

    def partitions(self, dataset: str) -> list[dict[str, Any]]:
        """All partitions of a dataset, in order of time: state, rows, bytes, segments, …"""
        return self._transport.run(self._operations.partitions(dataset))

    def status(self, dataset: str) -> dict[str, Any]:
        """What came from each source of a dataset and how far behind it is."""
        return self._transport.run(self._operations.status(dataset))

    def close(self) -> None:
        """Close the connections; answers that were not read to their end break off."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

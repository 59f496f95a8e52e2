"""`TimestoreClient`: land rows and ask questions over HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from timestore_assets.client.asking import Aggregates, Filters, Moment, bound, question
from timestore_assets.client.bodies import ARROW
from timestore_assets.client.errors import UnavailableError
from timestore_assets.client.ingesting import ingest
from timestore_assets.client.report import IngestReport
from timestore_assets.client.result import Result
from timestore_assets.client.retrying import Retries
from timestore_assets.client.transport import Transport

TIMEOUT_SECONDS = 60.0
PAGE_ROWS = 10_000
LOOK_SECONDS = 0.2
"""Pause between two looks at an ingestion that is waited for."""


class TimestoreClient:
    """Speaks to the service at `url`. Threads may share it; close it, or use it as a context manager.

    `token`: an API token or a JSON Web Token; not needed for a service on this machine that has no tokens. `timeout`: seconds of
    silence after which a request counts as failed. `retries`: what happens then; a number means so many further tries.
    Methods raise the errors of `timestore_assets.client.errors`, whose text is the service's own sentence.
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
            What an iterator of rows itself raises passes through; with a `key` of one's own all of it can be sent again.
        """
        name = key or uuid.uuid4().hex
        return ingest(self._transport, dataset, data, key=name, chunk_rows=chunk_rows, asynchronous=asynchronous)

    def ingestion(self, id: str) -> dict[str, Any]:
        """What the service knows of a request that was sent: its `state` (pending, landed, abandoned), and its `answer`."""
        found: dict[str, Any] = self._transport.json("GET", f"/ingestions/{_segment(id)}")
        return found

    def wait(self, report: IngestReport, *, timeout: float = 300.0) -> IngestReport:
        """Wait until an asynchronous ingest is durable; its complete report.

        Raises:
            UnavailableError: it is not within `timeout` seconds, or the service gave it up: send it again with the same key.
        """
        if not report.pending:
            return report
        deadline = time.monotonic() + timeout
        complete = IngestReport(dataset=report.dataset, key=report.key)
        for request in report.requests:
            answer = self._landed(request.ingestion, deadline)
            complete = complete.with_sent(request).with_answer(answer, first_row=request.first_row)
        return complete

    def _landed(self, id: str, deadline: float) -> Mapping[str, Any]:
        while True:
            found = self.ingestion(id)
            answer: Mapping[str, Any] | None = found["answer"]
            if answer is not None:
                return answer
            if found["state"] != "pending":
                raise UnavailableError(f"ingestion {id}: {found['detail']}", code=found["state"])
            if time.monotonic() >= deadline:
                raise UnavailableError(f"ingestion {id} has not landed yet; wait for it again", code="pending")
            time.sleep(LOOK_SECONDS)

    # --- asking

    def query(
        self,
        dataset: str,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        columns: Sequence[str] | None = None,
        filters: Filters = (),
        every: str | timedelta | None = None,
        aggregates: Aggregates = (),
        group_by: Sequence[str] = (),
        fill: str | None = None,
        limit: int | None = None,
        as_of: int | None = None,
    ) -> Result:
        """Rows of a dataset in `[start, end)`, in order of time, or figures per bucket of time.

        `start`, `end`: times without a zone are UTC. `filters`: `{"station": "JFK", "year": [2012, 2013]}`, or a list of
        `(column, op, value)` with `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `notIn`, `between`, `isNull`, `isNotNull`, `contains`,
        `startsWith`. `every`: length of a bucket, as `15m`, `1h`, `month` or a timedelta; `aggregates`, as
        `"avg:temp,percentile(95):temp as p95,count"`, are then what each has, by `group_by`, and `fill` what an empty one has:
        `none`, `null`, `zero`, `previous`, `linear`. `as_of`: a manifest version, to ask what was known then.
        """
        body = question(
            start=start,
            end=end,
            columns=columns,
            filters=filters,
            every=every,
            aggregates=aggregates,
            group_by=group_by,
            fill=fill,
            limit=limit,
            as_of=as_of,
        )
        return self._ask(f"/datasets/{_segment(dataset)}/query", body)

    def pages(self, dataset: str, *, page_rows: int = PAGE_ROWS, **asked: Any) -> Iterator[Result]:
        """The answer to `query(dataset, **asked)` page by page, all of one manifest version, each a request of its own."""
        body = {**question(**asked), "pageSize": page_rows}
        while True:
            with self._ask(f"/datasets/{_segment(dataset)}/query", body) as page:
                yield page
            if page.next_cursor is None:
                return
            body["cursor"] = page.next_cursor

    def sql(self, text: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """The answer to one SELECT over the datasets that the token may read; `$name` in it stands for a parameter."""
        return self._ask("/sql", {"sql": text, "parameters": bound(parameters or {})})

    def saved_query(self, name: str, **parameters: Any) -> Result:
        """The answer to a query that is saved in the service."""
        return self._ask(f"/saved-queries/{_segment(name)}/run", {"parameters": bound(parameters)})

    def _ask(self, path: str, body: Mapping[str, Any]) -> Result:
        response = self._transport.send("POST", path, stream=True, json=body, headers={"Accept": ARROW})
        return Result(response, self._transport.reading)

    # --- looking

    def datasets(self) -> list[dict[str, Any]]:
        """The datasets that the token opens: name, description, columns, rows, newest time, …"""
        found: list[dict[str, Any]] = self._transport.json("GET", "/datasets")["datasets"]
        return found

    def partitions(self, dataset: str) -> list[dict[str, Any]]:
        """All partitions of a dataset, in order of time: state, rows, bytes, segments, …"""
        path, found = f"/datasets/{_segment(dataset)}/partitions", list[dict[str, Any]]()
        cursor: str | None = None
        while True:
            page = self._transport.json("GET", path, params={"cursor": cursor} if cursor else {})
            found += page["partitions"]
            cursor = page["nextCursor"]
            if cursor is None:
                return found

    def status(self, dataset: str) -> dict[str, Any]:
        """What came from each source of a dataset and how far behind it is."""
        found: dict[str, Any] = self._transport.json("GET", f"/datasets/{_segment(dataset)}/status")
        return found

    def close(self) -> None:
        """Close the connections; answers that were not read to their end break off."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _segment(name: str) -> str:
    return quote(name, safe="")

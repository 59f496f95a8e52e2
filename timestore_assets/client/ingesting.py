"""Rows sent body by body, each under a key of its own, so that sending one again never lands it twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from timestore_assets.client.client_errors import ClientError, InterruptedIngestError, UnavailableError
from timestore_assets.client.exchange import Exchange, Steps
from timestore_assets.client.ingest_report import IngestReport, SentRequest
from timestore_assets.client.request_bodies import EncodedRows, bodies
from timestore_assets.model.errors import InputError

LONGEST_KEY = 180
"""Characters of a key, which leaves room for the number of a body."""


def ingest(
    exchange: Exchange, dataset: str, data: Any, *, key: str, chunk_rows: int | None, asynchronous: bool
) -> Steps[IngestReport]:
    """Send all rows in order.

    Raises:
        InputError: the data or the key are not of a kind that can be sent.
        RejectedError, ConflictError, NotFoundError, RefusedError: the first request was refused; nothing landed.
        InterruptedIngestError: a later one was, or it is not known whether a request landed.
    """
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InputError(f"a key has 1 to {LONGEST_KEY} printable ASCII characters")
    report = IngestReport(dataset=dataset, key=key)
    for name, body in _keyed(bodies(data, rows=chunk_rows), key):
        try:
            answer = yield from _send(exchange, dataset, body, key=name, asynchronous=asynchronous)
        except ClientError as error:
            if not report.sent and not isinstance(error, UnavailableError):
                raise
            raise InterruptedIngestError(error, key=key, report=report) from error
        first_row = report.sent
        report = report.with_sent(SentRequest(ingestion=answer["ingestionId"], first_row=first_row, rows=body.rows))
        if "read" in answer:
            report = report.with_answer(answer, first_row=first_row)
    return report


def _keyed(sent: Iterator[EncodedRows], key: str) -> Iterator[tuple[str, EncodedRows]]:
    """The first body goes under the key itself, later ones under the key and their number."""
    for number, body in enumerate(sent, start=1):
        yield (key if number == 1 else f"{key}#{number}"), body


def _send(exchange: Exchange, dataset: str, body: EncodedRows, *, key: str, asynchronous: bool) -> Steps[dict[str, Any]]:
    headers = {"Content-Type": body.media_type, "Idempotency-Key": key, "Accept": "application/json"}
    if asynchronous:
        headers["Prefer"] = "respond-async"
    path = f"/datasets/{quote(dataset, safe='')}/ingest"
    answer: dict[str, Any] = yield from exchange.json("POST", path, content=body.content, headers=headers)
    return answer

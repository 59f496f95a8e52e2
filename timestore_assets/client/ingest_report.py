"""What became of ingested rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MOST_REFUSED = 10_000
"""Refused rows that a report lists at most; all of them are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRow:
    """A row that became a dead letter. `row`: its number in the whole input, from 0. `column`: None when it is about the row."""

    row: int
    code: str
    column: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SentRequest:
    """One request of an ingest. `ingestion`: its id. `first_row`: the input's row it begins with."""

    ingestion: str
    first_row: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport:
    """Rows that were sent, by what became of them: `read = landed + duplicates + dead_letters`.

    `sent`: rows handed to the service, of which an asynchronous ingest has `read` none yet. `refused`: the dead letters that the
    service listed (`truncated`: not all). `repeated`: requests that had landed before, under the same key. `manifest_version`:
    the newest one that holds the rows; None when nothing landed yet.
    """

    dataset: str
    key: str
    sent: int = 0
    read: int = 0
    landed: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    refused: tuple[RefusedRow, ...] = ()
    truncated: bool = False
    repeated: int = 0
    manifest_version: int | None = None
    requests: tuple[SentRequest, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether the service still has to land some of it; `TimestoreClient.wait` waits for that."""
        return self.read < self.sent

    def with_sent(self, request: SentRequest) -> IngestReport:
        """With a request that was taken, and whose outcome comes later."""
        return replace(self, sent=self.sent + request.rows, requests=(*self.requests, request))

    def with_answer(self, answer: Mapping[str, Any], *, first_row: int) -> IngestReport:
        """With the service's answer about rows from `first_row` on."""
        letters = answer["deadLetters"]
        listed = tuple(
            RefusedRow(row=first_row + one["row"], code=one["code"], column=one.get("column"), reason=one["reason"])
            for one in letters["rows"]
        )
        refused = (*self.refused, *listed)
        versions = [version for version in (self.manifest_version, answer.get("manifestVersion")) if version is not None]
        return replace(
            self,
            read=self.read + answer["read"],
            landed=self.landed + answer["landed"],
            duplicates=self.duplicates + answer["duplicates"],
            dead_letters=self.dead_letters + letters["count"],
            refused=refused[:MOST_REFUSED],
            truncated=self.truncated or bool(letters["truncated"]) or len(refused) > MOST_REFUSED,
            repeated=self.repeated + bool(answer["repeated"]),
            manifest_version=max(versions, default=None),
        )

"""A dataset's partitions, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import Field

from timestore_assets.catalog.records import PartitionState
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window, parse_time
from timestore_assets.service.wire import Wire

MOST = 10_000


class PartitionAnswer(Wire):
    """One partition; `deltas` of its `segments` are not built yet."""

    partition: str = Field(examples=["2013-01-01"])
    start: str = Field(examples=["2013-01-01T00:00:00Z"])
    end: str = Field(examples=["2013-01-02T00:00:00Z"])
    state: PartitionState
    rows: int = Field(description="Of live segments; before deduplication of those that are not built.", examples=[72])
    bytes: int = Field(examples=[4096])
    segments: int = Field(examples=[1])
    deltas: int = Field(examples=[0])
    schema_version: int = Field(examples=[1])
    superseded_rows: int = Field(description="Rows that builds removed as duplicates.", examples=[0])
    content_hash: str | None = Field(description="Of the logical rows; only of sealed partitions.", examples=[None])
    min_time: str | None = Field(examples=["2013-01-01T00:00:00Z"])
    max_time: str | None = Field(examples=["2013-01-01T23:00:00Z"])
    manifest_version: int = Field(description="Version at which it last changed.", examples=[7])


class PartitionPage(Wire):
    """Partitions in order of time."""

    dataset: str = Field(examples=["nyc_weather"])
    manifest_version: int = Field(examples=[7])
    partitions: list[PartitionAnswer]
    next_cursor: str | None = Field(description="Send it as `cursor` for what follows; null at the end.", examples=[None])


class PartitionChoice(Wire):
    """The query string that chooses partitions."""

    state: PartitionState | None = Field(None, description="Only those in this state.")
    from_: str | None = Field(
        None,
        alias="from",
        max_length=40,
        description="Only those that end after this time (RFC 3339).",
        examples=["2013-01-01T00:00:00Z"],
    )
    to: str | None = Field(
        None,
        max_length=40,
        description="Only those that start before this time (RFC 3339).",
        examples=["2013-02-01T00:00:00Z"],
    )
    limit: int = Field(1000, ge=1, le=MOST, description="So many at most.")
    cursor: str | None = Field(None, max_length=40, description="`nextCursor` of the page before.")


def page_of(
    dataset: str, window: Window, rows: Iterable[dict[str, Any]], choice: PartitionChoice, *, manifest_version: int
) -> PartitionPage:
    """The page of partitions that was asked for, from rows in the shape of `overview.partition_rows`.

    Raises:
        InputError: a time or the cursor can't be read.
    """
    first, last = _time(choice.from_, "from"), _time(choice.to, "to")
    after = None if choice.cursor is None else _after(window, choice.cursor)
    chosen = [
        row
        for row in rows
        if (choice.state is None or row["state"] == choice.state)
        and (first is None or parse_time(row["end"]) > first)
        and (last is None or parse_time(row["start"]) < last)
        and (after is None or parse_time(row["start"]) > after)
    ]
    page = chosen[: choice.limit]
    return PartitionPage(
        dataset=dataset,
        manifest_version=manifest_version,
        partitions=[PartitionAnswer(**row) for row in page],
        next_cursor=page[-1]["partition"] if len(chosen) > len(page) else None,
    )


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _after(window: Window, cursor: str) -> datetime:
    try:
        return window.parse_key(cursor).start
    except InputError:
        raise InputError("cursor: is none that this service gave; begin again without one") from None

"""Which landed rows somebody means, by where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from timestore_assets.model.window import format_time

Bound = int | datetime | None
"""An offset, or a time at which records came to the broker; None is no bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicRows:
    """Rows of a topic's records in `[start, end)`."""

    topic: str
    number: int | None
    """Of its partition; None for all, which take times alone."""
    start: Bound = None
    end: Bound = None

    @property
    def name(self) -> str:
        return self.topic if self.number is None else f"{self.topic}/{self.number}"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"source": self.name, "from": _plain(self.start), "to": _plain(self.end)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRows:
    """All rows of the content that stands at an address now."""

    address: str

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"file": self.address}


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRows:
    """The rows of the request that was sent with an idempotency key."""

    key: str

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"key": self.key}


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRows:
    """All rows that a landing session has landed so far."""

    session: int

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"session": self.session}


RowSelector = TopicRows | FileRows | RequestRows | SessionRows


def _plain(bound: Bound) -> int | str | None:
    return format_time(bound) if isinstance(bound, datetime) else bound

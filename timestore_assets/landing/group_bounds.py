"""How much may wait to be landed together, and how much of it makes one commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from timestore_assets.landing.backpressure import Marks
from timestore_assets.model.errors import TimestoreError
from timestore_assets.settings import Settings


class BufferFullError(TimestoreError):
    """No more may wait now. `retry_after`: seconds after which there should be room."""

    def __init__(self, detail: str, *, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What waits, or is being landed: `bytes` of decoded bodies."""

    requests: int = 0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Waiting) -> Waiting:
        return self._combined(other, 1)

    def __sub__(self, other: Waiting) -> Waiting:
        return self._combined(other, -1)

    def _combined(self, other: Waiting, sign: int) -> Waiting:
        return Waiting(
            requests=self.requests + sign * other.requests,
            rows=self.rows + sign * other.rows,
            bytes=self.bytes + sign * other.bytes,
        )

    def exceeded_in(self, limit: Waiting) -> str:
        """What of it is more than the limit, in words; empty when nothing is."""
        for name in ("requests", "rows", "bytes"):
            if getattr(self, name) > getattr(limit, name):
                return f"{getattr(limit, name):,} {name}"
        return ""


NOTHING = Waiting()


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """`commit`: of one commit. `dataset`, `total`: what may wait. `linger_seconds`: how long a request waits for others when no
    commit is under way. `marks`: backlogs behind landing at which requests are refused for `pause_seconds`. `idle_seconds`: how
    long a session without requests lasts. `patience_seconds`: how long a fault that passes by itself is waited for.
    """

    commit: Waiting
    dataset: Waiting
    total: Waiting
    linger_seconds: float
    marks: Marks
    pause_seconds: float
    idle_seconds: float = 300.0
    patience_seconds: float = 10.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The bounds that a deployment has set."""
        s = settings
        dataset = Waiting(requests=s.ingest_buffer_requests, rows=s.ingest_buffer_rows, bytes=s.ingest_buffer_bytes)
        return cls(
            commit=Waiting(requests=s.ingest_buffer_requests, rows=s.ingest_commit_rows, bytes=s.ingest_commit_bytes),
            dataset=dataset,
            total=Waiting(requests=s.ingest_total_requests, rows=s.ingest_total_rows, bytes=s.ingest_total_bytes),
            linger_seconds=s.ingest_linger_ms / 1000,
            marks=s.backlog_marks(),
            pause_seconds=s.backlog_pause_seconds,
        )

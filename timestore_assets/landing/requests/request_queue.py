"""Requests that wait for their commit, within the limits of their dataset and of all datasets together.

How much may wait is limited, and so is how much of it makes one commit.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Self

from timestore_assets.landing.requests.submission import Request
from timestore_assets.landing.topics.backpressure import Thresholds
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
class QueueLimits:
    """How much waits, for how long, and when nothing more is taken."""

    commit: Waiting
    """Of one commit."""
    dataset: Waiting
    """What may wait for one."""
    total: Waiting
    """What may wait for all."""
    linger_seconds: float
    """How long a request waits for others when no commit is under way."""
    marks: Thresholds
    """Backlogs behind landing at which requests are refused."""
    pause_seconds: float
    """How long they are."""
    idle_seconds: float = 300.0
    """How long a session without requests lasts."""
    patience_seconds: float = 10.0
    """How long a fault that passes by itself is waited for."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that a deployment has set."""
        s = settings
        dataset = Waiting(requests=s.ingest_buffer_requests, rows=s.ingest_buffer_rows, bytes=s.ingest_buffer_bytes)
        return cls(
            commit=Waiting(requests=s.ingest_buffer_requests, rows=s.ingest_commit_rows, bytes=s.ingest_commit_bytes),
            dataset=dataset,
            total=Waiting(requests=s.ingest_total_requests, rows=s.ingest_total_rows, bytes=s.ingest_total_bytes),
            linger_seconds=s.ingest_linger_ms / 1000,
            marks=Thresholds.of(s),
            pause_seconds=s.backlog_pause_seconds,
        )


_LONGEST_WAIT_SECONDS = 60.0


class QueueCapacity:
    """What waits over all datasets. `lock`: guards this and every queue in it."""

    def __init__(self, bounds: QueueLimits) -> None:
        self.lock = threading.Lock()
        self.bounds = bounds
        self.held = NOTHING


class Queue:
    """Requests of one dataset, in order of arrival."""

    def __init__(self, name: str, room: QueueCapacity) -> None:
        self.name, self._room = name, room
        self._changed = threading.Condition(room.lock)
        self._requests: deque[Request] = deque()
        self._waiting = NOTHING
        self._closing = False
        self._rows_per_second = 0.0
        self.held = NOTHING
        """What waits and what is being landed."""

    def put(self, request: Request) -> None:
        """Let a request wait.

        Raises:
            BufferFullError: that would be more than the limits allow.
        """
        size = _size(request)
        with self._changed:
            bounds = self._room.bounds
            if excess := (self.held + size).exceeded_in(bounds.dataset):
                raise self._full(f"{excess} of {self.name!r} are waiting to be landed")
            if excess := (self._room.held + size).exceeded_in(bounds.total):
                raise self._full(f"{excess} are waiting to be landed")
            self.held, self._room.held = self.held + size, self._room.held + size
            self._waiting += size
            self._requests.append(request)
            self._changed.notify()

    def take(self, timeout_seconds: float) -> list[Request] | None:
        """What makes the next commit: empty when nothing came in time, None when the queue is closed and empty.

        Somebody who comes alone waits a moment for others.
        """
        with self._changed:
            if not self._requests:
                self._changed.wait_for(lambda: self._requests or self._closing, timeout_seconds)
                if not self._requests:
                    return None if self._closing else []
                self._changed.wait_for(self._is_enough, self._room.bounds.linger_seconds)
            return self._turn()

    def done(self, request: Request) -> None:
        """A request waits no more."""
        size = _size(request)
        with self._changed:
            self.held, self._room.held = self.held - size, self._room.held - size

    def landed(self, rows: int, seconds: float) -> None:
        """So fast it went last, which tells how long others will wait."""
        speed = rows / max(seconds, 1e-6)
        with self._changed:
            self._rows_per_second = 0.7 * (self._rows_per_second or speed) + 0.3 * speed

    def drain(self) -> list[Request]:
        """All that waits, which nobody will take any more."""
        with self._changed:
            left = list(self._requests)
            self._requests.clear()
            self._waiting = NOTHING
            return left

    def close(self) -> None:
        """Take nothing more; what waits is still handed out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _is_enough(self) -> bool:
        return self._closing or self._waiting.exceeded_in(self._room.bounds.commit) != ""

    def _turn(self) -> list[Request]:
        """From the front on as much as one commit takes, one request at least."""
        turn: list[Request] = []
        size = NOTHING
        while self._requests:
            size += _size(self._requests[0])
            if turn and size.exceeded_in(self._room.bounds.commit):
                break
            request = self._requests.popleft()
            self._waiting -= _size(request)
            turn.append(request)
        return turn

    def _full(self, what: str) -> BufferFullError:
        seconds = self.held.rows / self._rows_per_second if self._rows_per_second else 1.0
        retry_after = min(max(seconds, 1.0), _LONGEST_WAIT_SECONDS)
        return BufferFullError(f"{what}; send it again after {retry_after:.0f} s", retry_after=retry_after)


def _size(request: Request) -> Waiting:
    return Waiting(requests=1, rows=request.rows, bytes=request.bytes)

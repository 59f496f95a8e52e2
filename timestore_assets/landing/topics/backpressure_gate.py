"""Lets a session read on, or makes it wait while too much is waiting behind it; the catalog says why."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from timestore_assets.catalog.records import SourceRecord
from timestore_assets.landing.topics.backpressure import should_pause
from timestore_assets.landing.topics.session_options import SessionOptions
from timestore_assets.model.errors import UnavailableError
from timestore_assets.segments.publishing import WriteContext

_JUDGE_SECONDS = 1.0


class BackpressureGate:
    """`reason`: why it is closed, empty while it is open."""

    def __init__(self, context: WriteContext, source: SourceRecord, wishes: SessionOptions) -> None:
        self._catalog, self._retry = context.catalog, context.retry
        self._source_id, self._wishes = source.id, wishes
        self.reason = ""
        # a session before this one may have ended, or died, while it was paused
        self._shown = source.paused
        self._since = self._next = time.monotonic()
        self._waited = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    @property
    def waited_seconds(self) -> float:
        """All the time it has been closed."""
        return self._waited + self.closed_seconds

    @property
    def closed_seconds(self) -> float:
        """How long it has been closed without a break."""
        return time.monotonic() - self._since if self.reason else 0.0

    def judge(self, *, commit_seconds: float) -> None:
        """Close or open it by what waits behind landing, and say so in the catalog when that has changed."""
        if self._wishes.marks is None:
            reason = ""
        else:
            backlog = replace(self._retry.run(self._wishes.gauge), commit_ms=int(commit_seconds * 1000))
            reason = should_pause(backlog, self._wishes.marks, paused=bool(self.reason))
        if self.reason and not reason:
            self._waited += self.closed_seconds
        elif reason and not self.reason:
            self._since = time.monotonic()
        self.reason = reason
        self._next = time.monotonic() + (self._wishes.pause_seconds if reason else _JUDGE_SECONDS)
        self._show()

    def _show(self) -> None:
        if self.reason != self._shown:
            with suppress(UnavailableError):
                self._catalog.sources.pause(self._source_id, self.reason)
                self._shown = self.reason

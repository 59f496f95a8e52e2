"""Operations at work in this process: each in a thread of its own, beside the requests, its beginning and end written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.long_requests import OperationKind, resource
from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.error_redaction import ErrorRedaction
from timestore_assets.service.problems import ServiceError, TooManyRequestsError

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

MOST = 4
"""At a time: each may take the memory of a build."""
PATIENCE_SECONDS = 10.0
"""How long the end of the service waits for what is asked to stop."""
_TTL = timedelta(seconds=30)

Work = Callable[[threading.Event], Mapping[str, Any]]
"""Does it and gives what came of it, plain values; the event asks it to stop where it can go on later.

Raises (it): TimestoreError.
"""


class UnexpectedEndError(ServiceError):
    """It failed in a way that nobody foresaw."""


class RunningOperation:
    """`error`: that it ended by."""

    def __init__(self, operation_id: str) -> None:
        self.id = operation_id
        self.error: TimestoreError | None = None
        self._ended = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, or does within these seconds.

        Raises:
            TimestoreError: it ended by that.
        """
        ended = self._ended.wait(seconds)
        if self.error is not None:
            raise self.error
        return ended

    def end(self, error: TimestoreError | None) -> None:
        self.error = error
        self._ended.set()


class OperationRunner:
    """`begin` gives what to wait for; `close` ends with those that stop in time. Others end with the process."""

    def __init__(self, warehouse: Warehouse, log: Log) -> None:
        self._warehouse, self._log, self._redaction = warehouse, log, ErrorRedaction.of(warehouse)
        self._stopping = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def begin(self, name: str, kind: OperationKind, request: Mapping[str, Any], work: Work, *, actor: str) -> RunningOperation:
        """Begin to work on a dataset. `request`: what of it may be written down: nothing of rows.

        Raises:
            TooManyRequestsError: enough are at work.
        """
        _, record = self._warehouse.resolve(name)
        running = RunningOperation(token_hex(16))
        keeper = LeaseKeeper(self._warehouse.catalog)
        at_work = partial(self._run, running, record.id, work, keeper, actor)
        thread = threading.Thread(target=at_work, name=f"operation-{kind}", daemon=True)
        with self._lock:
            if len(self._threads) >= MOST or self._stopping.is_set():
                raise TooManyRequestsError(f"{MOST} operations are at work here; ask again when one has ended", retry_after=10)
            self._threads.add(thread)
        try:
            keeper.hold(resource(running.id), holder=f"{self._warehouse.holder}:{running.id}", ttl=_TTL)
            self._warehouse.catalog.operations.begin(running.id, record.id, kind, request, actor=actor)
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            keeper.close()
            raise
        return running

    def close(self) -> None:
        """Ask what is at work to stop, and wait a little for it."""
        self._stopping.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, running: RunningOperation, dataset_id: int, work: Work, keeper: LeaseKeeper, actor: str) -> None:
        operations = self._warehouse.catalog.operations
        error: TimestoreError | None = None
        try:
            operations.end(running.id, dataset_id, work(self._stopping), actor=actor)
        except TimestoreError as ours:
            error = ours
        except Exception as unexpected:
            # what it says may hold values of rows
            self._log.failure("operation_failed", unexpected, operation=running.id)
            error = UnexpectedEndError(
                f"something unexpected went wrong; the service's log tells more under operation {running.id}"
            )
        finally:
            if error is not None:
                operations.fail(running.id, dataset_id, self._redaction.told(str(error)), actor=actor)
            with suppress(TimestoreError):
                keeper.close()
            self._threads.discard(threading.current_thread())
            running.end(error)

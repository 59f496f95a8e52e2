"""The thread that lands a dataset's requests: everything that waits together, in one segment a partition and one transaction."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from timestore_assets.catalog.port import Catalog
from timestore_assets.landing.group_bounds import Bounds
from timestore_assets.landing.group_keys import KeysUsedError, announce, sort_by_key
from timestore_assets.landing.group_queue import Queue
from timestore_assets.landing.group_requests import Request
from timestore_assets.landing.group_session import GroupSession, group_session
from timestore_assets.model.errors import BadFileError, ConflictError, InputError, TimestoreError, UnavailableError
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.storage.targets import Storage

_LOOK_AGAIN_SECONDS = 0.2
_TRIES = 5
_CONFLICT = "others changed the dataset again and again meanwhile; nothing of these records landed, send them again"
_STOPPED = "landing these records stopped unexpectedly and nothing of them landed; send them again"


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCommit:
    """One commit of several requests. `seconds`: from taking them to their being durable."""

    dataset: str
    requests: int
    rows: int
    seconds: float


class GroupLander:
    """Lands what a queue hands out until that is closed. Its session begins with the first request and ends when none come.

    `finished`: called for each request that waits no more. `noticed`: after each commit.
    """

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        limits: EngineLimits,
        queue: Queue,
        *,
        name: str,
        holder: str,
        bounds: Bounds,
        finished: Callable[[Request], None],
        noticed: Callable[[GroupCommit], None],
    ) -> None:
        self._catalog, self._storage, self._limits, self._queue = catalog, storage, limits, queue
        self._name, self._holder, self._bounds = name, holder, bounds
        self._finished, self._noticed = finished, noticed
        self._session: GroupSession | None = None
        self._open = ExitStack()
        self._elsewhere: list[Request] = []
        self._thread = threading.Thread(target=self._run, name=f"ingest-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (turn := self._take()) is not None:
                if turn:
                    self._land(turn)
                elif not self._elsewhere:
                    self._end_session()
        finally:
            self._end_session()
            self._give_up(self._queue.drain(), UnavailableError(_STOPPED))

    def _take(self) -> list[Request] | None:
        """What is to be done next, with those that were left for a while before; None when nothing will come any more."""
        again, self._elsewhere = self._elsewhere, []
        turn = self._queue.take(_LOOK_AGAIN_SECONDS if again else self._bounds.idle_seconds)
        if turn is None:
            self._give_up(again, UnavailableError("the service is stopping; send it again"))
            return None
        return [*again, *turn]

    def _land(self, turn: Sequence[Request]) -> None:
        """Land what has come together; each request gets its answer or waits for another process."""
        error: TimestoreError = UnavailableError(_STOPPED)
        try:
            self._land_all(turn)
        except TimestoreError as failure:
            self._end_session()
            error = failure if not isinstance(failure, ConflictError) else UnavailableError(_CONFLICT)
        finally:
            self._give_up([request for request in turn if request not in self._elsewhere], error)

    def _land_all(self, turn: Sequence[Request]) -> None:
        left, began = turn, time.monotonic()
        for _ in range(_TRIES):
            try:
                self._land_fresh(left, began)
                return
            except KeysUsedError:
                left = [request for request in left if not request.is_settled]
        raise UnavailableError("others keep using the same idempotency keys; send it again")

    def _land_fresh(self, turn: Sequence[Request], began: float) -> None:
        """Land requests that have no answer yet.

        Raises:
            KeysUsedError: some keys have been used meanwhile; what has landed has its answers.
            TimestoreError: nothing of those without an answer has landed.
        """
        session = self._current_session(turn[-1])
        found = sort_by_key(self._catalog, session.dataset_id, turn)
        self._elsewhere = found.elsewhere
        groups: dict[Hashable, list[Request]] = defaultdict(list)
        for request in found.fresh:
            self._announce(session, request)
            groups[request.submission.body.shape if request.rows else None].append(request)
        for request in (*found.known, *groups.pop(None, ())):
            session.note(request)
        for group in groups.values():
            self._land_group(session, group, began)

    def _announce(self, session: GroupSession, request: Request) -> None:
        """Make an asynchronous request known before it is landed."""
        if request.submission.asynchronous and not request.announced:
            announce(self._catalog, session.dataset_id, session.id, request)

    def _land_group(self, session: GroupSession, group: Sequence[Request], began: float) -> None:
        """Land requests of one shape together; those that can't be landed are refused, each for itself."""
        try:
            session.land(group)
        except BadFileError as error:
            self._refuse(group, error)
        except (duckdb.Error, pa.ArrowException) as error:
            self._land_apart(session, group, began, error)
        else:
            rows, seconds = sum(request.rows for request in group), time.monotonic() - began
            self._queue.landed(rows, seconds)
            self._noticed(GroupCommit(dataset=self._name, requests=len(group), rows=rows, seconds=seconds))

    def _land_apart(self, session: GroupSession, group: Sequence[Request], began: float, error: Exception) -> None:
        """Find out which request of a group it was that broke the decoding."""
        if len(group) > 1:
            for request in group:
                self._land_group(session, [request], began)
        elif isinstance(error, duckdb.OutOfMemoryException):
            self._refuse(
                group, UnavailableError("decoding the records takes more memory than TIMESTORE_MEMORY; send fewer at once")
            )
        else:
            self._refuse(group, InputError("the records can't be decoded together; send fewer at once to find the one at fault"))

    def _refuse(self, group: Sequence[Request], error: TimestoreError) -> None:
        for request in group:
            request.fail(error)

    def _give_up(self, requests: Sequence[Request], error: TimestoreError) -> None:
        """Let go of requests; those that are not settled get the error."""
        if any(request.announced and not request.landed for request in requests):
            self._end_session()  # what was announced in it is then known to be abandoned
        for request in requests:
            request.fail(error)
            self._finished(request)

    def _current_session(self, request: Request) -> GroupSession:
        """The open session, a new one when there is none or the declaration has changed."""
        if self._session is not None and self._session.dataset != request.dataset:
            self._end_session()
        if self._session is None:
            opened = group_session(
                self._catalog,
                self._storage,
                self._limits,
                request.dataset,
                request.source,
                holder=self._holder,
                patience_seconds=self._bounds.patience_seconds,
            )
            self._session = self._open.enter_context(opened)
        return self._session

    def _end_session(self) -> None:
        self._session = None
        self._open.close()

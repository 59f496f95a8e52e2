"""The thread that lands a dataset's requests: everything that waits together, in one segment a partition and one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import duckdb

from timestore_assets.decoding.poison import bad_content, is_poison, log_poison
from timestore_assets.landing.requests.group_session import GroupSession, group_session
from timestore_assets.landing.requests.idempotency_keys import KeysUsedError, announce, sort_by_key
from timestore_assets.landing.requests.request_queue import Queue, QueueLimits
from timestore_assets.landing.requests.submission import Request
from timestore_assets.model.errors import (
    BadFileError,
    ConflictError,
    ForgottenError,
    FrozenSchemaError,
    TimestoreError,
    UnavailableError,
)
from timestore_assets.retry import RetryPolicy
from timestore_assets.segments.publishing import WriteContext

LOG = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 0.2
_AGAIN = RetryPolicy(attempts=5, first_wait=0.0)
"""How often a group is begun again because keys were used, or its session was given up, meanwhile."""
_CONFLICT = "others changed the dataset again and again meanwhile; nothing of these records landed, send them again"
_STOPPED = "landing these records stopped unexpectedly and nothing of them landed; send them again"
_TOO_LARGE = "decoding the records takes more memory than TIMESTORE_MEMORY; send fewer at once"


def _is_of_requests(error: Exception) -> bool:
    """Whether landing requests one by one may tell which of them an error is about."""
    return is_poison(error) or isinstance(error, (duckdb.OutOfMemoryException, FrozenSchemaError))


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCommit:
    """One commit of several requests."""

    dataset: str
    requests: int
    rows: int
    seconds: float
    """From taking them to their being durable."""


class GroupLander:
    """Lands what a queue hands out until that is closed. Its session begins with the first request and ends when none come.

    `finished`: called for each request that waits no more. `noticed`: after each commit.
    """

    def __init__(
        self,
        context: WriteContext,
        queue: Queue,
        *,
        bounds: QueueLimits,
        finished: Callable[[Request], None],
        noticed: Callable[[GroupCommit], None],
    ) -> None:
        self._context, self._catalog, self._queue = context, context.catalog, queue
        self._name, self._bounds = queue.name, bounds
        self._finished, self._noticed = finished, noticed
        self._session: GroupSession | None = None
        self._open = ExitStack()
        self._elsewhere: list[Request] = []
        self._thread = threading.Thread(target=self._run, name=f"ingest-{queue.name}", daemon=True)

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
        except Exception:  # the thread serves everybody who writes to the dataset, so it goes on whatever this was
            LOG.exception("landing requests for %r failed; they are answered so and the next ones are taken", self._name)
            self._end_session()
        finally:
            self._give_up([request for request in turn if request not in self._elsewhere], error)

    def _land_all(self, turn: Sequence[Request]) -> None:
        left, began = turn, time.monotonic()
        for _ in _AGAIN.tries():
            try:
                self._land_fresh(left, began)
                return
            except KeysUsedError:
                left = [request for request in left if not request.is_settled]
            except ForgottenError:
                # a collector whose clock was ahead took our session for one of long ago
                left = [request for request in left if not request.is_settled]
                self._end_session()
            except Exception as error:
                if not _is_of_requests(error):
                    raise
                self._land_apart([request for request in left if not request.is_settled])
                return
        raise UnavailableError(_CONFLICT)

    def _land_apart(self, requests: Sequence[Request]) -> None:
        """Land requests one by one, when one of them makes landing them together fail."""
        elsewhere: list[Request] = []
        for request in requests:
            self._elsewhere = []
            self._land_alone(request)
            elsewhere += self._elsewhere
        self._elsewhere = elsewhere

    def _land_alone(self, request: Request) -> None:
        """Land a request, or refuse it when it is at fault; what the session is at fault for passes with another one."""
        may_begin_anew = not request.announced
        for _ in _AGAIN.tries():
            try:
                self._land_fresh([request], time.monotonic())
                return
            except KeysUsedError:
                if request.is_settled:
                    return
            except duckdb.OutOfMemoryException:
                request.fail(UnavailableError(_TOO_LARGE))
                return
            except Exception as error:
                if not is_poison(error):
                    raise
                if not may_begin_anew:
                    log_poison(f"a request of {request.submission.actor!r} for {self._name!r}", error)
                    request.fail(bad_content("the body", error))
                    return
                may_begin_anew = False
                self._end_session()
        request.fail(UnavailableError(_CONFLICT))

    def _land_fresh(self, turn: Sequence[Request], began: float) -> None:
        """Land requests that have no answer yet.

        Raises:
            KeysUsedError: some keys have been used meanwhile; what has landed has its answers.
            TimestoreError: nothing of those without an answer has landed.
        """
        session = self._current_session(turn[-1])
        looked_up = sort_by_key(self._catalog, session.dataset_id, turn)
        self._elsewhere = looked_up.elsewhere
        groups: dict[Hashable, list[Request]] = defaultdict(list)
        for request in looked_up.fresh:
            self._announce(session, request)
            groups[request.submission.body.shape if request.rows else None].append(request)
        for request in (*looked_up.known, *groups.pop(None, ())):
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
            if isinstance(error, FrozenSchemaError) and len(group) > 1:
                raise  # one of them asks for another schema, and the others are not to suffer for it
            self._refuse(group, error)
            return
        rows, seconds = sum(request.rows for request in group), time.monotonic() - began
        self._queue.landed(rows, seconds)
        self._noticed(GroupCommit(dataset=self._name, requests=len(group), rows=rows, seconds=seconds))

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
            self._session = self._open.enter_context(group_session(self._context, request.dataset, request.source))
        return self._session

    def _end_session(self) -> None:
        self._session = None
        self._open.close()

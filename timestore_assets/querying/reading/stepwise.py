"""Computing an answer one step of its plan after the other, wherever the objects are.

Those of the steps to come are fetched while one is computed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain

import duckdb
import pyarrow as pa

from timestore_assets.catalog.kept_pins import HeldVersion
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.errors import MissingObjectError, TimestoreError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.answer import ReadSegments, typed
from timestore_assets.querying.planning.gradual_plan import GradualPlan
from timestore_assets.querying.planning.query_plan import OPEN_FILES, Plan, Step
from timestore_assets.querying.planning.statement import Statement
from timestore_assets.querying.reading.connection_pool import Pooled
from timestore_assets.querying.reading.query_errors import explained
from timestore_assets.querying.reading.rows import Pinned, attached, fetched, rows_of
from timestore_assets.segments.engine import one_thread, threads_of
from timestore_assets.tracing import here, span

STEPS_AHEAD = 2
BYTES_AHEAD = 1_000_000_000
"""No second step is fetched ahead when this and the first are larger than that together."""
_AT_ONCE = 16
"""Objects between two looks at whether somebody still wants them."""

Fetch = Callable[[Sequence[Segment], Step], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ahead:
    """A step that is being fetched. `held`: what keeps its objects here, which is closed when they are no longer needed."""

    step: Step
    bytes: int
    unwanted: threading.Event
    held: Future[ExitStack]

    def let_go(self) -> None:
        self.unwanted.set()
        self.held.add_done_callback(_release)


def fetched_ahead(steps: Iterator[Step], fetch: Fetch) -> Generator[Step, None, None]:
    """The steps in order. While the caller works on one, the objects of the next are fetched, and held until it is done.

    Closing the generator ends it: what is under way is fetched to its end, and nothing is waited for. A step that can't be
    fetched is no failure here; whoever works on it will find that out.
    """
    place = here()
    waiting: deque[_Ahead] = deque()
    last: _Ahead | None = None
    pool = ThreadPoolExecutor(1, "prefetch")

    def begin(step: Step) -> _Ahead:
        unwanted = threading.Event()

        def run() -> ExitStack:
            with span("prefetch", parent=place, segments=len(step.segments)):
                return _held(step, fetch, unwanted)

        size = sum(segment.bytes for segment in step.segments)
        return _Ahead(step=step, bytes=size, unwanted=unwanted, held=pool.submit(run))

    try:
        step = next(steps, None)
        while step is not None:
            while len(waiting) < STEPS_AHEAD and sum(one.bytes for one in waiting) < BYTES_AHEAD and (more := next(steps, None)):
                waiting.append(begin(more))
            yield step
            if last is not None:
                last.let_go()
            last = waiting.popleft() if waiting else None
            step = last.step if last else None
    finally:
        for one in (*waiting, *([last] if last else [])):
            one.let_go()
        pool.shutdown(wait=False, cancel_futures=True)


def _held(step: Step, fetch: Fetch, unwanted: threading.Event) -> ExitStack:
    """Fetch a step's objects until that is done or nobody wants it."""
    with ExitStack() as stack, suppress(TimestoreError):
        for first in range(0, len(step.segments), _AT_ONCE):
            if unwanted.is_set():
                break
            stack.enter_context(fetch(step.segments[first : first + _AT_ONCE], step))
        return stack.pop_all()
    return ExitStack()


def _release(held: Future[ExitStack]) -> None:
    if not held.cancelled() and held.exception() is None:
        held.result().close()


BATCH_ROWS = 16_384
_WORTH_PREFETCHING = 1_000_000
"""Who asks for fewer rows than that probably has them with the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What it takes to compute the steps of an answer."""

    pooled: Pooled
    pinned: Pinned
    statement: Statement
    plan: Plan | GradualPlan
    claim: SnapshotPin | HeldVersion
    schema: pa.Schema
    #: Rows of the answer.
    limit: int | None
    #: Counts what has been opened.
    read: ReadSegments
    #: Some objects of a step are fetched first.
    is_remote: Callable[[Step], bool]
    #: A step with its objects where the catalog says they are now, None when it says what it said before.
    relocated: Callable[[Step], Step | None]
    #: See `query_errors.suspecting`.
    suspecting: Callable[[Sequence[Segment]], AbstractContextManager[None]]

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Batches of the answer: an aggregate over everything at once, rows step by step in order of time."""
        left = self.limit
        with closing(self._steps()) as steps:
            for step in steps:
                if left is not None and left <= 0:
                    return
                with self._looked_into(step), ExitStack() as stack, explained("answering"):
                    rows = self._opened(step, stack)
                    self.read.number += sum(segment.format != "memory" for segment in step.segments)
                    with span("execute", dataset=self.pinned.dataset.name, segments=len(step.segments)):
                        reader = self._reader(self.statement.over(rows, limit=left), stack)
                        first = next(reader, None)
                    for batch in () if first is None else chain([first], reader):
                        self.claim.renew_if_due()
                        left = None if left is None else left - batch.num_rows
                        yield typed(batch, self.schema)

    def _reader(self, query: str, stack: ExitStack) -> pa.RecordBatchReader:
        """Batches of a query, which is begun once more with one thread if it does not fit."""
        con = self.pooled.con
        try:
            reader = con.sql(query).to_arrow_reader(BATCH_ROWS)
        except duckdb.OutOfMemoryException:
            if threads_of(con) == 1:
                raise
            stack.enter_context(one_thread(con))
            reader = con.sql(query).to_arrow_reader(BATCH_ROWS)
        stack.callback(reader.close)
        return reader

    @contextmanager
    def _looked_into(self, step: Step) -> Iterator[None]:
        """What follows from a failure: whose fault it is, and what becomes of the connection."""
        with self.suspecting(step.segments):
            try:
                yield
            except TimestoreError as error:
                # after these DuckDB has given up the database, whatever it is asked next
                self.pooled.is_broken |= isinstance(error.__cause__, duckdb.FatalException | duckdb.InternalException)
                raise

    def _steps(self) -> Generator[Step, None, None]:
        if self.statement.aggregated and isinstance(self.plan, Plan):
            yield self.plan.whole
            return
        selective = bool(self.statement.where.conjuncts)
        steps = self.plan.steps(selective=selective, limit=self.limit, descending=self.statement.descending)
        is_worth_it = self.limit is None or self.limit >= _WORTH_PREFETCHING
        if is_worth_it and isinstance(self.plan, Plan) and self.is_remote(self.plan.whole):
            yield from fetched_ahead(steps, self._fetched)
        else:
            yield from steps

    def _fetched(self, segments: Sequence[Segment], step: Step) -> AbstractContextManager[None]:
        return fetched(segments, step, self.pinned, needed=self.statement.needed)

    def _opened(self, step: Step, stack: ExitStack) -> str:
        """A step's rows as a table expression, planned once more when an object has been moved since it was planned."""
        try:
            return self._rows(step, self._attaching(step), stack)
        except MissingObjectError:
            moved = self.relocated(step)
            if moved is None:
                raise
            return self._rows(moved, moved, stack)

    def _attaching(self, step: Step) -> Step:
        """Of which step the `.duckdb` files are opened for this one: of all together, where that is not too much."""
        if not isinstance(self.plan, Plan):
            return step
        whole = self.plan.whole
        if self.statement.aggregated or (self.limit is None and whole.open_files <= OPEN_FILES and not self.is_remote(whole)):
            return whole
        return step

    def _rows(self, step: Step, attaching: Step, stack: ExitStack) -> str:
        """Rows of a step, with the `.duckdb` files of `attaching` open."""
        if self.is_remote(step):
            # all of them in one go, before they are opened in groups
            stack.enter_context(self._fetched(step.segments, step))
        _attach(self.pooled, self.pinned, attaching)
        statement, plan = self.statement, self.plan
        rows = rows_of(
            self.pooled.con,
            step,
            self.pinned,
            needed=statement.needed,
            where=statement.where,
            start=plan.start,
            end=plan.end,
        )
        return stack.enter_context(rows)


def _attach(pooled: Pooled, pinned: Pinned, step: Step) -> None:
    """Open a step's `.duckdb` files and keep them for who asks about the same time again, in place of those of before."""
    files = frozenset(segment.name for segment in step.segments if segment.format == "duckdb")
    if not files <= pooled.files:
        with ExitStack() as stack:
            stack.enter_context(attached(pooled.con, step, pinned))
            pooled.hold(stack.pop_all(), files)

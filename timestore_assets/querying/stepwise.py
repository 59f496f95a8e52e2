"""Computing an answer one step of its plan after the other, wherever the objects are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from timestore_assets.model.errors import MissingObjectError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.answer import typed
from timestore_assets.querying.claim import Claim
from timestore_assets.querying.failures import explained
from timestore_assets.querying.plan import OPEN_FILES, Plan, Step
from timestore_assets.querying.pool import Pooled
from timestore_assets.querying.prefetch import fetched_ahead
from timestore_assets.querying.rows import Pinned, attached, fetched, rows_of
from timestore_assets.querying.statement import Statement
from timestore_assets.tracing import span

BATCH_ROWS = 16_384
_WORTH_PREFETCHING = 1_000_000
"""Who asks for fewer rows than that probably has them with the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What it takes to compute the steps of an answer.

    `limit`: rows of the answer. `is_remote`: some objects are fetched first. `relocated`: a step with its objects where the
    catalog says they are now, None when it says what it said before.
    """

    pooled: Pooled
    pinned: Pinned
    statement: Statement
    plan: Plan
    claim: Claim
    schema: pa.Schema
    limit: int | None
    is_remote: bool
    relocated: Callable[[Step], Step | None]

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Batches of the answer: an aggregate over everything at once, rows step by step in order of time."""
        left = self.limit
        with closing(self._steps()) as steps:
            for step in steps:
                if left is not None and left <= 0:
                    return
                with ExitStack() as stack, explained("answering"):
                    rows = self._opened(step, stack)
                    with span("execute", dataset=self.pinned.dataset.name, segments=len(step.segments)):
                        result = self.pooled.con.sql(self.statement.over(rows, limit=left))
                        reader = result.to_arrow_reader(BATCH_ROWS)
                        stack.callback(reader.close)
                        first = next(reader, None)
                    for batch in () if first is None else chain([first], reader):
                        self.claim.keep()
                        left = None if left is None else left - batch.num_rows
                        yield typed(batch, self.schema)

    def _steps(self) -> Generator[Step, None, None]:
        if self.statement.aggregated:
            yield self.plan.whole
            return
        steps = self.plan.steps(selective=bool(self.statement.where.conjuncts))
        if self.is_remote and (self.limit is None or self.limit >= _WORTH_PREFETCHING):
            yield from fetched_ahead(steps, self._fetched)
        else:
            yield from steps

    def _fetched(self, segments: Sequence[Segment], step: Step) -> AbstractContextManager[None]:
        return fetched(segments, step, self.pinned, needed=self.statement.needed)

    def _opened(self, step: Step, stack: ExitStack) -> str:
        """A step's rows as a table expression, planned once more when an object has been moved since it was planned."""
        whole = self.plan.whole
        at_once = self.statement.aggregated or (self.limit is None and whole.open_files <= OPEN_FILES and not self.is_remote)
        try:
            return self._rows(step, whole if at_once else step, stack)
        except MissingObjectError:
            moved = self.relocated(step)
            if moved is None:
                raise
            return self._rows(moved, moved, stack)

    def _rows(self, step: Step, attaching: Step, stack: ExitStack) -> str:
        """Rows of a step, with the `.duckdb` files of `attaching` open."""
        if self.is_remote:
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

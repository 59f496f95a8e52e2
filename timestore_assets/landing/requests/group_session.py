"""The landing session under the requests of one dataset: its place in the catalog, and one group of requests landed in it.

A group is landed as one batch; its commit says what became of each request, and when judging them again is of no use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import IdempotencyKey, RequestOutcomes, Span
from timestore_assets.catalog.holders import shown
from timestore_assets.decoding.column_names import check_header
from timestore_assets.decoding.record_fields import formed_names
from timestore_assets.landing.committing.batch_commit import BatchCommit
from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.committing.source_session import source_session
from timestore_assets.landing.preparing.earlier_values import as_sent
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.landing.requests.idempotency_keys import KeysUsedError, confirm_unused, new_ingestion
from timestore_assets.landing.requests.submission import Landed, Outcome, Request, outcomes
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.http.request_body import join
from timestore_assets.tracing import span

SEVERAL = "several"
"""Who landed records of different senders, in the audit; each request kept in the catalog names its own."""


@dataclass(kw_only=True, slots=True)
class RequestBatch:
    """The records of requests of equal shape, see `SourceBatch`."""

    catalog: Catalog
    dataset_id: int
    group: Sequence[Request]
    batch: Batch
    span: Span
    outcomes: list[Outcome] = field(default_factory=list)
    """What became of each request, as its records were judged last."""
    late_before: datetime | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        return (self.span,)

    @property
    def keys(self) -> tuple[IdempotencyKey, ...]:
        keyed = [(request.key, request) for request in self.group if request.key is not None]
        return tuple(IdempotencyKey(key=key, digest=request.digests()[0]) for key, request in keyed)

    @property
    def actor(self) -> str:
        actors = {request.submission.actor for request in self.group}
        return actors.pop() if len(actors) == 1 else SEVERAL

    def progress(self, prepared: Prepared, /) -> RequestOutcomes:
        """With what becomes of those requests that the catalog keeps."""
        found = outcomes(prepared, [request.submission.body for request in self.group])
        starts = accumulate((request.rows for request in self.group), initial=self.span.start.offset)
        self.outcomes = [self._placed(one, first) for one, first in zip(found, starts, strict=False)]
        pairs = zip(self.group, self.outcomes, strict=True)
        kept = tuple(new_ingestion(request, outcome) for request, outcome in pairs if request.submission.is_kept)
        return RequestOutcomes(span=self.span, ingestions=kept)

    def _placed(self, outcome: Outcome, first: int) -> Outcome:
        """With where its rows are, so that they can be found again."""
        where = (self.span.source_partition_id, first, first + outcome.read)
        return replace(outcome, positions=where) if outcome.landed else outcome

    def confirm(self) -> None:
        """Raise KeysUsedError when a key has been used meanwhile."""
        confirm_unused(self.catalog, self.dataset_id, self.group)


@contextmanager
def group_session(context: WriteContext, dataset: Dataset, source: HttpSource) -> Iterator[GroupSession]:
    """A session that lands requests, until the block ends.

    Its source partition is its own, so that two processes never wait for each other's checkpoint.
    """
    # each body has seen to the length of its records already
    with source_session(context, dataset, source, actor=shown(context.holder)) as session:
        partition = context.catalog.sources.partition(session.source.id, f"session-{session.id}")
        yield GroupSession(session.commit(), dataset, partition.id)


class GroupSession:
    """Lands groups of requests of equal shape, one after the other. `dataset`: as it was declared when the session began."""

    def __init__(self, landing: BatchCommit, dataset: Dataset, partition_id: int) -> None:
        self._catalog, self._landing, self._partition_id = landing.context.catalog, landing, partition_id
        self.dataset, self.dataset_id, self.id = dataset, landing.judge.record.id, landing.origin.session_id
        self._position = 0

    def land(self, group: Sequence[Request]) -> None:
        """Land the records of requests in one transaction, and answer them.

        Raises:
            BadFileError: their columns don't fit the dataset.
            KeysUsedError: one of their keys has been used meanwhile.
            TimestoreError: as `BatchCommit.land`. Whatever is raised, nothing of them has landed.
        """
        bodies = [request.submission.body for request in group]
        if bodies[0].columns is not None:
            self._check_columns(bodies[0].columns)
        places = [request.submission.place for request in group if request.submission.place is not None]
        rows = sum(body.rows for body in bodies)
        # a span has one parent: the commit is a step of the first request, and the traces of the others lead to it
        first = places[0] if places else None
        with span("group commit", parent=first, links=places[1:], dataset=self.dataset.name, requests=len(group), rows=rows):
            batch = RequestBatch(
                catalog=self._catalog,
                dataset_id=self.dataset_id,
                group=group,
                batch=join(bodies, first=self._position),
                span=self._span(rows),
            )
            self._landing.land(batch)
        self._position += rows
        self._answer(group, batch.outcomes)

    def _check_columns(self, columns: Sequence[str]) -> None:
        """Refuse bodies by their header, by what the catalog has now: columns may have got other names since the last one."""
        try:
            self._check_by_known(columns)
        except BadFileError:
            self._landing.judge.catch_up()
            self._check_by_known(columns)

    def _check_by_known(self, columns: Sequence[str]) -> None:
        judge = self._landing.judge
        names = formed_names(columns, judge.form, {}, as_sent(judge.dataset.schema), what="body")
        check_header(names, self._landing.columns, what="body")

    def note(self, request: Request) -> None:
        """Commit a request that lands nothing, and answer it: it has no records, or they have landed before.

        Raises:
            KeysUsedError, TimestoreError: as `land`.
        """
        outcome = Outcome(read=request.rows, duplicates=request.rows)
        if not request.rows and not request.submission.is_kept:
            self._answer([request], [outcome])
            return
        kept = (new_ingestion(request, outcome),) if request.submission.is_kept else ()
        progress = RequestOutcomes(span=self._span(request.rows), ingestions=kept)
        try:
            self._landing.note(progress, duplicates=request.rows, actor=request.submission.actor)
        except OvertakenError:
            raise KeysUsedError("an idempotency key has been used since it was looked up") from None
        self._position += request.rows
        self._answer([request], [outcome])

    def _span(self, rows: int) -> Span:
        start, end = Position(offset=self._position), Position(offset=self._position + rows)
        return Span(source_partition_id=self._partition_id, start=start, end=end)

    def _answer(self, group: Sequence[Request], found: Sequence[Outcome]) -> None:
        version = self._landing.manifest_version
        for request, outcome in zip(group, found, strict=True):
            request.landed = True
            sent = request.submission
            request.succeed(Landed(id=sent.id, manifest_version=version, outcome=outcome, actor=sent.actor))

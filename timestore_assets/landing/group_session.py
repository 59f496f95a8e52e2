"""The landing session under the requests of one dataset: its place in the catalog, and one group of requests landed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import IdempotencyKey, NewIngestion, Span
from timestore_assets.landing.batch_landing import BatchLanding, Effects, Origin, Tally
from timestore_assets.landing.group_keys import KeysUsedError, confirm_unused, new_ingestion
from timestore_assets.landing.group_requests import Landed, Outcome, Request, outcomes
from timestore_assets.landing.header import check_header
from timestore_assets.landing.keep_alive import TTL
from timestore_assets.landing.prepare import Prepared
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.working import working
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.position import Position
from timestore_assets.sources.http.joined import join
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.storage.targets import Storage
from timestore_assets.tracing import span

SEVERAL = "several"
"""Who landed records of different senders, in the audit; each request kept in the catalog names its own."""


@contextmanager
def group_session(
    catalog: Catalog,
    storage: Storage,
    limits: EngineLimits,
    dataset: Dataset,
    source: HttpSource,
    *,
    holder: str,
    patience_seconds: float,
) -> Iterator[GroupSession]:
    """A session that lands requests, until the block ends.

    Its source partition is its own, so that two processes never wait for each other's checkpoint.
    """
    record = catalog.register(dataset, actor=holder)
    registered = catalog.source(record.id, source.kind, source.address)
    with working(catalog, record.id, "landing", holder=holder, ttl=TTL, limits=limits) as session:
        partition = catalog.source_partition(registered.id, f"session-{session.id}")
        landing = BatchLanding(
            catalog=catalog,
            storage=storage,
            con=session.con,
            threads=limits.threads,
            dataset=dataset,
            origin=Origin(source_id=registered.id, address=source.address, zone=source.timezone),
            validator=Validator(dataset),
            session_id=session.id,
            clock=lambda: datetime.now(UTC),
            actor=holder,
            tally=Tally(),
            patience_seconds=patience_seconds,
        )
        yield GroupSession(catalog, landing, dataset, dataset_id=record.id, session_id=session.id, partition_id=partition.id)


class GroupSession:
    """Lands groups of requests of equal shape, one after the other. `dataset`: as it was declared when the session began."""

    def __init__(
        self,
        catalog: Catalog,
        landing: BatchLanding,
        dataset: Dataset,
        *,
        dataset_id: int,
        session_id: int,
        partition_id: int,
    ) -> None:
        self._catalog, self._landing, self._partition_id = catalog, landing, partition_id
        self.dataset, self.dataset_id, self.id = dataset, dataset_id, session_id
        self._position = 0

    def land(self, group: Sequence[Request]) -> None:
        """Land the records of requests in one transaction, and answer them.

        Raises:
            BadFileError: their columns don't fit the dataset.
            KeysUsedError: one of their keys has been used meanwhile.
            TimestoreError: as `BatchLanding.land`. Whatever is raised, nothing of them has landed.
        """
        bodies = [request.submission.body for request in group]
        columns = bodies[0].columns
        if columns is not None:
            check_header(columns, self._landing.columns, what="body")
        found: list[Outcome] = []

        def judged(prepared: Prepared) -> tuple[NewIngestion, ...]:
            found[:] = outcomes(prepared, bodies)
            pairs = zip(group, found, strict=True)
            return tuple(new_ingestion(request, outcome) for request, outcome in pairs if request.submission.is_kept)

        places = [request.submission.place for request in group if request.submission.place is not None]
        rows = sum(body.rows for body in bodies)
        # a span has one parent: the commit is a step of the first request, and the traces of the others lead to it
        first = places[0] if places else None
        with span("group commit", parent=first, links=places[1:], dataset=self.dataset.name, requests=len(group), rows=rows):
            batch = join(bodies, first=self._position)
            self._landing.land(batch, self._effects(group, rows, judged))
        self._position += rows
        self._answer(group, found)

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
        effects = Effects(spans=self._spans(request.rows), actor=request.submission.actor, once_more=_used_meanwhile)
        self._landing.note(effects, duplicates=request.rows, ingestions=kept)
        self._position += request.rows
        self._answer([request], [outcome])

    def _effects(self, group: Sequence[Request], rows: int, judged: Callable[[Prepared], tuple[NewIngestion, ...]]) -> Effects:
        actors = {request.submission.actor for request in group}
        keyed = [(request.key, request) for request in group if request.key is not None]
        return Effects(
            spans=self._spans(rows),
            keys=tuple(IdempotencyKey(key=key, digest=request.digests()[0]) for key, request in keyed),
            ingestions=judged,
            actor=actors.pop() if len(actors) == 1 else SEVERAL,
            once_more=lambda: confirm_unused(self._catalog, self.dataset_id, group),
        )

    def _spans(self, rows: int) -> tuple[Span]:
        start, end = Position(offset=self._position), Position(offset=self._position + rows)
        return (Span(source_partition_id=self._partition_id, start=start, end=end),)

    def _answer(self, group: Sequence[Request], found: Sequence[Outcome]) -> None:
        version = self._landing.manifest_version
        for request, outcome in zip(group, found, strict=True):
            request.landed = True
            request.succeed(Landed(id=request.submission.id, manifest_version=version, outcome=outcome))


def _used_meanwhile() -> None:
    raise KeysUsedError("an idempotency key has been used since it was looked up")

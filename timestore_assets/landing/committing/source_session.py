"""A landing session whose batches all come from one source: known to the catalog, at work, with what they are committed by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from timestore_assets.catalog.records import SourceRecord
from timestore_assets.landing.committing.batch_commit import BatchCommit, Checkpoints
from timestore_assets.landing.committing.source_batch import Origin
from timestore_assets.landing.landing_session import Worker, working
from timestore_assets.model.dataset import Dataset, Source
from timestore_assets.segments.publishing import WriteContext


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSession:
    context: WriteContext
    dataset: Dataset
    source: SourceRecord
    origin: Origin
    worker: Worker

    @property
    def id(self) -> int:
        return self.origin.session_id

    def commit(self, checkpoints: Checkpoints | None = None) -> BatchCommit:
        """What lands its batches. `checkpoints`: see `BatchCommit`."""
        return BatchCommit(self.context, self.worker, self.dataset, self.origin, checkpoints=checkpoints)


@contextmanager
def source_session(
    context: WriteContext,
    dataset: Dataset,
    source: Source,
    *,
    actor: str,
    max_record_bytes: int | None = None,
    forwards: bool = False,
) -> Iterator[SourceSession]:
    """Register dataset and source, and begin a session that ends with the block. The rest is as in `Origin`.

    Raises:
        OwnershipError, UnavailableError: as `working`.
    """
    catalog = context.catalog
    registered = catalog.datasets.register(dataset, actor=actor)
    record = catalog.sources.ensure(registered.id, source.kind, source.address)
    with working(context, registered, "landing", actor=actor, source=source.address) as session:
        origin = Origin(
            source_id=record.id,
            address=source.address,
            session_id=session.id,
            actor=actor,
            zone=source.timezone,
            form=source.form,
            max_record_bytes=max_record_bytes,
            forwards=forwards,
        )
        worker = Worker.of(session.engine, context.limits, dataset)
        yield SourceSession(context=context, dataset=dataset, source=record, origin=origin, worker=worker)

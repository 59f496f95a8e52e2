"""A session at work: known to the catalog, kept alive, with a database connection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Literal, Self

from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.file_access import make_folder
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError
from timestore_assets.ownership.target_claim import begin
from timestore_assets.segments.engine import Engine, EngineLimits
from timestore_assets.segments.publishing import WriteContext

SessionKind = Literal["landing", "replay"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """What one thread lands with: an engine and a validator of its own, and its part of the memory and of the cores."""

    engine: Engine
    validator: Validator
    memory_bytes: int
    threads: int

    @classmethod
    def of(cls, engine: Engine, limits: EngineLimits, dataset: Dataset) -> Self:
        """One with an engine of these limits."""
        return cls(engine=engine, validator=Validator(dataset), memory_bytes=limits.memory_bytes, threads=limits.threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkingSession:
    id: int
    keeper: LeaseKeeper
    """Keeps alive what the session holds."""
    engine: Engine


@contextmanager
def working(
    context: WriteContext, dataset: DatasetRecord, kind: SessionKind, *, actor: str, source: str = ""
) -> Iterator[WorkingSession]:
    """Begin a session, and end it with the block however that ends; an error that ends it stands in the audit.

    `source`: address of the source that it lands from.

    Raises:
        OwnershipError: the dataset's storage target is not this catalog's. UnavailableError: it can't be reached.
    """
    context.retry.run(lambda: begin(context.catalog, context.storage, dataset.storage))
    make_folder(context.limits.temp_dir)
    with (
        LeaseKeeper(context.catalog) as keeper,
        keeper.session(dataset.id, kind, holder=context.holder, ttl=context.ttl) as session,
        closing(Engine(context.limits)) as engine,
    ):
        try:
            yield WorkingSession(id=session.id, keeper=keeper, engine=engine)
        except ConflictError:  # somebody else goes on with it
            raise
        except Exception as error:
            told = {"session": session.id, "source": source}
            context.catalog.audit.failed(dataset.id, f"{kind}_failed", error, actor=actor, **told)
            raise

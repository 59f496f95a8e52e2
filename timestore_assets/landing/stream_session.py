"""A landing session on topics: begun in the catalog, kept alive, run by its loop, ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.landing.batch_landing import BatchLanding, Effects, Origin, OvertakenError, Tally
from timestore_assets.landing.keep_alive import TTL
from timestore_assets.landing.landing_call import utc_now
from timestore_assets.landing.stream_loop import StreamLoop
from timestore_assets.landing.stream_report import StreamReport
from timestore_assets.landing.stream_wishes import Topics, Wishes
from timestore_assets.landing.validate import Validator
from timestore_assets.landing.working import working
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.position import Position
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.storage.targets import Storage

__all__ = ["Streamer", "Topics", "Wishes"]

UNREACHABLE_SECONDS = 120.0
"""How long brokers may be away before a session gives up; what is committed stays."""


class Streamer:
    """Lands topics into datasets. Arguments as those of `landing.session.Lander`; `monotonic` counts seconds of quiet."""

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        limits: EngineLimits,
        *,
        holder: str,
        ttl: timedelta = TTL,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        unreachable_seconds: float = UNREACHABLE_SECONDS,
    ) -> None:
        # reading and publishing have threads of their own: with a core for them, the whole is faster
        self._catalog, self._storage = catalog, storage
        self._limits = replace(limits, threads=max(1, limits.threads - 1))
        self._holder, self._ttl, self._clock, self._monotonic = holder, ttl, clock, monotonic
        self._unreachable_seconds = unreachable_seconds

    def stream(self, dataset: Dataset, source: KafkaSource, topics: Topics, wishes: Wishes) -> StreamReport:
        """Run one session.

        Raises:
            InputError: the brokers refuse us, or none of the topics exists.
            UnavailableError: the brokers, the catalog or the store stayed away; what is committed stays.
            StorageFullError: the store takes no more.
        """
        registered = self._catalog.register(dataset, actor=wishes.actor)
        record = self._catalog.source(registered.id, source.kind, source.address)
        with working(self._catalog, registered.id, "landing", holder=self._holder, ttl=self._ttl, limits=self._limits) as session:
            tally = Tally()
            landing = BatchLanding(
                catalog=self._catalog,
                storage=self._storage,
                con=session.con,
                threads=self._limits.threads,
                dataset=dataset,
                origin=Origin(source_id=record.id, address=source.address, zone=source.timezone),
                validator=Validator(dataset),
                session_id=session.id,
                clock=self._clock,
                actor=wishes.actor,
                tally=tally,
                checkpoints=lambda effects: self._held_checkpoints(session.id, source, effects),
            )
            loop = StreamLoop(
                catalog=self._catalog,
                dataset=dataset,
                source=source,
                record=record,
                session_id=session.id,
                topics=topics,
                landing=landing,
                tally=tally,
                wishes=wishes,
                clock=self._clock,
                monotonic=self._monotonic,
                unreachable_seconds=self._unreachable_seconds,
            )
            return loop.run()

    def _held_checkpoints(self, session_id: int, source: KafkaSource, effects: Effects) -> Mapping[int, Position]:
        """Where the topic partitions stand, if they are still ours to read."""
        ids = list(effects.starts)
        if self._catalog.claim(session_id, ids) != set(ids):
            raise OvertakenError(f"{source.address}: another session reads some of its topic partitions by now")
        return self._catalog.checkpoints(ids)

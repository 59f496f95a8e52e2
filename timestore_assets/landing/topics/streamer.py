"""A landing session on topics: begun in the catalog, kept alive, run by its loop, ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.committing.source_session import source_session
from timestore_assets.landing.topics.session_options import SessionClock, SessionOptions, StreamReport, StreamTask, Topics
from timestore_assets.landing.topics.stream_loop import StreamLoop
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.position import Position
from timestore_assets.segments.publishing import WriteContext

__all__ = ["SessionOptions", "Streamer", "Topics"]

UNREACHABLE_SECONDS = 120.0
"""How long brokers may be away before a session gives up; what is committed stays."""


class Streamer:
    """Lands topics into datasets. `monotonic` counts seconds of quiet. `unreachable_seconds`: how long brokers may be away."""

    def __init__(
        self,
        context: WriteContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        unreachable_seconds: float = UNREACHABLE_SECONDS,
    ) -> None:
        # reading and publishing have threads of their own: with a core for them, the whole is faster
        limits = replace(context.limits, threads=max(1, context.limits.threads - 1))
        self._context, self._catalog = replace(context, limits=limits), context.catalog
        self._monotonic, self._unreachable_seconds = monotonic, unreachable_seconds

    def stream(self, dataset: Dataset, source: KafkaSource, topics: Topics, wishes: SessionOptions) -> StreamReport:
        """Run one session. A record that asks for a schema that the contract freezes ends it, and pauses the source.

        Raises:
            InputError: the brokers refuse us, or none of the topics exists.
            UnavailableError: the brokers, the catalog or the store stayed away; what is committed stays.
            StorageFullError: the store takes no more.
        """
        with source_session(
            self._context,
            dataset,
            source,
            actor=wishes.actor,
            max_record_bytes=source.max_record_bytes,
            forwards=source.dead_letter_topic is not None,
        ) as session:
            landing = session.commit(checkpoints=partial(self._held_checkpoints, session.id, source))
            task = StreamTask(dataset=dataset, source=source, record=session.source, topics=topics, wishes=wishes)
            clock = SessionClock(monotonic=self._monotonic, unreachable_seconds=self._unreachable_seconds)
            return StreamLoop(landing, task, clock).run()

    def _held_checkpoints(self, session_id: int, source: KafkaSource, ids: Sequence[int]) -> Mapping[int, Position]:
        """Where the topic partitions stand, if they are still ours to read."""
        if self._catalog.topics.assign(session_id, ids) != set(ids):
            raise OvertakenError(f"{source.address}: another session reads some of its topic partitions by now")
        return self._catalog.sources.checkpoints(ids)

"""The hot buffer: rows of topics that are not landed yet, tailed from the committed checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord, SourceRecord
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import UnavailableError
from timestore_assets.querying.streaming import BufferState
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka.client import connection_of
from timestore_assets.sources.kafka.topics import KafkaTopics
from timestore_assets.storage.engine import EngineLimits
from timestore_assets.tailing.following import Bounds
from timestore_assets.tailing.judging import Judge
from timestore_assets.tailing.moment import Moment
from timestore_assets.tailing.tail import Tail

LOOK_SECONDS = 3.0
"""How long the brokers may take to answer until they count as away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferStatus:
    """One source that is tailed. `source`: its address. `rows`, `bytes`: held. `seconds_behind`: since when it is behind."""

    dataset: str
    source: str
    state: BufferState
    rows: int
    bytes: int
    seconds_behind: float


class HotBuffers:
    """One tail for each topic source that somebody asks about. Thread-safe.

    `holder`: who makes the sources known to the catalog. `clock`: for the upper bound of times.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        limits: EngineLimits,
        *,
        holder: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog, self._settings, self._limits, self._holder, self._clock = catalog, settings, limits, holder, clock
        self._bounds = Bounds(rows=settings.hot_rows, bytes=settings.hot_bytes)
        self._tails: dict[tuple[str, str], Tail] = {}
        self._lock = threading.Lock()
        self._closed = False

    def look(self, dataset: Dataset, record: DatasetRecord) -> Moment | None:
        """What is held of the dataset's topics now; None when it has none, or nothing is to be held.

        Begins to tail with the first question, which waits up to a second for what there is.

        Raises:
            UnavailableError: the brokers are away, and the settings say that this is an error (`hot_fallback`).
        """
        if not self._bounds.rows or not dataset.kafka_sources:
            return None
        tails = [self._tail(dataset, record, source) for source in dataset.kafka_sources]
        for tail in tails:
            tail.settle()
        views = tuple(tail.view() for tail in tails)
        if self._settings.hot_fallback == "error":
            for view in views:
                if view.state == "unavailable":
                    raise UnavailableError(
                        f"the newest records of {dataset.name!r} can't be read: {view.reason}; ask again later"
                    )
        return Moment(dataset=dataset, dataset_id=record.id, views=views, now=self._clock())

    def states(self) -> list[BufferStatus]:
        """Every source that is tailed, by dataset and address."""
        with self._lock:
            tails = sorted(self._tails.items())
        found = []
        for (name, address), tail in tails:
            if tail.has_ended:
                continue
            view = tail.view()
            held = view.progress.rows
            found.append(
                BufferStatus(
                    dataset=name,
                    source=address,
                    state=view.state,
                    rows=held.count,
                    bytes=held.bytes,
                    seconds_behind=view.seconds_behind,
                )
            )
        return found

    def close(self) -> None:
        """Stop tailing; takes some seconds when the brokers are away."""
        with self._lock:
            self._closed = True
            tails, self._tails = list(self._tails.values()), {}
        for tail in tails:
            tail.stop()
        for tail in tails:
            tail.join()

    def _tail(self, dataset: Dataset, record: DatasetRecord, source: KafkaSource) -> Tail:
        """The tail of a source, kept going; a new one when there is none, or it follows another declaration."""
        tail = self._living(dataset, source)
        if tail is not None:
            return tail
        known = self._catalog.source(record.id, source.kind, source.address)  # not while others wait for the lock
        with self._lock:
            if self._closed:
                raise UnavailableError("the service is stopping")
            return self._living(dataset, source) or self._begin(dataset, record, source, known)

    def _living(self, dataset: Dataset, source: KafkaSource) -> Tail | None:
        tail = self._tails.get((dataset.name, source.address))
        follows = tail is not None and (tail.dataset is dataset or tail.dataset == dataset)
        return tail if tail is not None and follows and tail.keep() else None

    def _begin(self, dataset: Dataset, record: DatasetRecord, source: KafkaSource, known: SourceRecord) -> Tail:
        key = (dataset.name, source.address)
        if key in self._tails:
            self._tails[key].stop()

        def connect() -> KafkaTopics:
            connection = connection_of(self._settings, source.bootstrap_servers)
            return KafkaTopics(connection, source, group=source.group_of(dataset.name), timeout_seconds=LOOK_SECONDS)

        def make_judge() -> Judge:
            newest = self._catalog.dataset(dataset.name) or record
            return Judge(self._catalog, newest, dataset, source, self._limits, clock=self._clock)

        tail = self._tails[key] = Tail(
            self._catalog,
            dataset,
            source,
            known,
            connect=connect,
            make_judge=make_judge,
            bounds=self._bounds,
            idle_seconds=self._settings.hot_seconds,
        )
        return tail

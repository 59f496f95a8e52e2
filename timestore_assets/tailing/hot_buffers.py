"""The hot buffer: rows of topics that are not landed yet, tailed from the committed checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.effective_declaration import differ_in_columns_only
from timestore_assets.catalog.records import DatasetRecord, SourceRecord
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import UnavailableError
from timestore_assets.querying.answer import BufferState
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.settings import Settings
from timestore_assets.tailing.buffer_snapshot import BufferSnapshot
from timestore_assets.tailing.following import BufferLimits
from timestore_assets.tailing.judge import Judge
from timestore_assets.tailing.tail import Tail, TailMeans

if TYPE_CHECKING:
    from timestore_assets.sources.kafka.kafka_topics import KafkaTopics

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
        self._bounds = BufferLimits(rows=settings.hot_rows, bytes=settings.hot_bytes)
        self._tails: dict[tuple[str, str], Tail] = {}
        self._lock = threading.Lock()
        self._closed = False

    def look(self, dataset: Dataset, record: DatasetRecord) -> BufferSnapshot | None:
        """What is held of the dataset's topics now; None when it has none, or nothing is to be held.

        Nothing is where records have to be in order: what landing will refuse depends on all that has landed before.

        Begins to tail with the first question, which waits up to a second for what there is.

        Raises:
            UnavailableError: the brokers are away, and the settings say that this is an error (`hot_fallback`).
        """
        if not self._bounds.rows or not dataset.kafka_sources or dataset.is_strict:
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
        return BufferSnapshot(dataset=dataset, dataset_id=record.id, views=views, now=self._clock())

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
        tail = self._living(dataset, record, source)
        if tail is not None:
            return tail
        known = self._catalog.sources.ensure(record.id, source.kind, source.address)  # not while others wait for the lock
        with self._lock:
            if self._closed:
                raise UnavailableError("the service is stopping")
            return self._living(dataset, record, source) or self._begin(dataset, record, source, known)

    def datasets(self) -> set[str]:
        """Those that are or were tailed here."""
        with self._lock:
            return {name for name, _ in self._tails}

    def let_go(self, name: str) -> None:
        """Stop tailing for a dataset that is no longer served."""
        with self._lock:
            gone = [self._tails.pop(key) for key in list(self._tails) if key[0] == name]
        for tail in gone:
            tail.stop()

    def _living(self, dataset: Dataset, record: DatasetRecord, source: KafkaSource) -> Tail | None:
        tail = self._tails.get((dataset.name, source.address))
        # other columns are taken up by the tail itself, as it takes up other schemas
        follows = tail is not None and (tail.dataset is dataset or differ_in_columns_only(tail.dataset, dataset))
        # one of the same name, dropped since, had other checkpoints
        is_same = tail is not None and tail.dataset_id == record.id
        return tail if tail is not None and is_same and follows and tail.keep() else None

    def _begin(self, dataset: Dataset, record: DatasetRecord, source: KafkaSource, known: SourceRecord) -> Tail:
        key = (dataset.name, source.address)
        if key in self._tails:
            self._tails[key].stop()

        def connect() -> KafkaTopics:
            from timestore_assets.sources.kafka.kafka_client import connection_of
            from timestore_assets.sources.kafka.kafka_topics import KafkaTopics

            connection = connection_of(self._settings, source.bootstrap_servers)
            return KafkaTopics(connection, source, group=source.group_of(dataset.name), timeout_seconds=LOOK_SECONDS)

        def make_judge() -> Judge:
            newest = self._catalog.datasets.find(dataset.name) or record
            return Judge(self._catalog, newest, dataset, source, self._limits, clock=self._clock)

        means = TailMeans(connect=connect, make_judge=make_judge, bounds=self._bounds, idle_seconds=self._settings.hot_seconds)
        tail = self._tails[key] = Tail(self._catalog, dataset, source, known, means)
        return tail

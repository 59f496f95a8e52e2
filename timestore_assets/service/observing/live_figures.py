"""Figures of what runs inside the service: requests waiting to be landed, rows held for queries, lag of the topics.

How far topics have been read is asked of the brokers beside the requests: nobody waits for brokers longer than a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from timestore_assets.dataset_status import source_name
from timestore_assets.querying.answer import BufferState
from timestore_assets.service.observing.background_poller import BackgroundPoller

if TYPE_CHECKING:
    from timestore_assets.landing.requests.ingest import GroupLanders
    from timestore_assets.tailing.hot_buffers import HotBuffers
    from timestore_assets.warehouse import Warehouse


EVERY_SECONDS = 3.0
WAIT_SECONDS = 1.0
BROKER_SECONDS = 2.0

Key = tuple[str, str]
"""Dataset and address of a topic source."""


class Lags:
    """Lag by dataset and source, some seconds old; None where the brokers don't say."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._looking = BackgroundPoller(self._look, every=EVERY_SECONDS, patience=WAIT_SECONDS, name="lags")

    def current(self) -> Mapping[Key, int | None]:
        return self._looking.newest() or {}

    def at_hand(self) -> Mapping[Key, int | None]:
        """As `current`, without waiting for brokers once they have been asked."""
        return self._looking.at_hand() or {}

    def _look(self) -> dict[Key, int | None]:
        found: dict[Key, int | None] = {}
        for name, dataset in list(self._warehouse.datasets.items()):
            lags = self._warehouse.lags(dataset, timeout_seconds=BROKER_SECONDS)
            found.update(((name, address), lag) for address, lag in lags.items())
        return found


BUFFER_STATES: tuple[str, ...] = get_args(BufferState)
_OF_SOURCE = ("dataset", "source")


class LiveFigures(Collector):
    """Shows what the parts of a service hold at the moment."""

    def __init__(self, landers: GroupLanders, hot: HotBuffers, lags: Lags) -> None:
        self._landers, self._hot, self._lags = landers, hot, lags

    def describe(self) -> Iterator[Metric]:
        """Nobody is asked just because this is registered."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        yield from self._waiting()
        yield from self._buffers()
        yield from self._topics()

    def _waiting(self) -> Iterator[Metric]:
        requests = GaugeMetricFamily("timestore_ingest_waiting_requests", "Requests that wait to be landed.", labels=("dataset",))
        rows = GaugeMetricFamily("timestore_ingest_waiting_rows", "Their rows.", labels=("dataset",))
        size = GaugeMetricFamily("timestore_ingest_waiting_bytes", "Their bytes.", labels=("dataset",))
        for dataset, waiting in self._landers.waiting().items():
            requests.add_metric((dataset,), waiting.requests)
            rows.add_metric((dataset,), waiting.rows)
            size.add_metric((dataset,), waiting.bytes)
        yield from (requests, rows, size)

    def _buffers(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily("timestore_hot_rows", "Rows of topics held for queries, not landed yet.", labels=_OF_SOURCE)
        size = GaugeMetricFamily("timestore_hot_bytes", "Their bytes.", labels=_OF_SOURCE)
        behind = GaugeMetricFamily(
            "timestore_hot_behind_seconds", "Seconds since the end of the topics was last reached.", labels=_OF_SOURCE
        )
        state = GaugeMetricFamily("timestore_hot_state", "1 for the state that a buffer is in.", labels=(*_OF_SOURCE, "state"))
        for one in self._hot.states():
            where = (one.dataset, source_name("kafka", one.source))
            rows.add_metric(where, one.rows)
            size.add_metric(where, one.bytes)
            behind.add_metric(where, one.seconds_behind)
            for name in BUFFER_STATES:
                state.add_metric((*where, name), one.state == name)
        yield from (rows, size, behind, state)

    def _topics(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("timestore_source_lag", "Records of its topics that a source has not read.", labels=_OF_SOURCE)
        known = GaugeMetricFamily("timestore_source_reachable", "Whether the brokers of a source answer.", labels=_OF_SOURCE)
        for (dataset, address), records in self._lags.current().items():
            where = (dataset, source_name("kafka", address))
            known.add_metric(where, records is not None)
            if records is not None:
                lag.add_metric(where, records)
        yield from (lag, known)

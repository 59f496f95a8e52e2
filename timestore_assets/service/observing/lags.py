"""How far topics have been read, asked of the brokers beside the requests: nobody waits for brokers longer than a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.looking import Looking

if TYPE_CHECKING:
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
        self._looking = Looking(self._look, every=EVERY_SECONDS, patience=WAIT_SECONDS, name="lags")

    def current(self) -> Mapping[Key, int | None]:
        return self._looking.newest() or {}

    def _look(self) -> dict[Key, int | None]:
        found: dict[Key, int | None] = {}
        for name, dataset in list(self._warehouse.datasets.items()):
            for source in dataset.kafka_sources:
                try:
                    found[name, source.address] = self._warehouse.lag(name, source, timeout_seconds=BROKER_SECONDS).lag
                except TimestoreError:
                    found[name, source.address] = None
        return found

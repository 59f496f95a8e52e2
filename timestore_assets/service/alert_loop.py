"""Beside the requests: alerts are looked at and sent, also where no Dagster runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.alerting.monitor import look, watched
from timestore_assets.alerting.sending import deliver
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

STOP_SECONDS = 2.0
"""What is being sent when the service ends is sent again by whoever looks next."""


def alert_loop(warehouse: Warehouse, log: Log) -> BackgroundLoop:
    """Asking brokers and sending take time. Sensors of Dagster may do the same meanwhile."""

    def work() -> None:
        warehouse.refresh()
        if watched(warehouse):
            look(warehouse)
            deliver(warehouse)

    every = warehouse.settings.alert_interval_seconds
    return BackgroundLoop(work, name="alerts", every=every, patience=STOP_SECONDS, log=log)

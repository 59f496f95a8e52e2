"""Beside the requests: alerts are looked at and sent, also where no Dagster runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.alerting.monitor import look, watched
from timestore_assets.alerting.sending import deliver
from timestore_assets.model.errors import InputError, TimestoreError
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse


class AlertLoop(BackgroundLoop):
    """Asking brokers and sending take time. Sensors of Dagster may do the same meanwhile.

    What is being sent when it is closed is sent again by whoever looks next.
    """

    name = "alerts"
    stop_seconds = 2.0

    def __init__(self, warehouse: Warehouse, log: Log) -> None:
        super().__init__(pause_seconds=warehouse.settings.alert_interval_seconds)
        self._warehouse, self._log, self._said = warehouse, log, ""

    def _turn(self) -> None:
        try:
            self._warehouse.refresh()
            if watched(self._warehouse):
                look(self._warehouse)
                self._deliver()
        except TimestoreError as error:
            self._log.warn("alerts_wait", reason=type(error).__name__)
        except Exception as error:  # the service lives on without alerts, and says so
            self._log.failure("alerts_failed", error)

    def _deliver(self) -> None:
        """Send; a setting that is wrong is said once, and not at every look."""
        try:
            deliver(self._warehouse)
        except InputError as error:
            if str(error) != self._said:
                self._log.warn("alerts_wait", reason=str(error))
            self._said = str(error)
        else:
            self._said = ""

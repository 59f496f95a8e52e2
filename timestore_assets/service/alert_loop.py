"""Beside the requests: alerts are looked at and sent, also where no Dagster runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from timestore_assets.alerting.monitor import look, watched
from timestore_assets.alerting.sending import deliver
from timestore_assets.model.errors import InputError, TimestoreError

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

STOP_SECONDS = 2.0


class AlertLoop:
    """A thread of its own: asking brokers and sending take time. Sensors of Dagster may do the same meanwhile."""

    def __init__(self, warehouse: Warehouse, log: Log) -> None:
        self._warehouse, self._log = warehouse, log
        self._stopped, self._said = threading.Event(), ""
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; what is being sent then is sent again by whoever looks next."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._warehouse.settings.alert_interval_seconds):
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

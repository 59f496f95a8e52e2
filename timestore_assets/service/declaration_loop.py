"""Beside the requests: what was declared, changed, dropped, renamed or retired elsewhere is taken in, also where nobody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from timestore_assets.declarations import FRESH_SECONDS
from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse


class DeclarationLoop(BackgroundLoop):
    """`held`: names of the datasets that anything here is kept for; `gone`: called with each of them that is no longer served."""

    name = "declarations"
    stop_seconds = 5.0

    def __init__(self, warehouse: Warehouse, log: Log, *, held: Callable[[], Iterable[str]], gone: Callable[[str], None]) -> None:
        super().__init__(pause_seconds=FRESH_SECONDS)
        self._warehouse, self._log, self._held, self._gone = warehouse, log, held, gone
        self._served = frozenset(warehouse.datasets)
        self._waits = False

    def _turn(self) -> None:
        try:
            self._warehouse.refresh()
            self._compare(frozenset(self._warehouse.datasets))
            self._waits = False
        except TimestoreError as error:
            if not self._waits:  # once, however long the catalog stays away
                self._log.warn("declarations_wait", reason=type(error).__name__)
            self._waits = True
        except Exception as error:  # the service lives on with what it knows, and says so
            self._log.failure("declarations_failed", error)

    def _compare(self, served: frozenset[str]) -> None:
        """Requests refresh too, so what is new is seen by comparing; what came and went in between, by what is left of it."""
        for name in sorted(served - self._served):
            self._log.note("dataset_served", dataset=name)
        for name in sorted(self._served - served):
            self._log.note("dataset_gone", dataset=name)
        for name in sorted(set(self._held()) - served):
            self._gone(name)
        self._served = served

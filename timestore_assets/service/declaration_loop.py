"""Beside the requests: what was declared, changed, dropped, renamed or retired elsewhere is taken in, also where nobody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from timestore_assets.declarations import FRESH_SECONDS
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

STOP_SECONDS = 5.0


def declaration_loop(
    warehouse: Warehouse, log: Log, *, held: Callable[[], Iterable[str]], gone: Callable[[str], None]
) -> BackgroundLoop:
    """`held`: names of the datasets that anything here is kept for; `gone`: called with each of them that is no longer served."""
    known = frozenset(warehouse.datasets)

    def work() -> None:
        """Requests refresh too, so what is new is seen by comparing; what came and went in between, by what is left of it."""
        nonlocal known
        warehouse.refresh()
        served = frozenset(warehouse.datasets)
        for name in sorted(served - known):
            log.note("dataset_served", dataset=name)
        for name in sorted(known - served):
            log.note("dataset_gone", dataset=name)
        for name in sorted(set(held()) - served):
            gone(name)
        known = served

    return BackgroundLoop(work, name="declarations", every=FRESH_SECONDS, patience=STOP_SECONDS, log=log)

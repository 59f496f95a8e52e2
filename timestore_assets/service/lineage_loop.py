"""Beside the requests: OpenLineage events are sent, also where no Dagster runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.lineage.emitting import emit
from timestore_assets.service.background_loop import BackgroundLoop

if TYPE_CHECKING:
    from timestore_assets.service.service_log import Log
    from timestore_assets.warehouse import Warehouse

EVERY_SECONDS = 5.0
STOP_SECONDS = 2.0
"""What is being sent when the service ends is sent again by whoever looks next."""


def lineage_loop(warehouse: Warehouse, log: Log) -> BackgroundLoop:
    """Started where a receiver is set. A sensor of Dagster may do the same meanwhile: a lease lets one of them."""
    return BackgroundLoop(lambda: _round(warehouse), name="lineage", every=EVERY_SECONDS, patience=STOP_SECONDS, log=log)


def _round(warehouse: Warehouse) -> None:
    emit(warehouse)

"""Looks at the conditions of declared alerts, and queues what is to be told; `sending` sends it.

Any process may look, also several at once: the catalog lets one of them turn an alert (`catalog.alerts`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from timestore_assets.alerting.conditions import Facts, Measurement, read
from timestore_assets.alerting.turning import Told, Turn, turned
from timestore_assets.catalog.alerts import AlertState
from timestore_assets.catalog.schema_events import change_sentence
from timestore_assets.model.alert import Alert
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.warehouse import Warehouse

LOG = logging.getLogger(__name__)

_ACTIONS: Mapping[Told, str] = {"firing": "alert_raised", "recovered": "alert_recovered", "changed": "alert_changed"}
"""What the audit calls it; reminders are not in it."""
_LAG_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertStatus:
    """A declared alert and how it stands now."""

    dataset: str
    alert: Alert
    #: None when it can't be told now.
    reading: Measurement | None
    #: None when nobody has looked yet.
    state: AlertState | None
    #: Messages about it that its channels have not taken yet.
    waiting: int
    #: When this was so, by the catalog's clock.
    now: datetime


def watched(warehouse: Warehouse) -> list[Dataset]:
    """The datasets that declare alerts; those that are retired are quiet."""
    return [dataset for name, dataset in warehouse.datasets.items() if dataset.alerts and not warehouse.is_retired(name)]


def statuses(warehouse: Warehouse, dataset: Dataset) -> list[AlertStatus]:
    """How each alert of a dataset stands."""
    if not dataset.alerts:
        return []
    _, record = warehouse.resolve(dataset.name)
    # in this order: whoever turns an alert by older facts than another did finds it standing otherwise, and leaves it
    standing = warehouse.catalog.alerts.standing(record.id)
    facts = _facts(warehouse, dataset, record)
    return [
        AlertStatus(
            dataset=dataset.name,
            alert=alert,
            reading=read(alert, dataset, facts, now=standing.now),
            state=standing.states.get(alert.key),
            waiting=standing.waiting.get(alert.key, 0),
            now=standing.now,
        )
        for alert in dataset.alerts
    ]


def alert_to_plain(status: AlertStatus) -> dict[str, Any]:
    """An alert as plain JSON, for every face; durations are in seconds.

    `state`: firing, pending as long as `for` has not passed yet, ok, or unknown as long as nobody has looked.
    """
    alert, reading, state = status.alert, status.reading, status.state
    return {
        "dataset": status.dataset,
        "alert": alert.on,
        "above": _limit(alert),
        "for": _seconds(alert.hold),
        "keep": _seconds(alert.keep),
        "remind": _seconds(alert.remind),
        "to": list(alert.to),
        "state": _word(state),
        "since": format_time(_since(state)) if state else None,
        "value": reading.value if reading else None,
        "summary": reading.sentence if reading else None,
        "waiting": status.waiting,
    }


def _word(state: AlertState | None) -> str:
    if state is None:
        return "unknown"
    return "firing" if state.is_firing else "pending" if state.pending_since is not None else "ok"


def _since(state: AlertState) -> datetime:
    """Since when it is what `_word` says."""
    return state.since if state.is_firing or state.pending_since is None else state.pending_since


def _seconds(duration: timedelta | None) -> int | None:
    return round(duration.total_seconds()) if duration else None


def look(warehouse: Warehouse) -> int:
    """Let alerts begin and end as their conditions do; returns how many messages that makes people get.

    A dataset that can't be looked at now is left for the next time, and the others are looked at all the same.
    """
    told = 0
    for dataset in watched(warehouse):
        try:
            told += sum(_looked_at(warehouse, status) for status in statuses(warehouse, dataset))
        except TimestoreError as error:
            LOG.warning("the alerts of %s can't be looked at now: %s", dataset.name, error)
    return told


def _looked_at(warehouse: Warehouse, status: AlertStatus) -> int:
    """How many channels are told."""
    alert, reading, before = status.alert, status.reading, status.state
    turn = None if reading is None else turned(alert, reading, before, now=status.now)
    if reading is None or turn is None:
        return 0
    channels = alert.to if turn.told is not None else ()
    _, record = warehouse.resolve(status.dataset)
    is_ours = warehouse.catalog.alerts.turn(
        record.id,
        alert.key,
        before=before,
        after=turn.after,
        channels=channels,
        payload=_payload(status, reading, turn),
        action=_ACTIONS.get(turn.told) if turn.told is not None else None,
    )
    return len(channels) if is_ours else 0


def _payload(status: AlertStatus, reading: Measurement, turn: Turn) -> dict[str, Any]:
    is_reminder, since = turn.told == "reminder", format_time(turn.after.since)
    return {
        "dataset": status.dataset,
        "alert": status.alert.on,
        "state": "firing" if is_reminder else turn.told,
        "reminder": is_reminder,
        "value": reading.value,
        "above": _limit(status.alert),
        "since": since,
        "summary": f"{status.dataset}: {reading.sentence}" + (f", since {since}" if is_reminder else ""),
    }


def _limit(alert: Alert) -> int | None:
    """The limit as a number, of staleness in seconds."""
    if alert.on in ("paused", "schema"):
        return None
    return round(alert.age.total_seconds()) if alert.on == "staleness" else alert.above


def _facts(warehouse: Warehouse, dataset: Dataset, record: DatasetRecord) -> Facts:
    kinds = {alert.on for alert in dataset.alerts}
    catalog = warehouse.catalog
    partitions = catalog.partitions.of(record.id) if "staleness" in kinds else ()
    history = catalog.datasets.schema_history(record.id) if "schema" in kinds else []
    return Facts(
        sources=catalog.sources.of(record.id),
        newest=max((partition.max_time for partition in partitions if partition.max_time), default=None),
        quarantined=catalog.files.quarantined(record.id) if "quarantine" in kinds else 0,
        lags=warehouse.lags(dataset, timeout_seconds=_LAG_SECONDS) if "lag" in kinds else {},
        schema_version=record.schema.version,
        schema_changes=[change_sentence(change) for change in history[0]["changes"]] if history else [],
    )

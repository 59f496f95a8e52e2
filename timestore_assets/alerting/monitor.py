"""Looks at the conditions of declared alerts, and sends what is to be told.

Any process may look, also several at once: the catalog lets one of them turn an alert (`catalog.alerts`). A message is sent at
least once; when the process dies between sending and saying so it is sent again with the same key.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from timestore_assets.alerting.channels import Channel, channels_of
from timestore_assets.alerting.conditions import Facts, Measurement, read
from timestore_assets.catalog.alerts import AlertMessage, AlertState
from timestore_assets.model.alert import Alert
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.warehouse import Warehouse

LOG = logging.getLogger(__name__)

ATTEMPTS = 12
"""About three hours of trying, with growing pauses."""
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=30)
_TTL = timedelta(seconds=60)
_AT_ONCE = 20
_LAG_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertStatus:
    """A declared alert and how it stands now; `reading`: None when it can't be told. `state`: None when nobody has looked yet."""

    dataset: str
    alert: Alert
    reading: Measurement | None
    state: AlertState | None


def watched(warehouse: Warehouse) -> list[Dataset]:
    """The datasets that declare alerts; those that are retired are quiet."""
    return [dataset for name, dataset in warehouse.datasets.items() if dataset.alerts and not warehouse.is_retired(name)]


def statuses(warehouse: Warehouse, dataset: Dataset) -> list[AlertStatus]:
    """How each alert of a dataset stands."""
    if not dataset.alerts:
        return []
    _, record = warehouse.resolve(dataset.name)
    facts, now = _facts(warehouse, dataset, record), datetime.now(UTC)
    states = warehouse.catalog.alerts.states(record.id)
    return [
        AlertStatus(dataset=dataset.name, alert=alert, reading=read(alert, dataset, facts, now=now), state=states.get(alert.key))
        for alert in dataset.alerts
    ]


def alert_to_plain(status: AlertStatus) -> dict[str, Any]:
    """An alert as plain JSON, for every face. `state`: firing, ok, or unknown while it can't be told, or was not told yet."""
    alert, reading, state = status.alert, status.reading, status.state
    return {
        "dataset": status.dataset,
        "alert": alert.on,
        "above": _limit(alert),
        "to": list(alert.to),
        "state": _standing(reading, state),
        "since": format_time(state.since) if state else None,
        "value": reading.value if reading else None,
        "summary": reading.sentence if reading else None,
    }


def _standing(reading: Measurement | None, state: AlertState | None) -> str:
    # what has never begun has no state in the catalog, however often somebody looked
    if state is None:
        return "ok" if reading is not None and not reading.is_firing else "unknown"
    return "firing" if state.is_firing else "ok"


def look(warehouse: Warehouse) -> int:
    """Let alerts begin and end as their conditions do; returns how many messages that makes people get.

    A dataset that can't be looked at now is left for the next time, and the others are looked at all the same.
    """
    turned = 0
    for dataset in watched(warehouse):
        try:
            turned += sum(_turned(warehouse, status) for status in statuses(warehouse, dataset))
        except TimestoreError as error:
            LOG.warning("the alerts of %s can't be looked at now: %s", dataset.name, error)
    return turned


def _turned(warehouse: Warehouse, status: AlertStatus) -> int:
    """How many channels are told."""
    alert, reading, before = status.alert, status.reading, status.state
    if reading is None:
        return 0
    if alert.on == "schema":
        if before is not None and before.value == reading.value:
            return 0
        state, is_told = "changed", before is not None  # what there was at the first look is nothing new
    else:
        if reading.is_firing == (before is not None and before.is_firing):
            return 0
        state, is_told = ("firing" if reading.is_firing else "recovered"), True
    channels = alert.to if is_told else ()
    _, record = warehouse.resolve(status.dataset)
    turned = warehouse.catalog.alerts.turn(
        record.id,
        alert.key,
        before=before,
        is_firing=reading.is_firing,
        value=reading.value,
        channels=channels,
        payload={
            "dataset": status.dataset,
            "alert": alert.on,
            "state": state,
            "value": reading.value,
            "above": _limit(alert),
            "summary": f"{status.dataset}: {reading.sentence}",
        },
    )
    return len(channels) if turned else 0


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
        schema_changes=[_change(change) for change in history[0]["changes"]] if history else [],
    )


def _change(change: Mapping[str, Any]) -> str:
    words = str(change["kind"]).removeprefix("column_").replace("_", " ")
    return f"{change.get('column', '')} {words}" + (f" as {change['after']}" if change.get("after") else "")


def deliver(warehouse: Warehouse) -> int:
    """Send what is due; returns how many messages were taken. What was not taken is tried again, for about three hours."""
    taken = 0
    catalog = warehouse.catalog.alerts
    channels: Mapping[str, Channel] | None = None
    while messages := catalog.claim(limit=_AT_ONCE, ttl=_TTL):
        channels = channels_of(warehouse.settings) if channels is None else channels
        for message in messages:
            taken += _delivered(warehouse, message, channels)
    return taken


def _delivered(warehouse: Warehouse, message: AlertMessage, channels: Mapping[str, Channel]) -> bool:
    catalog = warehouse.catalog.alerts
    channel = channels.get(message.channel)
    try:
        if channel is None:
            raise UnavailableError(
                f"no channel has this name; TIMESTORE_ALERT_CHANNELS has {', '.join(sorted(channels)) or 'none'}"
            )
        channel.send(message)
    except UnavailableError as error:
        LOG.warning("channel %s: message %s was not sent: %s", message.channel, message.key, error)
        if message.attempts >= ATTEMPTS:
            catalog.give_up(message, str(error))
        else:
            catalog.postpone(message.id, min(_FIRST_PAUSE * 2 ** (message.attempts - 1), _LONGEST_PAUSE))
        return False
    catalog.sent(message.id)
    return True


def try_channel(warehouse: Warehouse, name: str, *, actor: str) -> None:
    """Send a message that says it is a try, at once.

    Raises:
        InputError: no channel has this name. UnavailableError: it was not taken.
    """
    channels = channels_of(warehouse.settings)
    if name not in channels:
        known = ", ".join(sorted(channels)) or "none; set TIMESTORE_ALERT_CHANNELS"
        raise InputError(f"no channel is named {name[:60]!r}; there are: {known}")
    now = datetime.now(UTC)
    payload = {"dataset": None, "alert": "test", "state": "test", "summary": f"a try of channel {name}, by {actor}"}
    message = AlertMessage(id=0, channel=name, key=f"test/{now.timestamp():.0f}", payload=payload, attempts=1, created_at=now)
    try:
        channels[name].send(message)
    except UnavailableError as error:
        raise UnavailableError(f"channel {name!r}: {error}") from None

"""Sends what is to be told to its channels.

A message is sent at least once; when the process dies between sending and saying so it is sent again with the same key.
The channels are read before a message is claimed: a wrong setting, and a channel that nobody has set, cost a message time and
no tries.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from timestore_assets.alerting.channels import Channel, channels_of
from timestore_assets.catalog.alerts import AlertMessage
from timestore_assets.model.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

LOG = logging.getLogger(__name__)

ATTEMPTS = 12
"""About three hours of trying, with growing pauses."""
LONGEST_WAIT = timedelta(days=7)
"""How long a message waits for a channel that can take it."""
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=30)
_TTL = timedelta(seconds=60)
_AT_ONCE = 20


def deliver(warehouse: Warehouse) -> int:
    """Send what is due; returns how many messages were taken. What was not taken is tried again, for about three hours.

    Raises:
        InputError: the channels' setting is wrong; all messages wait until it is mended.
    """
    channels = channels_of(warehouse.settings)
    catalog = warehouse.catalog.alerts
    for channel, count in sorted(catalog.hold(channels).items()):
        LOG.warning("%s", unnamed(channel, count))
    for message in catalog.give_up_old(older_than=LONGEST_WAIT, reason=f"nobody took it for {LONGEST_WAIT.days} days"):
        LOG.warning("channel %s: message %s is given up after %d days", message.channel, message.key, LONGEST_WAIT.days)
    taken = 0
    while messages := catalog.claim(channels, limit=_AT_ONCE, ttl=_TTL):
        taken += sum(_delivered(warehouse, message, channels[message.channel]) for message in messages)
    return taken


def unnamed(channel: str, count: int) -> str:
    """What is to be known of messages to a channel that is not set."""
    waits = "1 message waits" if count == 1 else f"{count} messages wait"
    return (
        f"TIMESTORE_ALERT_CHANNELS names no channel {channel!r}; {waits} for it, {LONGEST_WAIT.days} days at most: "
        "name it there, or write another in `to:`"
    )


def _delivered(warehouse: Warehouse, message: AlertMessage, channel: Channel) -> bool:
    catalog = warehouse.catalog.alerts
    try:
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

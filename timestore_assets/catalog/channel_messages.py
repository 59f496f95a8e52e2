"""Queues messages to channels in the transaction that makes what they tell; `alerts` hands them out, `sending` sends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.tables import alert_messages


def queue(connection: Connection, channel: str, key: str, payload: Mapping[str, Any], *, now: int) -> bool:
    """Queue a message; False when the channel got one with this key before."""
    told = json.dumps({**payload, "at": from_micros(now).isoformat().replace("+00:00", "Z")})
    row = {"channel": channel, "key": key, "payload": told, "attempts": 0, "due_at": now, "created_at": now}
    return bool(insert_ignore(connection, alert_messages, row))

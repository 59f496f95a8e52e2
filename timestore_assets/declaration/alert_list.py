"""The `alerts:` of a declaration: their keys, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from timestore_assets.model.alert import Alert, AlertKind
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.window import parse_duration

_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_COUNTED = ("dead_letters", "lag", "quarantine")


class AlertAttributes(BaseModel):
    """One alert, such as `{on: staleness, above: 2h, to: slack}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: AlertKind = Field(description="What is watched.")
    above: Any = Field(
        None,
        description="A number of `dead_letters` (0 by default), records of `lag` or files in `quarantine` (0 by default), or the "
        "age of the newest row for `staleness`, such as 2h; what is above it raises the alert.",
    )
    to: str | list[str] = Field(description="Channels of TIMESTORE_ALERT_CHANNELS, one or a list.")

    @model_validator(mode="before")
    @classmethod
    def _read_on(cls, value: Any) -> Any:
        """To YAML 1.1, which PyYAML reads, a bare `on` is true, also as a key."""
        return {"on" if key is True else key: item for key, item in value.items()} if isinstance(value, dict) else value


def alerts_of(declared: Sequence[AlertAttributes]) -> tuple[Alert, ...]:
    """The alerts of a declaration.

    Raises:
        DeclarationError: a limit is missing, or is none of its kind; a channel's name is none; an alert is there twice.
    """
    alerts: list[Alert] = []
    for i, attributes in enumerate(declared):
        alert = _alert(attributes, f"alerts.{i}")
        if any(alert.key == other.key for other in alerts):
            raise DeclarationError("is there twice; name both channels in one, `to: [a, b]`", key=f"alerts.{i}")
        alerts.append(alert)
    return tuple(alerts)


def _alert(declared: AlertAttributes, key: str) -> Alert:
    channels = (declared.to,) if isinstance(declared.to, str) else tuple(declared.to)
    wrong = next((name for name in channels if not _CHANNEL.fullmatch(name)), None)
    if wrong is not None or not channels:
        raise DeclarationError(
            f"{(wrong or '')[:60]!r} is no name of a channel; write one of TIMESTORE_ALERT_CHANNELS, such as slack",
            key=f"{key}.to",
        )
    to = tuple(dict.fromkeys(channels))
    limit = declared.above
    if declared.on == "staleness":
        try:
            return Alert(on=declared.on, to=to, age=parse_duration(str(limit)))
        except InputError:
            raise DeclarationError(
                "of staleness is a duration; write how old the newest row may be, such as 2h", key=f"{key}.above"
            ) from None
    if declared.on in _COUNTED:
        if limit is None and declared.on == "lag":
            raise DeclarationError("is missing; write how many records may wait, such as 100000", key=f"{key}.above")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise DeclarationError(f"of {declared.on} is a whole number, 0 or more", key=f"{key}.above")
        return Alert(on=declared.on, to=to, above=limit or 0)
    if limit is not None:
        raise DeclarationError(f"has no meaning for {declared.on}; leave it out", key=f"{key}.above")
    return Alert(on=declared.on, to=to)

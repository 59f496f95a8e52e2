"""The `alerts:` of a declaration: their keys, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
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
    hold: Any = Field(None, alias="for", description="How long it must hold before it begins, such as 5m; at once by default.")
    keep: Any = Field(
        None,
        description="How long it must not hold any more before it ends, such as 10m, so that a value that swings about its limit "
        "is told once; at once by default.",
    )
    remind: Any = Field(None, description="Tell the channels again this often while it goes on, such as 1d; never by default.")

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
    alert = Alert(on=declared.on, to=_channels(declared.to, f"{key}.to"), **_limit(declared, key))
    lasting = {name: value for name, value in _lasting(declared) if value is not None}
    if declared.on == "schema" and lasting:
        raise DeclarationError("has no meaning for schema, which is told once; leave it out", key=f"{key}.{min(lasting)}")
    hold, keep, remind = (_duration(lasting.get(name), f"{key}.{name}") for name in ("for", "keep", "remind"))
    return replace(alert, hold=hold or timedelta(0), keep=keep or timedelta(0), remind=remind)


def _lasting(declared: AlertAttributes) -> Sequence[tuple[str, Any]]:
    return ("for", declared.hold), ("keep", declared.keep), ("remind", declared.remind)


def _duration(value: Any, key: str) -> timedelta | None:
    if value is None:
        return None
    try:
        duration = parse_duration(str(value))
    except InputError as error:
        raise DeclarationError(str(error), key=key) from None
    if not duration:
        raise DeclarationError("is no time at all; write for instance 5m, or leave it out", key=key)
    return duration


def _channels(declared: str | Sequence[str], key: str) -> tuple[str, ...]:
    channels = channel_names(declared, key=key)
    if not channels:
        raise _no_channel("", key)
    return channels


def channel_names(declared: str | Sequence[str], *, key: str) -> tuple[str, ...]:
    """The channels that are named, each once.

    Raises:
        DeclarationError: one can't be the name of a channel.
    """
    channels = (declared,) if isinstance(declared, str) else tuple(declared)
    for name in channels:
        if not _CHANNEL.fullmatch(name):
            raise _no_channel(name, key)
    return tuple(dict.fromkeys(channels))


def _no_channel(name: str, key: str) -> DeclarationError:
    return DeclarationError(
        f"{name[:60]!r} is no name of a channel; write one of TIMESTORE_ALERT_CHANNELS, such as slack", key=key
    )


def _limit(declared: AlertAttributes, key: str) -> dict[str, Any]:
    """The field of `Alert` that says what is above the limit; none for conditions without one."""
    limit = declared.above
    if declared.on == "staleness":
        try:
            return {"age": parse_duration(str(limit))}
        except InputError:
            raise DeclarationError(
                "of staleness is a duration; write how old the newest row may be, such as 2h", key=f"{key}.above"
            ) from None
    if declared.on in _COUNTED:
        if limit is None and declared.on == "lag":
            raise DeclarationError("is missing; write how many records may wait, such as 100000", key=f"{key}.above")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise DeclarationError(f"of {declared.on} is a whole number, 0 or more", key=f"{key}.above")
        return {"above": limit or 0}
    if limit is not None:
        raise DeclarationError(f"has no meaning for {declared.on}; leave it out", key=f"{key}.above")
    return {}

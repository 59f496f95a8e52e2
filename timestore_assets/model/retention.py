"""How long a dataset keeps what it has: partitions, superseded versions, and what goes to another storage target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_duration, parse_duration


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """Partitions that ended so long ago are kept in another storage target."""

    after: timedelta
    to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """None is no bound; `keep_versions` is the setting's then.

    `max_age`: of a partition, from its end on. `max_bytes`: of the live segments of the whole dataset. `keep_versions`: how long
    superseded and expired segments stay for `--as-of` and rollback. `tier`: by `after`, the shortest first.
    """

    max_age: timedelta | None = None
    max_bytes: int | None = None
    keep_versions: timedelta | None = None
    tier: tuple[Tier, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether any partition may expire or move by it."""
        return self.max_age is not None or self.max_bytes is not None or bool(self.tier)

    def tier_of(self, age: timedelta) -> Tier | None:
        """Where a partition of that age is to be; None: where it is."""
        return max((one for one in self.tier if one.after <= age), key=lambda one: one.after, default=None)

    def to_policy(self) -> dict[str, Any]:
        """As JSON values, with durations as text and without what is not bound: what a policy keeps."""
        bounds = {
            "max_bytes": self.max_bytes,
            "keep_versions": _text(self.keep_versions),
            "tier": [{"after": format_duration(one.after), "to": one.to} for one in self.tier],
        }
        return {"max_age": _text(self.max_age), **{name: value for name, value in bounds.items() if value}}

    @classmethod
    def from_policy(cls, value: Mapping[str, Any]) -> Self:
        """Of what `to_policy` gave, or an older package that knew `max_age` alone."""
        return cls(
            max_age=_duration(value.get("max_age")),
            max_bytes=value.get("max_bytes"),
            keep_versions=_duration(value.get("keep_versions")),
            tier=tuple(Tier(after=parse_duration(one["after"]), to=one["to"]) for one in value.get("tier") or ()),
        )

    @classmethod
    def from_definition(cls, value: Mapping[str, Any]) -> Self:
        """Of what `schema.to_plain` made of it, or of one of before there was more than `max_age`."""
        return cls(
            max_age=_seconds(value.get("max_age")),
            max_bytes=value.get("max_bytes"),
            keep_versions=_seconds(value.get("keep_versions")),
            tier=tuple(Tier(after=timedelta(seconds=one["after"]), to=one["to"]) for one in value.get("tier") or ()),
        )


FOR_EVER = Retention()


def check_retention(retention: Retention) -> None:
    """Refuse what can't be meant.

    Raises:
        InputError: a bound is nothing at all, or tiers contradict each other.
    """
    if retention.max_age is not None and not retention.max_age:
        raise InputError("max_age is no time at all; leave it out to keep partitions for ever")
    if retention.max_bytes is not None and retention.max_bytes <= 0:
        raise InputError("max_bytes is no room at all; leave it out to keep everything")
    ages = [one.after for one in retention.tier]
    if len(set(ages)) < len(ages):
        raise InputError("two tiers begin at the same age; give each its own `after`")
    too_late = [one for one in retention.tier if retention.max_age is not None and one.after >= retention.max_age]
    if too_late:
        tier = too_late[0]
        raise InputError(f"the tier {tier.to!r} begins after {format_duration(tier.after)}, when partitions have expired already")


def _text(duration: timedelta | None) -> str | None:
    return None if duration is None else format_duration(duration)


def _seconds(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)

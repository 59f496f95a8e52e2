"""One tick of a sensor over many datasets: each is looked at in turn, for a bounded time, and none stops the others.

What the looks want to remember until the next tick is one cursor. A tick that is out of time says where the next one goes on.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.model.errors import TimestoreError
from timestore_assets.orchestration.attempts import digest_of
from timestore_assets.orchestration.liveness import UnfinishedRuns

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

_VERSION = 1
_PLAIN_BYTES = 1000
"""A cursor that is longer is compressed: Dagster keeps it with every tick."""
_TOLD = 10
"""Datasets whose reasons a tick gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """What the looks of a tick share."""

    instance: dg.DagsterInstance
    warehouse: Warehouse
    runs: UnfinishedRuns
    log: logging.Logger


Look = Callable[[Tick, str | None], dg.SensorResult]
"""Looks at one thing, given its own cursor, which is None at first; the result's cursor is the next one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedLook:
    """Something that every tick looks at: a source of a dataset, or its builds."""

    dataset: str
    source: str = ""
    """The source's address."""
    look: Look

    @property
    def key(self) -> str:
        """What the cursor knows it by."""
        return digest_of([self.dataset, self.source])[:12]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepLimits:
    """Where a tick ends. Dagster gives it a minute, and submits what it asks for one by one."""

    seconds: float = 10.0
    """No look begins later."""
    requests: int = 50
    side_by_side: int = 1
    """Looks at a time: more than one where they wait for others' machines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepCursor:
    """What is kept between ticks. An unreadable one, or one of another version, costs one observation of each source."""

    first: str = ""
    """Key of what the next tick looks at first."""
    inner: Mapping[str, str] = field(default_factory=dict)
    """By key; things without one are not in it."""

    @classmethod
    def parse(cls, text: str | None) -> SweepCursor:
        try:
            plain = zlib.decompress(b64decode(text[1:])).decode() if text and text.startswith("z") else text
            value: Any = json.loads(plain or "{}")
        except (ValueError, zlib.error):
            return cls()
        if not isinstance(value, dict) or value.get("version") != _VERSION or not isinstance(value.get("inner"), dict):
            return cls()
        return cls(first=str(value.get("first", "")), inner=value["inner"])

    def text(self) -> str:
        value = {"version": _VERSION, "first": self.first, "inner": dict(self.inner)}
        plain = json.dumps(value, separators=(",", ":"))
        return plain if len(plain) < _PLAIN_BYTES else "z" + b64encode(zlib.compress(plain.encode())).decode()


def sweep(
    tick: Tick, watched: Sequence[WatchedLook], cursor: str | None, *, limits: SweepLimits, idle: Callable[[str], bool]
) -> dg.SensorResult:
    """Look at everything, from where the last tick ended.

    Args:
        idle: whether a reason says that there was nothing to do; the others are told with the names of their datasets.

    Raises:
        Exception: everything was looked at and every look failed, so that it is no fault of any dataset; the first one's.
    """
    before = SweepCursor.parse(cursor)
    turn = _from(watched, before.first)
    ended, looked, first = time.monotonic() + limits.seconds, _Looked(), ""
    for start in range(0, len(turn), limits.side_by_side):
        group = turn[start : start + limits.side_by_side]
        if looked.any and (time.monotonic() >= ended or len(looked.requests) >= limits.requests):
            first = group[0].key
            break
        for one, outcome in zip(group, _side_by_side(tick, group, before.inner), strict=True):
            looked.add(tick, one, outcome)
    if turn and len(looked.errors) == len(turn):  # a tick that ended before goes on behind them in the next one
        raise next(iter(looked.errors.values()))
    kept = {one.key: before.inner[one.key] for one in watched if one.key in before.inner and one not in looked.results}
    kept |= {one.key: result.cursor for one, result in looked.results.items() if result.cursor}
    return dg.SensorResult(
        run_requests=looked.requests,
        skip_reason=None if looked.requests else looked.reason(len(turn), idle),
        asset_events=[event for result in looked.results.values() for event in result.asset_events],
        cursor=SweepCursor(first=first, inner=kept).text(),
    )


def _from(watched: Sequence[WatchedLook], first: str) -> list[WatchedLook]:
    start = next((index for index, one in enumerate(watched) if one.key == first), 0)
    return [*watched[start:], *watched[:start]]


def _side_by_side(tick: Tick, group: Sequence[WatchedLook], cursors: Mapping[str, str]) -> list[dg.SensorResult | Exception]:
    def apart(one: WatchedLook) -> dg.SensorResult | Exception:
        try:
            return one.look(tick, cursors.get(one.key))
        except Exception as error:  # also a dead mount's, or a broker's: what concerns them all fails them all
            return error

    if len(group) == 1:
        return [apart(group[0])]
    with ThreadPoolExecutor(max_workers=len(group), thread_name_prefix="look") as threads:
        return list(threads.map(apart, group))


def reason_of(result: dg.SensorResult) -> str:
    """Why a look asks for nothing; empty when it asks for something."""
    reason = result.skip_reason
    return reason.skip_message or "" if isinstance(reason, dg.SkipReason) else reason or ""


class _Looked:
    """What the looks of a tick came to."""

    def __init__(self) -> None:
        self.results: dict[WatchedLook, dg.SensorResult] = {}
        self.errors: dict[WatchedLook, Exception] = {}
        self.requests: list[dg.RunRequest] = []

    @property
    def any(self) -> bool:
        return bool(self.results or self.errors)

    def add(self, tick: Tick, one: WatchedLook, outcome: dg.SensorResult | Exception) -> None:
        if isinstance(outcome, Exception):
            self.errors[one] = outcome
            tick.log.error(f"{one.dataset}: {outcome}", exc_info=None if isinstance(outcome, TimestoreError) else outcome)
            return
        self.results[one] = outcome
        self.requests += outcome.run_requests or ()

    def reason(self, there: int, idle: Callable[[str], bool]) -> str:
        """Why nothing is asked for: of one thing what it says, of many those with something to say, and how many have not."""
        said = [(one.dataset, reason_of(result)) for one, result in self.results.items()]
        if there == 1:
            return said[0][1]
        failed = [f"{one.dataset}: failed: {error}" for one, error in self.errors.items()]
        worth = failed + [f"{dataset}: {text}" for dataset, text in said if not idle(text)]
        quiet = len(said) + len(failed) - len(worth)
        more = [f"and {len(worth) - _TOLD} more have something to wait for"] if len(worth) > _TOLD else []
        rest = there - len(said) - len(failed)
        later = [f"{rest} are looked at in the next ticks"] if rest else []
        return "; ".join([*worth[:_TOLD], *more, *([f"nothing to do for {quiet} of {there}"] if quiet else []), *later])

"""Whether the condition of an alert holds: pure, from what the catalog says of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from timestore_assets.catalog.records import SourceRecord
from timestore_assets.model.alert import Alert
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What conditions look at."""

    sources: Sequence[SourceRecord]
    newest: datetime | None
    """Newest time of a row."""
    quarantined: int
    """Files that can't be read."""
    lags: Mapping[str, int | None]
    """Records not read yet, by address of a topic source; None where the brokers did not say."""
    schema_version: int
    schema_changes: Sequence[str] = ()
    """Sentences on what the newest version changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """`value`: what was measured, as text. `sentence`: for people, without the dataset's name."""

    is_firing: bool
    value: str
    sentence: str


def read(alert: Alert, dataset: Dataset, facts: Facts, *, now: datetime) -> Measurement | None:
    """How the condition stands; None when it can't be told now. `schema` never fires: its `value` is what turns."""
    match alert.on:
        case "dead_letters":
            refused = sum(source.counters.dead_letters for source in facts.sources)
            return _counted(alert, refused, "record is a dead letter", "records are dead letters")
        case "quarantine":
            return _counted(alert, facts.quarantined, "file can't be read", "files can't be read")
        case "lag":
            known = [lag for lag in facts.lags.values() if lag is not None]
            if len(known) < len(facts.lags) or not known:
                return None
            return _counted(alert, sum(known), "record waits in topics", "records wait in topics")
        case "paused":
            reasons = [f"{source.kind}:{source.address}: {source.paused}" for source in facts.sources if source.paused]
            sentence = f"landing is paused ({'; '.join(reasons)})" if reasons else "landing goes on"
            return Measurement(is_firing=bool(reasons), value=str(len(reasons)), sentence=sentence)
        case "staleness":
            return _staleness(alert, dataset, facts.newest, now)
        case "schema":
            changes = "; ".join(facts.schema_changes)
            sentence = f"the schema has changed to version {facts.schema_version}" + (f" ({changes})" if changes else "")
            return Measurement(is_firing=False, value=str(facts.schema_version), sentence=sentence)
        case _:
            assert_never(alert.on)


def _counted(alert: Alert, count: int, singular: str, plural: str) -> Measurement:
    limit = f"{'above' if count > alert.above else 'not above'} {alert.above:,}"
    sentence = f"{count:,} {singular if count == 1 else plural}, {limit}"
    return Measurement(is_firing=count > alert.above, value=str(count), sentence=sentence)


def _staleness(alert: Alert, dataset: Dataset, newest: datetime | None, now: datetime) -> Measurement | None:
    if newest is None:
        return None
    if dataset.end is not None and dataset.end <= now:
        # nothing newer is to come
        return Measurement(is_firing=False, value="0", sentence="the dataset is finished")
    age = max(now - newest, timedelta(0))
    sentence = f"the newest row is of {format_time(newest)}, {_words(age)} ago"
    return Measurement(is_firing=age > alert.age, value=str(round(age.total_seconds())), sentence=sentence)


def _words(age: timedelta) -> str:
    minutes = round(age.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{age.days} days"

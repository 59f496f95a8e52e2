"""The relay: what the catalog's transactions queued is claimed, reported to Dagster and marked as delivered.

An event is reported at least once; one that was reported already, by a relay that died before it could say so, is recognised and
not reported again. Landing runs drain the outbox when they are done, and sessions on topics meanwhile; when no run does, the
sensor drains it, which also ends runs that are none any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.catalog.records import OutboxEvent
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window
from timestore_assets.orchestration import schema_event_metadata
from timestore_assets.orchestration.building.metadata import partition_metadata, ticket_metadata
from timestore_assets.orchestration.checks.checks import CheckPace, evaluations
from timestore_assets.orchestration.dagster_names import RELAY_SENSOR, dataset_key, source_keys, topic_key
from timestore_assets.orchestration.empty_window_events import tell_empty_windows
from timestore_assets.orchestration.idle_datasets import IdleDatasets
from timestore_assets.orchestration.liveness import fail_stale_runs
from timestore_assets.orchestration.sensor_pace import least_seconds
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


LOG = logging.getLogger(__name__)

BATCH = 25
"""Events claimed at a time: about half a second of reporting, so that a killed relay leaves little behind."""
MOST = 1000
"""Events one call reports at most; the rest waits for the next tick."""
_TTL = timedelta(seconds=60)
_EVENT = "outbox_event"
_STREAMED = "records_landed"
_FILES_LANDED = "files_landed"
_EXPIRED = "partition_expired"
_SCHEMA_CHANGED = "schema_changed"
_RECENT = 25
_LISTED = 6

Event = dg.AssetMaterialization | dg.AssetObservation


def drain(
    warehouse: Warehouse, instance: dg.DagsterInstance, *, most: int = MOST, pace: CheckPace | None = None, at_once: bool = True
) -> int:
    """Report queued events, and the checks of the datasets they concern; returns how many were delivered.

    `pace`: how often the checks of a dataset are due while a stream lands into it; `at_once`: all that it owes, now.
    """
    done, touched, streamed = 0, set[str](), set[str]()
    while done < most:
        events = warehouse.catalog.outbox.claim(holder=warehouse.holder, limit=min(BATCH, most - done), ttl=_TTL)
        if not events:
            break
        for event in _latest(events):
            with _apart(f"event {event.id} of {event.dataset!r}"):
                _report(warehouse, instance, event)
        warehouse.catalog.outbox.delivered([event.id for event in events])
        done += len(events)
        for event in events:
            (streamed if event.kind == _STREAMED else touched).add(event.dataset)
    for name in (pace or CheckPace()).due(touched, streamed, now=time.time(), at_once=at_once):
        if name not in warehouse.datasets:
            continue
        with _apart(f"the checks of {name!r}"):
            for evaluation in evaluations(warehouse, warehouse.datasets[name]):
                instance.report_runless_asset_event(evaluation)
    return done


@contextmanager
def _apart(what: str) -> Iterator[None]:
    """Leave out what can't be reported for a reason of its own: it would keep everything behind it from being reported."""
    try:
        yield
    except Exception as error:
        from timestore_assets.decoding.poison import is_poison  # with Arrow, which a tick needs only here

        if not is_poison(error):
            raise
        LOG.warning("%s can't be reported to Dagster", what, exc_info=True)


def _latest(events: Sequence[OutboxEvent]) -> Iterator[OutboxEvent]:
    """Of builds of the same partition the last one; its metadata is read from the catalog and would be the same for all."""
    last = {(event.dataset, event.payload.get("partition")): event.id for event in events if event.kind == "partition_built"}
    for event in events:
        if event.kind != "partition_built" or last[event.dataset, event.payload.get("partition")] == event.id:
            yield event


def _report(warehouse: Warehouse, instance: dg.DagsterInstance, event: OutboxEvent) -> None:
    found = _built(warehouse, event) if event.kind == "partition_built" else _observed(warehouse, event)
    if found is not None and not _known(instance, found):
        instance.report_runless_asset_event(found)


def _built(warehouse: Warehouse, event: OutboxEvent) -> Event | None:
    """None when the key is no partition (Dagster would record any text) or holds nothing any more."""
    record = warehouse.catalog.datasets.find(event.dataset)
    if record is None:
        return None
    try:
        partition = Window(record.definition["window"]).parse_key(str(event.payload.get("partition", "")))
    except InputError:
        return None
    # A dataset of another code location, or one whose declaration was removed, has no declared schema here.
    declared = warehouse.datasets.get(event.dataset)
    metadata = partition_metadata(warehouse, record, partition, declared)
    if not metadata:
        return None
    metadata = {**metadata, **ticket_metadata(event.payload.get("tickets", ()))}
    why = str(event.payload.get("reason") or "built outside Dagster")
    return dg.AssetMaterialization(
        dataset_key(declared or event.dataset), partition=partition.key, metadata=metadata, description=why
    )


def _observed(warehouse: Warehouse, event: OutboxEvent) -> Event:
    """Of the source asset that it is about, else of the dataset: files that landed are a materialisation of their folder.

    Anything else is an observation.
    """
    dataset = warehouse.datasets.get(event.dataset)
    source = _source_asset(dataset, event.payload) if dataset else None
    kind = dg.AssetMaterialization if source is not None and event.kind == _FILES_LANDED else dg.AssetObservation
    return kind(
        source or dataset_key(dataset or event.dataset),
        partition=str(event.payload["partition"]) if event.kind == _EXPIRED else None,
        description=_description(event),
        metadata={**_metadata(event), "event": event.kind, _EVENT: event.id},
    )


def _metadata(event: OutboxEvent) -> dict[str, Any]:
    return schema_event_metadata.shown(event.payload) if event.kind == _SCHEMA_CHANGED else _shown(event.payload)


def _description(event: OutboxEvent) -> str:
    payload = event.payload
    if event.kind == _SCHEMA_CHANGED:
        return schema_event_metadata.described(payload)
    if event.kind in (_FILES_LANDED, _STREAMED):
        counters = payload["counters"]
        return f"{counters['landed']:,} of {counters['read']:,} records landed"
    reason = str(payload.get("reason") or "")
    if event.kind == "landing_paused":
        return f"landing is paused: {reason}"
    if event.kind == _EXPIRED:
        return f"expired: {reason}"
    if event.kind == "landing_resumed":
        return "landing goes on"
    return reason or event.kind.replace("_", " ")


def _source_asset(dataset: Dataset, payload: Mapping[str, Any]) -> dg.AssetKey | None:
    """The asset of the payload's source; of several topics the one that it names, None when it is about all of them."""
    source = next((source for source in dataset.sources if source.address == payload.get("source")), None)
    if source is None:
        return None
    keys = source_keys(dataset, source)
    if len(keys) == 1:
        return keys[0]
    topic = _topic(str(payload.get("partition", "")))
    return topic_key(dataset, topic) if topic else None


def _topic(partition: str) -> str:
    """The topic in a source partition's name, `cluster/topic#epoch/number`."""
    return partition.partition("/")[2].rpartition("#")[0]


def _shown(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers stay numbers, so that the UI can plot them; a mapping of numbers is laid out flat."""
    shown: dict[str, Any] = {}
    for name, value in payload.items():
        if isinstance(value, Mapping):
            shown |= _shown(value)
        elif isinstance(value, list):
            shown[name] = _listed([str(item) for item in value])
        elif value is not None and value != "":
            shown[name] = value
    return shown


def _listed(values: list[str]) -> str:
    """A short list whole, a long one by its ends."""
    return ", ".join(values) if len(values) <= _LISTED else f"{len(values)}, from {values[0]} to {values[-1]}"


def _known(instance: dg.DagsterInstance, event: Event) -> bool:
    """Whether Dagster holds this event already."""
    if isinstance(event, dg.AssetMaterialization) and event.partition is None:
        told = instance.fetch_materializations(event.asset_key, limit=_RECENT)
        return any(_value(record.asset_materialization, _EVENT) == _value(event, _EVENT) for record in told.records)
    if isinstance(event, dg.AssetMaterialization):
        told = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=event.asset_key, asset_partitions=[str(event.partition)]), limit=1
        )
        return any(
            _value(record.asset_materialization, "manifest_version") == _value(event, "manifest_version")
            for record in told.records
        )
    seen = instance.fetch_observations(event.asset_key, limit=_RECENT)
    return any(_value(record.asset_observation, _EVENT) == _value(event, _EVENT) for record in seen.records)


def _value(event: Event | None, name: str) -> object:
    return event.metadata[name].value if event is not None and name in event.metadata else None


def relay_sensor(served: ServedDatasets, settings: Settings) -> dg.SensorDefinition:
    """One a code location; it makes no runs."""
    idle = IdleDatasets()

    @dg.sensor(
        name=RELAY_SENSOR,
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports landings and builds outside Dagster, and windows of finished datasets that stayed without rows.",
    )
    def relay(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pace = CheckPace.parse(context.cursor)
        with served.warehouse() as opened:
            here = context.code_location_origin
            gone = fail_stale_runs(context.instance, opened, location=here.location_name if here else None)
            done = drain(opened, context.instance, pace=pace, at_once=False)
            empty = tell_empty_windows(opened, context.instance, idle=idle)
        words = [f"reported {done:,} events"] if done else []
        words += [f"told of {empty:,} window{'' if empty == 1 else 's'} without rows"] if empty else []
        words += [f"failed {len(gone)} runs whose processes are gone"] if gone else []
        return dg.SensorResult(skip_reason="; ".join(words) or "nothing to report", cursor=pace.cursor())

    return relay

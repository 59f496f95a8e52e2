"""Reports what the catalog's transactions queued to Dagster: claim, report, mark as delivered.

An event is reported at least once; one that was reported already, by a relay that died before it could say so, is recognised
and not reported again. The sensor drains the outbox, and so do landing runs when they are done and sessions on topics meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.catalog.records import OutboxEvent
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window
from timestore_assets.orchestration.check_pace import CheckPace
from timestore_assets.orchestration.checks import evaluations
from timestore_assets.orchestration.metadata import partition_metadata
from timestore_assets.orchestration.names import dataset_key, source_keys, topic_key

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

BATCH = 25
"""Events claimed at a time: about half a second of reporting, so that a killed relay leaves little behind."""
MOST = 1000
"""Events one call reports at most; the rest waits for the next tick."""
_TTL = timedelta(seconds=60)
_EVENT = "outbox_event"
_STREAMED = "records_landed"
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
        events = warehouse.catalog.claim_events(holder=warehouse.holder, limit=min(BATCH, most - done), ttl=_TTL)
        if not events:
            break
        for event in _latest(events):
            _report(warehouse, instance, event)
        warehouse.catalog.delivered([event.id for event in events])
        done += len(events)
        for event in events:
            (streamed if event.kind == _STREAMED else touched).add(event.dataset)
    for name in (pace or CheckPace()).due(touched, streamed, now=time.time(), at_once=at_once):
        if name in warehouse.datasets:
            for evaluation in evaluations(warehouse, warehouse.datasets[name]):
                instance.report_runless_asset_event(evaluation)
    return done


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
    record = warehouse.catalog.dataset(event.dataset)
    if record is None:
        return None
    try:
        partition = Window(record.definition["window"]).parse_key(str(event.payload.get("partition", "")))
    except InputError:
        return None
    # A dataset of another code location, or one whose declaration was removed, has no declared schema here.
    declared = warehouse.datasets.get(event.dataset)
    metadata = partition_metadata(warehouse, record, partition, declared.schema if declared else None)
    if not metadata:
        return None
    return dg.AssetMaterialization(
        dataset_key(event.dataset), partition=partition.key, metadata=metadata, description="built outside Dagster"
    )


def _observed(warehouse: Warehouse, event: OutboxEvent) -> Event:
    """Anything else is an observation: of the source asset that it is about, else of the dataset."""
    dataset = warehouse.datasets.get(event.dataset)
    return dg.AssetObservation(
        (_source_asset(dataset, event.payload) if dataset else None) or dataset_key(event.dataset),
        description=_description(event),
        metadata={**_shown(event.payload), "event": event.kind, _EVENT: event.id},
    )


def _description(event: OutboxEvent) -> str:
    payload = event.payload
    if event.kind in ("files_landed", _STREAMED):
        counters = payload["counters"]
        return f"{counters['landed']:,} of {counters['read']:,} records landed"
    reason = str(payload.get("reason") or "")
    if event.kind == "landing_paused":
        return f"landing is paused: {reason}"
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
    if isinstance(event, dg.AssetMaterialization):
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=event.asset_key, asset_partitions=[str(event.partition)]), limit=1
        )
        return any(
            _value(record.asset_materialization, "manifest_version") == _value(event, "manifest_version")
            for record in found.records
        )
    seen = instance.fetch_observations(event.asset_key, limit=_RECENT)
    return any(_value(record.asset_observation, _EVENT) == _value(event, _EVENT) for record in seen.records)


def _value(event: Event | None, name: str) -> object:
    return event.metadata[name].value if event is not None and name in event.metadata else None

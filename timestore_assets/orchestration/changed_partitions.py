"""Recomputing what people made of a dataset: a sensor that asks for exactly the partitions whose content has changed.

A partition that is built again, because late rows came or a bad day was repaired, is an event of its asset. The sensor reads
those events in order from where it stands and requests runs of a job for the partitions that overlap them in time.

Partitions that were built and still hold the same rows ask for nothing, nor do builds that leave a partition open: what they
merge has landed before and is no truth yet. Where the event log gives ids out of order, an event that appears late is seen for as
long as `OVERLAP` newer ones are not there.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import dagster as dg

from timestore_assets.model.errors import InputError

EVENTS_A_TICK = 100
OVERLAP = 1000
_BEFORE = 25
"""Builds of a partition that are looked through for the one that sealed it before."""
_HASH, _VERSION, _SCHEMA = "content_hash", "manifest_version", "schema_version"


def changed_partitions_sensor(
    *,
    asset: str | dg.AssetKey | Sequence[str],
    job: Any,
    name: str | None = None,
    first_builds: bool = True,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that asks for runs of `job` wherever partitions of `asset` have changed.

    It begins where it is switched on: what was built before is for a backfill. Partitions are matched by time: a day to the same
    day, an hour to its day, a month to each of its days. A job without partitions gets one run for all changes of a tick.

    Args:
        asset: key of a dataset's asset: the dataset's name, below its `key_prefix` if it has one.
        job: what to run, a job of assets or any other with time partitions.
        name: of the sensor, by default made of the two.
        first_builds: also for partitions that are built for the first time; False: only for those that have changed since.
        minimum_interval_seconds: seconds between its looks.
        default_status: whether it runs without being switched on.
    """
    key = asset if isinstance(asset, dg.AssetKey) else dg.AssetKey([asset] if isinstance(asset, str) else list(asset))

    @dg.sensor(
        name=name or f"{job.name}_for_changed_{'_'.join(key.path)}",
        job=job,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Asks for {job.name} wherever partitions of {key.to_user_string()} have changed.",
    )
    def changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        log = EventLog(instance=context.instance, asset=key)
        if not context.cursor:
            return dg.SensorResult(skip_reason="it looks from now on", cursor=Place.begin_at(log.newest()).text)
        place = Place.parse(context.cursor)
        events = log.since(place)
        changes = {str(event.partition_key): event for event in events if log.is_change(event, first=first_builds)}
        requests = list(_requests(context, key, job.name, changes))
        skipped = None if requests else "no partition has changed"
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=place.behind(events).text)

    return changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far the events have been read."""

    begin: int
    """Nothing up to this id is looked at."""
    newest: int
    seen: frozenset[int]
    """Ids of the last `OVERLAP` that were."""

    @classmethod
    def begin_at(cls, newest: int) -> Self:
        return cls(begin=newest, newest=newest, seen=frozenset())

    @classmethod
    def parse(cls, cursor: str) -> Self:
        plain = json.loads(cursor)
        return cls(begin=plain["begin"], newest=plain["newest"], seen=frozenset(plain["seen"]))

    @property
    def text(self) -> str:
        return json.dumps({"begin": self.begin, "newest": self.newest, "seen": sorted(self.seen)})

    @property
    def after(self) -> int:
        """Events behind this id are to be read, but for those that were seen."""
        return max(self.begin, self.newest - OVERLAP)

    def behind(self, events: Iterable[dg.EventLogRecord]) -> Self:
        ids = self.seen | {event.storage_id for event in events}
        newest = max(ids, default=self.newest)
        return type(self)(begin=self.begin, newest=newest, seen=frozenset(one for one in ids if one > newest - OVERLAP))


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """Materialisations of an asset."""

    instance: dg.DagsterInstance
    asset: dg.AssetKey

    def newest(self) -> int:
        """Id of the last one, 0 when there is none."""
        found = self.instance.fetch_materializations(self.asset, limit=1).records
        return found[0].storage_id if found else 0

    def since(self, place: Place) -> list[dg.EventLogRecord]:
        """The next ones of partitions that were not seen, in order."""
        wanted = dg.AssetRecordsFilter(asset_key=self.asset, after_storage_id=place.after)
        limit = EVENTS_A_TICK + len(place.seen)
        found = self.instance.fetch_materializations(wanted, limit=limit, ascending=True).records
        return [event for event in found if event.storage_id not in place.seen][:EVENTS_A_TICK]

    def is_change(self, event: dg.EventLogRecord, *, first: bool) -> bool:
        """Whether the partition's rows are others than they were after the build before. `first`: or its first."""
        if event.partition_key is None or not _is_sealed(event):
            return False
        before = dg.AssetRecordsFilter(
            asset_key=self.asset, asset_partitions=[event.partition_key], before_storage_id=event.storage_id
        )
        records = self.instance.fetch_materializations(before, limit=_BEFORE).records
        sealed = next((record for record in records if _is_sealed(record)), None)
        if sealed is None:
            return first
        return _value(event, _HASH) is None or _content(event) != _content(sealed)


def _is_sealed(event: dg.EventLogRecord) -> bool:
    """Of an asset that is no dataset everything counts."""
    return _value(event, _HASH) is not None or _value(event, _VERSION) is None


def _content(event: dg.EventLogRecord) -> tuple[Any, Any]:
    return _value(event, _HASH), _value(event, _SCHEMA)  # a hash says something within one schema


def _value(event: dg.EventLogRecord, name: str) -> Any:
    found = event.asset_materialization
    return found.metadata[name].value if found is not None and name in found.metadata else None


def _requests(
    context: dg.SensorEvaluationContext, asset: dg.AssetKey, job: str, changes: dict[str, dg.EventLogRecord]
) -> Iterator[dg.RunRequest]:
    if not changes:
        return
    repository = context.repository_def
    if repository is None:
        raise InputError("the sensor needs the definitions that its job is in")
    ids = {partition: event.storage_id for partition, event in changes.items()}
    own, theirs = repository.assets_defs_by_key.get(asset), repository.get_job(job).partitions_def
    if own is None or own.partitions_def is None:
        raise InputError(f"{asset.to_user_string()!r} is no asset with partitions here; name a dataset's, with its key prefix")
    if theirs is None:
        yield dg.RunRequest(run_key=_run_key("", ids))
        return
    by_target: dict[str, dict[str, int]] = {}
    overlap = Overlap(upstream=own.partitions_def, downstream=theirs)
    for partition, storage_id in ids.items():
        for target in overlap.of(partition):
            by_target.setdefault(target, {})[partition] = storage_id
    for target, sources in sorted(by_target.items()):
        yield dg.RunRequest(run_key=_run_key(target, sources), partition_key=target)


def _run_key(target: str, ids: dict[str, int]) -> str:
    """Equal for equal causes: Dagster starts no second run for it when a tick is repeated."""
    return f"{target}:{hashlib.sha256(json.dumps(sorted(ids.items())).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Which partitions of one asset have times of another's."""

    upstream: dg.PartitionsDefinition
    downstream: dg.PartitionsDefinition

    def of(self, partition: str) -> list[str]:
        """Downstream keys, in order; where neither has time windows, the one of the same name.

        Raises:
            InputError: only one of the two has time windows.
        """
        up, down = self.upstream, self.downstream
        if not isinstance(up, dg.TimeWindowPartitionsDefinition) or not isinstance(down, dg.TimeWindowPartitionsDefinition):
            if isinstance(up, dg.TimeWindowPartitionsDefinition) or isinstance(down, dg.TimeWindowPartitionsDefinition):
                raise InputError("the asset or the job has partitions that are no windows of time, so they can't be matched")
            return [partition] if partition in set(self._keys) else []
        window = up.time_window_for_partition_key(partition)
        first = bisect_right(self._keys, window.start, key=lambda key: down.time_window_for_partition_key(key).end)
        found = []
        for key in self._keys[first:]:
            if down.time_window_for_partition_key(key).start >= window.end:
                break
            found.append(key)
        return found

    @cached_property
    def _keys(self) -> Sequence[str]:
        return self.downstream.get_partition_keys()

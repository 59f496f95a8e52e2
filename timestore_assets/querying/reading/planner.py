"""Plans of what questions read at a version, made of what the catalog lists, and kept for who asks the same of it again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cachetools import LRUCache

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.manifest import Wanted
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.stored_segments import Listed
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.querying.planning.gradual_plan import WORTH_IT, GradualPlan
from timestore_assets.querying.planning.pruning import Predicate, StatsNames, is_decided_by, key_ranges
from timestore_assets.querying.planning.query_plan import Plan, narrowed, on_keys_and_values, plan, with_in_memory
from timestore_assets.querying.planning.where import Where
from timestore_assets.segments.reader import InMemorySegment

_REMEMBERED = 16
_REMEMBERED_SCHEMAS = 256
_FEW = 500
"""Segments of a version that are read once for whatever is asked of it: choosing from them takes less than asking the catalog."""
_MOST_OF_FEW = 2_000
_MOST_LISTED = 200_000
"""Segments in lists that are remembered, 140 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """What is asked of a version, as far as it says which segments are read."""

    version: int
    where: Where
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """What a plan goes by. `wanted`: which segments the catalog lists for it; `plan`: how it chooses from them."""

    start: datetime | None
    end: datetime | None
    predicates: tuple[Predicate, ...]
    wanted: Wanted
    plan: Callable[..., Plan]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Planned:
    """What the catalog listed for a plan, and the plan when there is nothing beside it."""

    found: Sequence[Segment]
    live: int
    plan: Plan


class Planner:
    """Thread-safe. What a version holds never changes, so a plan stays right for as long as the version can be pinned."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._remembering = catalog, threading.Lock()
        self._plans: LRUCache[Hashable, _Planned] = LRUCache(_REMEMBERED)
        self._listed: LRUCache[Hashable, Sequence[Listed]] = LRUCache(_MOST_LISTED, getsizeof=len)
        self._few: LRUCache[tuple[int, int], Sequence[Segment]] = LRUCache(_MOST_OF_FEW, getsizeof=len)
        self._live: LRUCache[tuple[int, int], int] = LRUCache(_REMEMBERED)
        self._older_schemas: LRUCache[tuple[int, int, int], Schema] = LRUCache(_REMEMBERED_SCHEMAS)

    def forget(self) -> None:
        """Objects have been moved since the plans were made."""
        with self._remembering:
            self._plans.clear()
            self._few.clear()

    def planned(
        self,
        dataset: Dataset,
        record: DatasetRecord,
        asking: Asking,
        *,
        fresh: Sequence[InMemorySegment] = (),
    ) -> Plan:
        """See `querier.Querier.planned`."""
        choice, version = self._choice(dataset, record, asking), asking.version
        key = (record.id, version, record.schema.version, dataset.dedupe, choice.start, choice.end, choice.predicates)
        with self._remembering:
            known = self._plans.get(key)
        if known is None:
            live = self._count(record, version)
            found = self._found(record, choice, version) if live > _FEW else self._among_few(record, choice, version)
            known = _Planned(found=found, live=live, plan=choice.plan(found, live=live))
            with self._remembering:
                self._plans[key] = known
        if not fresh:
            return known.plan
        segments = with_in_memory(known.found, fresh, start=choice.start, end=choice.end)
        return choice.plan(segments, live=known.live)

    def _found(self, record: DatasetRecord, choice: _Choice, version: int) -> Sequence[Segment]:
        """What the catalog lists for a plan, with the statistics that it has to go by."""
        read = partial(self._catalog.manifest.wanted, record.id, choice.wanted, version=version)
        if not is_decided_by(choice.wanted.ranges, choice.predicates):
            return read(with_stats=True)
        found = read(with_stats=False)
        if choice.predicates and any(one.schema_version != record.schema.version for one in found):
            return read(with_stats=True)
        return found

    def _among_few(self, record: DatasetRecord, choice: _Choice, version: int) -> Sequence[Segment]:
        """The same of a version with few segments."""
        with self._remembering:
            few = self._few.get((record.id, version))
        if few is None:
            few = self._catalog.manifest.wanted(record.id, Wanted(), version=version, with_stats=True)
            with self._remembering:
                self._few[record.id, version] = few
        start, end = choice.start, choice.end
        return [one for one in few if (start is None or one.max_time >= start) and (end is None or one.min_time < end)]

    def _choice(self, dataset: Dataset, record: DatasetRecord, asking: Asking) -> _Choice:
        where = asking.where
        start, end = narrowed(asking.start, asking.end, *where.bounds(dataset.time))
        predicates = tuple(one for one in where.predicates if one.column != dataset.time)
        names = StatsNames(record.schema, self.schemas(record))
        on_keys, _ = on_keys_and_values(dataset, predicates)
        wanted = Wanted(
            start=start,
            end=end,
            first_partition=None if start is None else dataset.window.start_of(start),
            ranges=key_ranges(on_keys if dataset.dedupe else predicates, record.schema.version),
        )
        choose = partial(plan, dataset=dataset, version=asking.version, start=start, end=end, predicates=predicates, names=names)
        return _Choice(start=start, end=end, predicates=predicates, wanted=wanted, plan=choose)

    def gradually(self, dataset: Dataset, record: DatasetRecord, asking: Asking) -> GradualPlan | None:
        """The plan for who wants the first rows only; None where the segments are few."""
        version = asking.version
        if self._count(record, version) <= WORTH_IT:
            return None
        choice = self._choice(dataset, record, asking)
        key = (record.id, version, record.schema.version, dataset.dedupe, choice.wanted)
        with self._remembering:
            listed = self._listed.get(key)
        if listed is None:
            listed = self._catalog.manifest.listed(record.id, choice.wanted, version=version)
            if len(listed) <= _MOST_LISTED:
                with self._remembering:
                    self._listed[key] = listed
        if len(listed) <= WORTH_IT:
            return None
        live = self._count(record, version)

        def plan_of(some: Sequence[Listed]) -> Plan:
            with_stats = bool(choice.predicates)
            return choice.plan(self._catalog.manifest.of(record.id, some, version=version, with_stats=with_stats), live=live)

        return GradualPlan(version=version, listed=listed, live=live, start=choice.start, end=choice.end, plan_of=plan_of)

    def _count(self, record: DatasetRecord, version: int) -> int:
        """How many live segments a version has."""
        with self._remembering:
            known = self._live.get((record.id, version))
        if known is None:
            known = self._catalog.manifest.count(record.id, version=version)
            with self._remembering:
                self._live[record.id, version] = known
        return known

    def schemas(self, record: DatasetRecord) -> Callable[[int], Schema]:
        """Schema of a version of the dataset's, each read once."""

        def schema(wanted: int) -> Schema:
            if wanted == record.schema.version:
                return record.schema
            key = (record.id, wanted, record.schema.version)
            with self._remembering:
                known = self._older_schemas.get(key)
            if known is None:
                known = self._catalog.datasets.schema(record.id, wanted)
                with self._remembering:
                    self._older_schemas[key] = known
            return known

        return schema

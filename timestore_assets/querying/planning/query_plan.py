"""Which segments a question needs, and how: as a function of the segments that the catalog lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.segment import Segment
from timestore_assets.querying.planning.pruning import Predicate, StatsNames, may_match

# Rows in time order are read step by step, so that the first come at once and a sort never holds a whole year; steps grow,
# so that a long answer does not pay for many small queries.
_FIRST_STEP_ROWS = 1_000_000
_LARGEST_STEP_ROWS = 32_000_000
_GROWTH = 4
_SELECTIVE_ROWS = 100_000
"""What is looked through first for the few rows that are wanted of those which a filter lets through."""
OPEN_FILES = 400
"""How many `.duckdb` files a step attaches at most; Parquet files are not kept open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Segments of consecutive partitions. `unique`: no two rows share their keys; `overlapping`: some may."""

    unique: tuple[Segment, ...] = ()
    overlapping: tuple[Segment, ...] = ()

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.unique + self.overlapping

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    @property
    def open_files(self) -> int:
        return sum(segment.format == "duckdb" for segment in self.segments)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a question reads at a manifest version."""

    version: int
    #: The segments, in order of partition.
    whole: Step
    #: How many the dataset has, without those in memory.
    live: int
    #: The range `[start, end)` that rows must lie in; None where all segments lie inside anyway.
    start: datetime | None = None
    end: datetime | None = None

    @property
    def scanned(self) -> int:
        return sum(segment.format != "memory" for segment in self.whole.segments)

    @property
    def pruned(self) -> int:
        return self.live - self.scanned

    def steps(self, *, selective: bool = False, limit: int | None = None, descending: bool = False) -> Iterator[Step]:
        """Partitions in order of time, joined until a step is worth a query of its own.

        `selective`: few of the rows are expected in the answer, so that larger steps are good from the beginning. `limit`: so
        many rows are wanted, for which no more partitions are opened at first than have to be. `descending`: latest first.
        """
        budget = _LARGEST_STEP_ROWS if selective else _FIRST_STEP_ROWS
        if limit is not None:
            budget = min(budget, max(limit, _SELECTIVE_ROWS if selective else 0))
        elif self.whole.rows <= budget and self.whole.open_files <= OPEN_FILES:
            if self.whole.segments:
                yield self.whole
            return
        waiting: list[Step] = []
        rows = files = 0
        for step in self._partitions(descending=descending):
            opens = step.open_files
            is_full = rows + step.rows > (budget if limit is None else max(budget, _FIRST_STEP_ROWS))
            is_enough = limit is not None and rows >= budget
            if waiting and (is_full or is_enough or files + opens > OPEN_FILES):
                yield _joined(waiting)
                budget = min(max(budget, rows) * _GROWTH, _LARGEST_STEP_ROWS)
                waiting, rows, files = [], 0, 0
            waiting.append(step)
            rows, files = rows + step.rows, files + opens
        if waiting:
            yield _joined(waiting)

    def _partitions(self, *, descending: bool) -> Iterator[Step]:
        shared = {segment.id for segment in self.whole.overlapping}
        ordered = sorted(self.whole.segments, key=attrgetter("partition_start", "id"), reverse=descending)
        for _, group in groupby(ordered, key=attrgetter("partition_start")):
            found = list(group)
            yield Step(
                unique=tuple(segment for segment in found if segment.id not in shared),
                overlapping=tuple(segment for segment in found if segment.id in shared),
            )


def _joined(steps: Sequence[Step]) -> Step:
    return Step(
        unique=tuple(segment for step in steps for segment in step.unique),
        overlapping=tuple(segment for step in steps for segment in step.overlapping),
    )


def plan(
    segments: Sequence[Segment],
    *,
    dataset: Dataset,
    version: int,
    live: int,
    start: datetime | None = None,
    end: datetime | None = None,
    predicates: Sequence[Predicate] = (),
    names: StatsNames,
) -> Plan:
    """Choose from the live segments that meet `[start, end)`, which must be in order of partition.

    Key predicates prune everywhere. Value predicates prune only where no two rows can share their keys: elsewhere the
    segment they leave out could hold the row that supersedes one they let through.
    """
    on_keys, on_values = on_keys_and_values(dataset, predicates)
    candidates = [segment for segment in segments if may_match(segment, on_keys, names)] if on_keys else segments
    unique, overlapping = (candidates, ()) if dataset.dedupe is None else _divided(candidates)
    if on_values:
        unique = [segment for segment in unique if may_match(segment, on_values, names)]
    return Plan(
        version=version,
        whole=Step(unique=tuple(unique), overlapping=tuple(overlapping)),
        live=live,
        start=start if start and any(segment.min_time < start for segment in candidates) else None,
        end=end if end and any(segment.max_time >= end for segment in candidates) else None,
    )


def on_keys_and_values(dataset: Dataset, predicates: Sequence[Predicate]) -> tuple[list[Predicate], list[Predicate]]:
    """Predicates that prune everywhere, and those that prune only where no two rows can share their keys."""
    if dataset.dedupe is None:
        return [], list(predicates)
    keys = frozenset(dataset.dedupe.keys)
    return (
        [predicate for predicate in predicates if predicate.column in keys],
        [predicate for predicate in predicates if predicate.column not in keys],
    )


def with_in_memory(
    segments: Sequence[Segment], held: Sequence[Segment], *, start: datetime | None, end: datetime | None
) -> Sequence[Segment]:
    """Listed segments and those of the held ones that meet `[start, end)`, in order of partition."""
    meeting = [one for one in held if (start is None or one.max_time >= start) and (end is None or one.min_time < end)]
    return sorted([*segments, *meeting], key=attrgetter("partition_start"))


def _divided(segments: Sequence[Segment]) -> tuple[Sequence[Segment], Sequence[Segment]]:
    """Segments whose rows have keys of their own, and those that may share some with others of their partition."""
    unbuilt = {segment.partition_start for segment in segments if not _is_built(segment)}
    if not unbuilt:
        return segments, ()
    unique: list[Segment] = []
    overlapping: list[Segment] = []
    for start, group in groupby(segments, key=attrgetter("partition_start")):
        found = list(group)
        alone, shared = _separated(found) if start in unbuilt else (found, [])
        unique += alone
        overlapping += shared
    return unique, overlapping


def _separated(segments: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """The same for one partition.

    Sealed segments of a partition come from one build, so they are disjoint. Keys hold the time, so a deduplicated segment
    is also on its own when no other meets its times.
    """
    unique: list[Segment] = []
    overlapping: list[Segment] = []
    for cluster in _clusters(segments):
        alone = cluster[0].deduplicated and (len(cluster) == 1 or all(_is_built(one) for one in cluster))
        (unique if alone else overlapping).extend(cluster)
    return unique, overlapping


def _is_built(segment: Segment) -> bool:
    return segment.kind == "sealed" and segment.deduplicated


def _clusters(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Groups of segments whose times touch, directly or through others."""
    cluster: list[Segment] = []
    latest: datetime | None = None
    for segment in sorted(segments, key=attrgetter("min_time", "id")):
        if latest is not None and segment.min_time > latest:
            yield cluster
            cluster, latest = [], None
        cluster.append(segment)
        latest = segment.max_time if latest is None else max(latest, segment.max_time)
    if cluster:
        yield cluster


def narrowed(
    start: datetime | None, end: datetime | None, low: datetime | None, high: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """`[start, end)` cut to the times from `low` to `high`, both inclusive; microseconds are the finest there is."""
    start = max((time for time in (start, low) if time is not None), default=None)
    # the last microsecond of year 9999 has no successor
    after = None if high is None or high == datetime.max.replace(tzinfo=UTC) else high + timedelta(microseconds=1)
    return start, min((time for time in (end, after) if time is not None), default=None)

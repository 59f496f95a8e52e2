"""Which segments of a partition a build merges, as a function of values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from timestore_assets.building.file_splitting import is_split, sealed_format
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.retraction import NOTHING, Retracted, sources_of
from timestore_assets.model.segment import Segment, SegmentKind

FANOUT = 4
"""Deltas of one level that are merged into the next.

A row is rewritten at most once a level, and a level needs `FANOUT` times the deltas of the one below, so n deltas cost at
most `1 + log4(n)` times their bytes before the partition is sealed. Less would rewrite more, more leave more files to read.
"""

# Files this much larger or smaller than `target_bytes` asks are no reason to build again: sizes are estimated before files
# are written, and a build must be content with what the one before it made.
_TOLERANCE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """Nothing to merge and no seal: there is nothing to do. Nothing to merge but a seal: the partition holds no rows."""

    merge: tuple[Segment, ...] = ()
    """Segments to read and replace."""
    kind: SegmentKind = "delta"
    """Of what comes out, as its level."""
    level: int = 0
    seal: bool = False
    """The partition becomes `sealed`."""

    @property
    def nothing(self) -> bool:
        return not self.merge and not self.seal


def plan_build(
    segments: Sequence[Segment],
    *,
    dataset: Dataset,
    closed: bool,
    sealed: bool,
    retracted: Retracted = NOTHING,
    outdated: frozenset[int] = frozenset(),
) -> BuildPlan:
    """What to merge in a partition with these live segments.

    An open partition's deltas are merged by level; a closed partition becomes sealed segments, wholly, unless it is already.

    Args:
        closed: the partition is to be sealed. sealed: the catalog says that it is.
        retracted: rows that have to leave.
        outdated: schema versions whose rows are written anew, see `schema_rewrites`.
    """
    losing = sources_of(retracted)
    if not closed:
        return _merge_deltas(segments, losing, outdated)
    is_built = sealed and all(
        _as_wanted(segment, dataset, losing) and segment.schema_version not in outdated for segment in segments
    )
    if is_built and _well_split(segments) and _well_sized(segments, dataset):
        return BuildPlan()
    return BuildPlan(merge=tuple(segments), kind="sealed", seal=True)


def plan_erasure(segments: Sequence[Segment], *, closed: bool) -> BuildPlan:
    """Everything in a partition written anew, as what it is: sealed segments, or one delta. `closed`: it was sealed once."""
    if closed or any(segment.kind == "sealed" for segment in segments):
        return BuildPlan(merge=tuple(segments), kind="sealed", seal=True)
    if not segments:
        return BuildPlan()
    chosen = tuple(sorted(segments, key=lambda segment: segment.id))
    return BuildPlan(merge=chosen, level=max(1, *(segment.level for segment in chosen)))


def _merge_deltas(segments: Sequence[Segment], losing: frozenset[int], outdated: frozenset[int]) -> BuildPlan:
    """All deltas as landed, with them each next level that the result would fill, and whatever is not to stay as it is.

    That is what holds retracted rows, or was written under a schema of before.
    """
    levels: dict[int, list[Segment]] = defaultdict(list)
    for segment in segments:
        if segment.kind == "delta":
            levels[segment.level].append(segment)
    chosen, level = levels.pop(0, []), 1
    while chosen and len(levels[level]) + 1 >= FANOUT:
        chosen += levels.pop(level)
        level += 1
    rest = [held for held_there in levels.values() for held in held_there]
    chosen += [one for one in rest if one.schema_version in outdated or losing.intersection(one.source_ids)]
    if not chosen:
        return BuildPlan()
    chosen.sort(key=lambda segment: segment.id)
    return BuildPlan(merge=tuple(chosen), level=max(level, *(segment.level for segment in chosen)))


def _as_wanted(segment: Segment, dataset: Dataset, losing: frozenset[int]) -> bool:
    """Whether a segment is just what a build would write for its rows."""
    return (
        segment.kind == "sealed"
        and not losing.intersection(segment.source_ids)
        and (segment.deduplicated or dataset.dedupe is None)
        and segment.sorted_by == dataset.sort_columns
        and segment.format == sealed_format(dataset.segments.format, rows=segment.rows)
    )


def _well_split(segments: Sequence[Segment]) -> bool:
    """Whether keys that have files of their own are large enough; files of several keys say nothing against it."""
    keys = {segment.semantic_key for segment in segments} - {None}
    return not keys or is_split(rows=sum(segment.rows for segment in segments), keys=len(keys))


def _well_sized(segments: Sequence[Segment], dataset: Dataset) -> bool:
    target = dataset.segments.target_bytes
    files: Counter[tuple[str, ...]] = Counter()
    sizes: Counter[tuple[str, ...]] = Counter()
    for segment in segments:
        key = segment.semantic_key or ()
        files[key] += 1
        sizes[key] += segment.bytes
    too_large = any(segment.bytes > _TOLERANCE * target and segment.rows > 1 for segment in segments)
    too_small = any(_TOLERANCE * sizes[key] < (number - 1) * target for key, number in files.items())
    return not too_large and not too_small

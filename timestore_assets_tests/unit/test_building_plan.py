"""Which segments a build takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from timestore_assets.building.build_plan import FANOUT, BuildPlan, plan_build
from timestore_assets.building.file_splitting import SPLIT_ROWS
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.retraction import NOTHING, Retracted, whole
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import STRING, TIMESTAMP

DAY = datetime(2024, 1, 1, tzinfo=UTC)
DATASET = Dataset(
    name="readings",
    schema=Schema(columns=(Column(name="device", type=STRING), Column(name="ts", type=TIMESTAMP))),
    time="ts",
    start=DAY,
)


def delta(id: int, *, level: int = 0, sources: tuple[int, ...] = (1,), bytes: int = 1000) -> Segment:
    return Segment(
        id=id,
        dataset_id=1,
        name=f"readings/2024-01-01/{id}",
        partition_start=DAY,
        kind="delta",
        format="parquet",
        rows=10,
        bytes=bytes,
        min_time=DAY,
        max_time=DAY,
        schema_version=1,
        level=level,
        source_ids=sources,
        added_version=id,
    )


def sealed(id: int, **changes: Any) -> Segment:
    return replace(delta(id), **{"kind": "sealed", "sorted_by": ("ts",), **changes})


def ids(plan: BuildPlan) -> list[int]:
    return [segment.id for segment in plan.merge]


def plan_open(*segments: Segment, retracted: Retracted = NOTHING) -> BuildPlan:
    return plan_build(segments, dataset=DATASET, closed=False, sealed=False, retracted=retracted)


def plan_closed(
    *segments: Segment, dataset: Dataset = DATASET, state_sealed: bool = True, retracted: tuple[int, ...] = ()
) -> BuildPlan:
    return plan_build(segments, dataset=dataset, closed=True, sealed=state_sealed, retracted=whole(retracted))


def test_an_open_partition_merges_its_fresh_deltas_only() -> None:
    plan = plan_open(delta(1, level=1), delta(2, level=2), delta(3), delta(4))
    assert ids(plan) == [3, 4]
    assert (plan.kind, plan.level, plan.seal) == ("delta", 1, False)


def test_a_level_that_becomes_full_is_merged_along_with_the_next_one_it_fills() -> None:
    level_one = [delta(i, level=1) for i in range(1, FANOUT)]
    level_two = [delta(10 + i, level=2) for i in range(1, FANOUT)]
    plan = plan_open(*level_one, *level_two, delta(30))
    assert ids(plan) == [1, 2, 3, 11, 12, 13, 30]
    assert plan.level == 3


def test_a_level_that_is_not_full_stops_the_cascade() -> None:
    plan = plan_open(delta(1, level=1), *(delta(10 + i, level=2) for i in range(FANOUT)), delta(30))
    assert (ids(plan), plan.level) == ([30], 1)


def test_an_open_partition_without_fresh_deltas_is_left_alone() -> None:
    assert plan_open(delta(1, level=1), delta(2, level=1)).nothing
    assert plan_open().nothing


def test_an_open_partition_never_touches_sealed_segments() -> None:
    assert ids(plan_open(sealed(1), delta(2))) == [2]


def test_retracted_rows_leave_an_open_partition() -> None:
    plan = plan_open(delta(1, level=2, sources=(7,)), delta(2, level=1), retracted=whole({7}))
    assert (ids(plan), plan.level) == ([1], 2)


def test_a_closed_partition_merges_everything() -> None:
    plan = plan_closed(sealed(1), delta(2), delta(3, level=2), state_sealed=False)
    assert (ids(plan), plan.kind, plan.level, plan.seal) == ([1, 2, 3], "sealed", 0, True)


def test_a_sealed_partition_needs_nothing() -> None:
    assert plan_closed(sealed(1)).nothing


def test_a_partition_that_is_closed_without_any_segment_only_changes_its_state() -> None:
    plan = plan_closed(state_sealed=False)
    assert (plan.merge, plan.seal, plan.nothing) == ((), True, False)
    assert plan_closed().nothing


def test_a_partition_that_lost_its_seal_gets_it_with_a_new_content_hash() -> None:
    plan = plan_closed(sealed(1), state_sealed=False)
    assert (ids(plan), plan.seal) == ([1], True)


@pytest.mark.parametrize(
    ("dataset", "segment"),
    [
        pytest.param(replace(DATASET, dedupe=Dedupe(keys=("ts",))), sealed(1), id="not deduplicated"),
        pytest.param(replace(DATASET, segments=SegmentPolicy(sort_by=("device",))), sealed(1), id="other order"),
        pytest.param(
            replace(DATASET, partition_by=("device",)),
            sealed(1, sorted_by=("device", "ts"), semantic_key=("a",), rows=SPLIT_ROWS - 1),
            id="a key with few rows",
        ),
        pytest.param(replace(DATASET, segments=SegmentPolicy(format="duckdb")), sealed(1), id="other format"),
        pytest.param(DATASET, sealed(1, rows=5_000_000), id="too many rows for Parquet"),
        pytest.param(replace(DATASET, segments=SegmentPolicy(target_bytes=100)), sealed(1), id="too large"),
    ],
)
def test_a_sealed_segment_that_is_no_longer_as_declared_is_built_again(dataset: Dataset, segment: Segment) -> None:
    assert ids(plan_closed(segment, dataset=dataset)) == [1]


def test_many_small_sealed_segments_of_one_key_are_joined() -> None:
    dataset = replace(DATASET, segments=SegmentPolicy(target_bytes=1_000_000))
    assert len(plan_closed(*(sealed(i) for i in range(1, 4)), dataset=dataset).merge) == 3


def test_retracted_rows_leave_a_sealed_partition() -> None:
    assert ids(plan_closed(sealed(1, source_ids=(3, 4)), retracted=(4,))) == [1]
    assert plan_closed(sealed(1, source_ids=(3,)), retracted=(4,)).nothing

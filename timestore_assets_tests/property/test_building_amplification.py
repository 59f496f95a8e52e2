"""Merging by level writes each byte a bounded number of times, and leaves few files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import log

from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.building.build_plan import FANOUT, plan_build
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import TIMESTAMP

DAY = datetime(2024, 1, 1, tzinfo=UTC)
DATASET = Dataset(name="readings", schema=Schema(columns=(Column(name="ts", type=TIMESTAMP),)), time="ts", start=DAY)
LANDED = Segment(
    id=1,
    dataset_id=1,
    name="x",
    partition_start=DAY,
    kind="delta",
    format="parquet",
    rows=1,
    bytes=1,
    min_time=DAY,
    max_time=DAY,
    schema_version=1,
    added_version=1,
)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=300),
    every=st.integers(min_value=1, max_value=20),
)
def test_bytes_written_grow_with_the_logarithm_of_the_number_of_deltas(sizes: list[int], every: int) -> None:
    live: list[Segment] = []
    written = 0
    for number, size in enumerate(sizes, start=1):
        live.append(replace(LANDED, id=number, bytes=size))
        if number % every and number != len(sizes):
            continue
        plan = plan_build(live, dataset=DATASET, closed=False, sealed=False)
        assert plan.merge, "a fresh delta is always merged"
        merged = sum(segment.bytes for segment in plan.merge)
        written += merged
        live = [segment for segment in live if segment not in plan.merge]
        live.append(replace(LANDED, id=10_000 + number, bytes=merged, level=plan.level))
        assert plan_build(live, dataset=DATASET, closed=False, sealed=False).nothing, "a second build has nothing to do"
    levels = 1 + log(len(sizes), FANOUT)
    assert sum(segment.bytes for segment in live) == sum(sizes)
    assert written <= levels * sum(sizes) + 1e-6 * written
    assert len(live) <= FANOUT * levels

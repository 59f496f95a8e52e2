"""Which segments a question reads, and which of them have to be deduplicated: pruning must never change an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.types import parse_type
from timestore_assets.querying.planning.pruning import Operator, Predicate, StatsNames, comparable, may_match
from timestore_assets.querying.planning.query_plan import OPEN_FILES, Plan, narrowed, plan

DAY = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    columns=tuple(Column(name=n, type=parse_type(t)) for n, t in {"k": "string", "ts": "timestamp", "v": "int64"}.items())
)
KEYED = Dataset(name="keyed", schema=SCHEMA, time="ts", start=DAY, dedupe=Dedupe(keys=("k", "ts")))
PLAIN = replace(KEYED, dedupe=None)
NAMES = StatsNames(SCHEMA, lambda version: SCHEMA)


def segment(number: int, *, day: int = 0, hours: tuple[float, float] = (0, 23), built: bool = False, **options: Any) -> Segment:
    start = DAY + timedelta(days=day)
    stats = {name: ColumnStats(min=low, max=high) for name, (low, high) in options.pop("stats", {}).items()}
    defaults: Mapping[str, Any] = {
        "kind": "sealed" if built else "delta",
        "deduplicated": built,
        "format": "parquet",
        "rows": 1000,
        "bytes": 1000,
        "schema_version": 1,
    }
    return Segment(
        id=number,
        dataset_id=1,
        name=f"keyed/{number}",
        partition_start=start,
        min_time=start + timedelta(hours=hours[0]),
        max_time=start + timedelta(hours=hours[1]),
        stats=stats,
        **{**defaults, **options},
    )


def planned(*segments: Segment, dataset: Dataset = KEYED, **options: Any) -> Plan:
    names = StatsNames(dataset.schema, lambda version: dataset.schema)
    return plan(segments, dataset=dataset, version=1, live=len(segments), names=names, **options)


def ids(plan: Plan) -> tuple[list[int], list[int]]:
    return [one.id for one in plan.whole.unique], [one.id for one in plan.whole.overlapping]


def is_(column: str, operator: Operator, *values: Any) -> Predicate:
    return Predicate(column=column, type=SCHEMA.column(column).type, operator=operator, values=values)


def test_built_partitions_are_streamed_and_only_those_with_deltas_deduplicated() -> None:
    found = planned(
        segment(1, built=True), segment(2, built=True), segment(3, day=1, built=True), segment(4, day=1), segment(5, day=2)
    )
    assert ids(found) == ([1, 2], [3, 4, 5])


def test_without_keys_nothing_is_deduplicated() -> None:
    assert ids(planned(segment(1), segment(2), dataset=PLAIN)) == ([1, 2], [])


def test_segments_that_meet_no_other_in_time_need_no_deduplication_when_they_had_it() -> None:
    built = segment(1, hours=(0, 5), built=True)
    merged = segment(2, hours=(6, 8), deduplicated=True)
    fresh = segment(3, hours=(9, 10))
    assert ids(planned(built, merged, fresh)) == ([1, 2], [3])
    # one that reaches over them brings all three together
    assert ids(planned(built, merged, fresh, segment(4, hours=(4, 9)))) == ([], [1, 4, 2, 3])


def test_touching_in_a_single_instant_counts_as_overlap() -> None:
    assert ids(planned(segment(1, hours=(0, 5), deduplicated=True), segment(2, hours=(5, 6), deduplicated=True)))[1] == [1, 2]


def test_two_merged_deltas_of_the_same_time_may_share_keys_though_each_is_deduplicated() -> None:
    assert ids(planned(segment(1, deduplicated=True), segment(2, deduplicated=True)))[1] == [1, 2]


def test_values_prune_only_where_no_row_can_be_superseded() -> None:
    """Found by trying: leaving out the delta whose newer value doesn't match brings the superseded row back."""
    old, newer = segment(1, stats={"v": (0, 5)}), segment(2, stats={"v": (100, 100)})
    assert ids(planned(old, newer, predicates=[is_("v", "<", 10)])) == ([], [1, 2])
    built = (segment(1, built=True, stats={"v": (0, 5)}), segment(2, built=True, stats={"v": (100, 100)}))
    assert ids(planned(*built, predicates=[is_("v", "<", 10)])) == ([1], [])
    assert ids(planned(old, newer, dataset=PLAIN, predicates=[is_("v", "<", 10)])) == ([1], [])


def test_keys_prune_everywhere() -> None:
    a, b = segment(1, stats={"k": ("a", "c")}), segment(2, stats={"k": ("d", "f")})
    assert ids(planned(a, b, predicates=[is_("k", "=", "b")])) == ([], [1])
    assert ids(planned(a, b, predicates=[is_("k", "=", "b"), is_("v", "=", 7)])) == ([], [1])


def test_the_range_is_compared_only_where_segments_reach_over_it() -> None:
    inside = segment(1, hours=(1, 2), built=True)
    start, end = DAY, DAY + timedelta(hours=3)
    assert (planned(inside, start=start, end=end).start, planned(inside, start=start, end=end).end) == (None, None)
    found = planned(inside, segment(2, hours=(2, 9), built=True), start=start, end=end)
    assert (found.start, found.end) == (None, end)
    assert planned(segment(3, hours=(0, 3)), start=start + timedelta(hours=1), end=end).start == start + timedelta(hours=1)
    # the end is not part of the range
    assert planned(segment(4, hours=(0, 3)), end=end).end == end


def test_steps_follow_time_hold_whole_partitions_and_grow() -> None:
    segments = [segment(number, day=number // 2, built=number % 4 < 2, rows=300_000) for number in range(80)]
    found = planned(*segments)
    steps = list(found.steps())
    assert sorted(one.id for step in steps for one in step.segments) == list(range(80))
    days = [{one.partition_start for one in step.segments} for step in steps]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(days))
    rows = [step.rows for step in steps]
    assert rows == [600_000, 3_600_000, 15_600_000, 4_200_000]
    assert [len(list(found.steps(selective=True)))] == [1]
    assert {one.id for step in steps for one in step.overlapping} == {one.id for one in found.whole.overlapping}


def test_a_limit_opens_as_few_partitions_as_have_the_rows_and_grows_when_they_did_not() -> None:
    found = planned(*(segment(number, day=number // 2, built=True) for number in range(96)))
    assert [len(step.segments) for step in found.steps(limit=5)] == [2, 8, 32, 54]
    assert [len(step.segments) for step in found.steps(limit=2001)] == [4, 16, 64, 12]
    assert len(next(found.steps(limit=0)).segments) == 2
    latest = next(found.steps(limit=5, descending=True))
    assert {one.id for one in latest.segments} == {94, 95}
    assert [len(step.segments) for step in found.steps(limit=5, selective=True)] == [96]
    large = planned(*(segment(number, day=number, built=True, rows=60_000) for number in range(20)))
    assert [len(step.segments) for step in large.steps(limit=5, selective=True)] == [2, 8, 10]
    huge = planned(*(segment(number, day=number, built=True, rows=900_000) for number in range(3)))
    assert [len(step.segments) for step in huge.steps(limit=1_500_000)] == [1, 2], "a step is no sort of everything"


def test_descending_steps_are_the_same_partitions_from_the_latest_on() -> None:
    found = planned(*(segment(number, day=number // 2, rows=300_000) for number in range(80)))
    steps = list(found.steps(descending=True))
    days = [{one.partition_start for one in step.segments} for step in steps]
    assert all(min(later) > max(earlier) for later, earlier in pairwise(days))
    assert sorted(one.id for step in steps for one in step.segments) == list(range(80))


def test_a_step_attaches_a_bounded_number_of_files() -> None:
    databases = planned(*(segment(number, day=number, built=True, format="duckdb") for number in range(1000)))
    assert max(step.open_files for step in databases.steps(selective=True)) == OPEN_FILES
    parquet = planned(*(segment(number, day=number, built=True) for number in range(1000)))
    assert len(list(parquet.steps(selective=True))) == 1


def test_counts_of_what_is_read_and_left_out() -> None:

    found = plan([segment(1, built=True)], dataset=KEYED, version=3, live=365, names=NAMES)
    assert (found.scanned, found.pruned, found.version) == (1, 364, 3)


def test_a_range_is_narrowed_by_what_the_filter_says() -> None:
    day = timedelta(days=1)
    assert narrowed(None, None, None, None) == (None, None)
    assert narrowed(DAY, None, DAY + day, None) == (DAY + day, None)
    assert narrowed(None, DAY + 2 * day, None, DAY) == (None, DAY + timedelta(microseconds=1))
    assert narrowed(None, None, None, datetime.max.replace(tzinfo=UTC)) == (None, None)


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("=", (5,), True),
        ("=", (4,), False),
        ("=", (Decimal("9.5"),), True),
        ("<", (5,), False),
        ("<=", (5,), True),
        (">", (10,), False),
        (">=", (10,), True),
        ("in", (1, 11), False),
        ("in", (1, 7), True),
        ("is_null", (), False),
        ("is_not_null", (), True),
    ],
)
def test_statistics_decide(operator: Operator, values: tuple[Any, ...], matches: bool) -> None:
    assert may_match(segment(1, stats={"v": (5, 10)}), [is_("v", operator, *values)], NAMES) is matches


def test_unknown_statistics_never_prune() -> None:
    unknown = replace(segment(1), stats={"v": ColumnStats(), "k": ColumnStats(min="a", max=None)})
    assert may_match(unknown, [is_("v", "=", 5)], NAMES)
    assert may_match(unknown, [is_("k", "=", "zzz")], NAMES)
    assert not may_match(unknown, [is_("k", "=", "A")], NAMES)
    assert may_match(segment(1), [is_("v", "is_null")], NAMES)


def test_a_column_without_values_matches_no_comparison() -> None:
    empty = replace(segment(1), rows=10, stats={"v": ColumnStats(nulls=10)})
    assert not may_match(empty, [is_("v", "=", 5)], NAMES)
    assert not may_match(empty, [is_("v", "is_not_null")], NAMES)
    assert may_match(empty, [is_("v", "is_null")], NAMES)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int64", 5, 5),
        ("int64", "5", None),  # the column was text when this segment was written
        ("double", 5, 5.0),
        ("double", float("nan"), None),
        ("float", 5.0, None),
        ("decimal(5,2)", "1.50", Decimal("1.5")),
        ("timestamp", "2013-01-01T00:00:00.5", datetime(2013, 1, 1, 0, 0, 0, 500_000)),
        ("timestamp", "294247-01-10T04:00:54", None),
        ("bool", False, False),
        ("int64", True, None),
        ("bool", 1, None),
        ("list<int64>", "[1]", None),
        ("string", None, None),
    ],
)
def test_bounds_are_compared_as_the_column_is_or_not_at_all(kind: str, value: Any, expected: Any) -> None:
    found = comparable(parse_type(kind), value)
    assert found == expected and type(found) is type(expected)

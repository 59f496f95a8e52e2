"""Which partitions expire and which move, as a function of values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.catalog.stored_objects import TargetContents
from timestore_assets.model.errors import InputError
from timestore_assets.model.retention import Retention, Tier, check_retention
from timestore_assets.model.schema import to_plain
from timestore_assets.model.window import Window
from timestore_assets.upkeep.retention_plan import RetentionPlan, plan_retention

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def record(day: int, *, size: int = 100, state: Any = "sealed", segments: int = 1) -> PartitionRecord:
    return PartitionRecord(
        partition=Window.DAY.partition(START + day * DAY), state=state, rows=10, bytes=size, segments=segments, deltas=0,
        fresh_deltas=0, unbuilt_rows=0, unbuilt_bytes=0, oldest_delta_at=None, min_time=None, max_time=None, schema_version=1,
        superseded_rows=0, retracted=False, content_hash=None, manifest_version=1, newest_at=None,
    )  # fmt: skip


def plan(
    retention: Retention,
    *records: PartitionRecord,
    now: datetime = START + 10 * DAY,
    holds: Mapping[datetime, tuple[str, ...]] | None = None,
    places: Mapping[datetime, Mapping[str, TargetContents]] | None = None,
) -> RetentionPlan:
    return plan_retention(records, retention, now=now, places=places or {}, holds=holds or {})


def keys(found: RetentionPlan) -> list[str]:
    return [one.partition.key for one in found.expiring]


TEN = [record(day) for day in range(10)]


def test_the_age_counts_from_the_end_of_a_partition() -> None:
    week = Retention(max_age=7 * DAY)
    assert keys(plan(week, *TEN)) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert keys(plan(week, *TEN, now=START + 10 * DAY - timedelta(microseconds=1))) == ["2024-01-01", "2024-01-02"]


def test_the_oldest_go_until_the_rest_fits() -> None:
    found = plan(Retention(max_bytes=650), *TEN)
    assert keys(found) == ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
    assert (found.bytes, found.over) == (1000, 0)


def test_the_newest_partition_and_those_that_have_not_ended_stay_whatever_their_size() -> None:
    small = Retention(max_bytes=1)
    found = plan(small, *TEN, now=START + timedelta(days=8, hours=5))
    assert keys(found) == [one.partition.key for one in TEN[:8]]
    assert found.over == 199
    assert keys(plan(small, TEN[0])) == []


def test_age_and_size_together_count_what_has_gone_by_age() -> None:
    found = plan(Retention(max_age=5 * DAY, max_bytes=450), *TEN)
    assert [(one.partition.key, one.reason) for one in found.expiring][-2:] == [
        ("2024-01-05", "max_age"), ("2024-01-06", "max_bytes"),
    ]  # fmt: skip


def test_what_a_hold_keeps_stays_and_counts_as_there() -> None:
    holds = {START: ("lawsuit",)}
    found = plan(Retention(max_bytes=850), *TEN, holds=holds)
    assert [(one.partition.key, one.held_by) for one in found.held] == [("2024-01-01", ("lawsuit",))]
    assert keys(found) == ["2024-01-02", "2024-01-03"]


def test_expired_and_empty_partitions_are_no_news() -> None:
    gone, empty = record(0, state="expired", segments=0), record(1, segments=0)
    assert plan(Retention(max_age=DAY), gone, empty, record(8), now=START + 9 * DAY).nothing


def test_tiers() -> None:
    tiers = Retention(max_age=9 * DAY, tier=(Tier(after=3 * DAY, to="cool"), Tier(after=6 * DAY, to="cold")))
    places = {one.partition.start: {"default": TargetContents(objects=2, bytes=100)} for one in TEN}
    places[TEN[2].partition.start] = {"cold": TargetContents(objects=2, bytes=100)}
    found = plan(tiers, *TEN, places=places)
    assert keys(found) == ["2024-01-01"]
    assert [(one.partition.key, one.target) for one in found.tiering] == [
        ("2024-01-02", "cold"), ("2024-01-04", "cold"), ("2024-01-05", "cool"), ("2024-01-06", "cool"), ("2024-01-07", "cool"),
    ]  # fmt: skip


def test_a_partition_without_an_end_never_grows_old() -> None:
    everything = PartitionRecord(
        **{**{name: getattr(TEN[0], name) for name in TEN[0].__slots__}, "partition": Window.ALL.partition(START)}
    )
    assert plan(Retention(max_age=DAY, max_bytes=1), everything).nothing


@pytest.mark.parametrize(
    ("retention", "problem"),
    [
        (Retention(max_age=timedelta(0)), "no time at all"),
        (Retention(max_bytes=0), "no room at all"),
        (Retention(tier=(Tier(after=DAY, to="a"), Tier(after=DAY, to="b"))), "same age"),
        (Retention(max_age=DAY, tier=(Tier(after=DAY, to="cold"),)), "expired already"),
    ],
)
def test_what_can_not_be_meant_is_refused(retention: Retention, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_retention(retention)


def test_a_retention_is_kept_as_it_is() -> None:
    whole = Retention(max_age=90 * DAY, max_bytes=5, keep_versions=timedelta(0), tier=(Tier(after=DAY, to="cold"),))
    for one in (whole, Retention()):
        assert Retention.from_policy(one.to_policy()) == one
        assert Retention.from_definition(to_plain(one)) == one

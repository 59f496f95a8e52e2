"""Which partitions are asked for, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timestore_assets.building.needs import Need, SourceProgress, needed
from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.model.dataset import BuildPolicy, Dataset, Late
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import TIMESTAMP
from timestore_assets.model.window import Window

DAY = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 1, 3, 12, tzinfo=UTC)
DATASET = Dataset(
    name="readings",
    schema=Schema(columns=(Column(name="ts", type=TIMESTAMP),)),
    time="ts",
    start=DAY,
    build=BuildPolicy(rows=1000, bytes=10_000, deltas=4, age=timedelta(minutes=5)),
)


def record(day: int = 1, **changes: Any) -> PartitionRecord:
    """An open partition with one fresh delta, a minute old."""
    start = DAY + timedelta(days=day - 1)
    plain = PartitionRecord(
        partition=Window.DAY.partition(start),
        state="open",
        rows=100,
        bytes=1000,
        segments=1,
        deltas=1,
        fresh_deltas=1,
        unbuilt_rows=100,
        unbuilt_bytes=1000,
        oldest_delta_at=NOW - timedelta(minutes=1),
        min_time=start,
        max_time=start + timedelta(hours=23),
        schema_version=1,
        superseded_rows=0,
        retracted=False,
        content_hash=None,
        manifest_version=3,
    )
    return replace(plain, **changes)


def ask(
    *records: PartitionRecord,
    dataset: Dataset = DATASET,
    requested: Mapping[str, str] | None = None,
    pending: int = 0,
    feeds: SourceProgress | None = None,
    newest: datetime | None = None,
    now: datetime = NOW,
) -> list[Need]:
    found = feeds or SourceProgress(pending_files=pending)
    return needed(records, dataset=dataset, requested=requested or {}, feeds=found, newest=newest, now=now)


def test_an_open_partition_below_every_threshold_waits() -> None:
    assert ask(record(), newest=DAY + timedelta(hours=23)) == []


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param({"deltas": 4}, id="deltas"),
        pytest.param({"unbuilt_rows": 1000}, id="rows"),
        pytest.param({"unbuilt_bytes": 10_000}, id="bytes"),
        pytest.param({"oldest_delta_at": NOW - timedelta(minutes=5)}, id="age"),
    ],
)
def test_an_open_partition_that_reached_a_threshold_is_merged_and_stays_open(reached: dict[str, Any]) -> None:
    [need] = ask(record(**reached))
    assert need.closes is False
    assert ask(record(**reached, fresh_deltas=0)) == [], "merging again would change nothing"


def test_the_reason_says_what_there_is_to_build() -> None:
    [need] = ask(record(deltas=3, unbuilt_rows=120_000, oldest_delta_at=NOW - timedelta(minutes=6, seconds=3)))
    assert need.reason == "3 deltas, 120,000 unbuilt rows, oldest 6 min"


def test_a_partition_closes_once_newer_rows_have_landed_and_nothing_is_pending() -> None:
    newest = DAY + timedelta(days=1, seconds=1)
    [need] = ask(record(), newest=newest)
    assert need.closes
    assert need.reason == "closed: 1 delta, 100 unbuilt rows, oldest 1 min"
    assert ask(record(), newest=newest, pending=1) == []
    assert ask(record(), newest=DAY + timedelta(days=1)) == [], "the newest row has to lie behind its end"


def test_late_rows_are_waited_for_as_long_as_the_dataset_allows() -> None:
    patient = replace(DATASET, late=Late(allowed=timedelta(hours=6)))
    assert ask(record(), dataset=patient, newest=DAY + timedelta(hours=29)) == []
    assert ask(record(), dataset=patient, newest=DAY + timedelta(hours=31))[0].closes


def test_the_last_partitions_of_a_dataset_close_when_its_declared_end_has_passed() -> None:
    finished = replace(DATASET, end=DAY + timedelta(days=1))
    assert ask(record(), dataset=finished)[0].closes
    assert ask(record(), dataset=finished, pending=2) == []
    assert ask(record(), dataset=finished, now=DAY + timedelta(hours=20)) == []


def test_a_sealed_partition_is_needed_again_when_late_rows_came() -> None:
    assert ask(record(state="sealed", segments=2, deltas=0, fresh_deltas=0, content_hash="x")) == []
    [need] = ask(record(state="stale", segments=2), pending=5)
    assert need.closes
    assert need.reason.startswith("late or replaced rows: 1 delta")


def test_rows_of_a_replaced_file_are_a_reason_by_themselves() -> None:
    [need] = ask(record(state="stale", deltas=0, fresh_deltas=0, segments=2, oldest_delta_at=None, retracted=True))
    assert need.reason == "late or replaced rows: retracted rows to remove"
    [need] = ask(record(deltas=1, fresh_deltas=0, retracted=True))
    assert need.closes is False


def test_a_requested_partition_is_built_and_closed_unless_it_is_built_already() -> None:
    requested = {"2024-01-01": "backfill by ann", "2024-01-02": "backfill by ann", "2024-01-09": "holds nothing"}
    built = record(2, state="sealed", deltas=0, fresh_deltas=0)
    [need] = ask(record(), built, requested=requested)
    assert (need.partition.key, need.closes) == ("2024-01-01", True)
    assert need.reason.startswith("backfill by ann: 1 delta")


def test_expired_partitions_are_left_alone_and_the_rest_comes_in_order_of_time() -> None:
    newest = DAY + timedelta(days=9)
    needs = ask(record(3), record(1), record(2, state="expired"), newest=newest)
    assert [need.partition.key for need in needs] == ["2024-01-01", "2024-01-03"]


# --- fed by topics


def test_a_streamed_partition_closes_when_the_watermark_has_passed_its_end_and_the_lateness() -> None:
    late = replace(DATASET, late=Late(allowed=timedelta(hours=1)))
    end = DAY + timedelta(days=1)
    just_short = SourceProgress(watermarks=(end + timedelta(minutes=59),))
    assert ask(record(), dataset=late, feeds=just_short, newest=DAY + timedelta(days=9)) == []
    [need] = ask(record(), dataset=late, feeds=SourceProgress(watermarks=(end + timedelta(hours=1),)))
    assert need.closes


def test_the_slowest_topic_decides_and_one_without_a_watermark_stops_all() -> None:
    far = DAY + timedelta(days=9)
    assert ask(record(), feeds=SourceProgress(watermarks=(far, DAY))) == []
    assert ask(record(), feeds=SourceProgress(watermarks=(far, None))) == []


def test_an_ended_dataset_is_not_closed_while_its_topics_still_deliver() -> None:
    ended = replace(DATASET, end=DAY + timedelta(days=1))
    assert ask(record(), dataset=ended, feeds=SourceProgress(watermarks=(DAY,), delivering=True)) == []
    [need] = ask(record(), dataset=ended, feeds=SourceProgress(watermarks=(DAY,), delivering=False))
    assert need.closes

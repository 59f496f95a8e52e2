"""Building real partitions: what is published, what is counted, and that doing it again changes nothing (I5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from timestore_assets.model.content_hash import EMPTY
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.errors import ConflictError, InputError, TimestoreError, UnavailableError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import STRING
from timestore_assets_tests.building_ground import DAY, READINGS, Ground, ground_in, reading

ACTOR = "test"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = ground_in(tmp_path)
    yield made
    made.catalog.close()


def with_dataset(ground: Ground, **changes: Any) -> Ground:
    return replace(ground, dataset=replace(ground.dataset, **changes))


def test_a_closed_partition_becomes_one_sorted_segment_a_key(ground: Ground) -> None:
    ground.land([reading("b", 5, 2.0), reading("a", 9, 1.0)])
    ground.land([reading("a", 3, 4.0), reading("b", 1, 3.0), reading("a", 9, 7.0, rev=2)])
    with ground.builder() as builder:
        report = builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
    assert (report.outcome, report.state, report.rows, report.superseded_rows) == ("built", "sealed", 4, 1)
    segments = ground.catalog.segments(ground.dataset_id)
    assert [segment.semantic_key for segment in segments] == [("a",), ("b",)]
    assert all(
        segment.kind == "sealed" and segment.deduplicated and segment.sorted_by == ("device", "ts") for segment in segments
    )
    held = duckdb.execute(f"SELECT value FROM '{ground.store.local_path(segments[0].name)}'").fetchall()
    assert held == [(4.0,), (7.0,)]
    assert report.content_hash == ground.content_hash() == ground.known().content_hash
    assert (report.min_time, report.max_time) == (DAY + timedelta(minutes=1), DAY + timedelta(minutes=9))


def test_building_twice_changes_nothing(ground: Ground) -> None:
    ground.land([reading("a", 1), reading("a", 1, 5.0, rev=3), reading("b", 1)])
    with ground.builder() as builder:
        first = builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
        before = ground.catalog.segments(ground.dataset_id)
        second = builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
        third = builder.build(READINGS, ground.partition(), close=False, actor=ACTOR)
    assert (first.outcome, second.outcome, third.outcome) == ("built", "unchanged", "unchanged")
    assert ground.catalog.segments(ground.dataset_id) == before
    assert ground.catalog.manifest_version(ground.dataset_id) == first.manifest_version == second.manifest_version
    assert (second.content_hash, second.rows, second.superseded_rows) == (first.content_hash, 2, 0)


def test_an_open_partition_is_merged_and_stays_open(ground: Ground) -> None:
    for minute in range(3):
        ground.land([reading("a", minute), reading("b", minute)])
    ground.land([reading("a", 0, 9.0, rev=2)])
    with ground.builder() as builder:
        report = builder.build(READINGS, ground.partition(), close=False, actor=ACTOR)
        again = builder.build(READINGS, ground.partition(), close=False, actor=ACTOR)
    [merged] = ground.catalog.segments(ground.dataset_id)
    assert (report.outcome, report.state, report.content_hash, again.outcome) == ("built", "open", None, "unchanged")
    assert (merged.kind, merged.level, merged.semantic_key, merged.sorted_by) == ("delta", 1, None, ("device", "ts"))
    assert merged.rows == 7, "what a row supersedes has to come back when that row's file is replaced"
    assert ground.known().fresh_deltas == 0


def test_newer_rows_close_a_partition_by_rule(ground: Ground) -> None:
    ground.land([reading("a", 1)])
    ground.land([reading("a", 1, day=2)])
    with ground.builder() as builder:
        assert builder.build(READINGS, ground.partition(1), close=False, actor=ACTOR).state == "sealed"
        assert builder.build(READINGS, ground.partition(2), close=False, actor=ACTOR).state == "open"


def test_late_rows_make_a_sealed_partition_stale_and_the_next_build_seals_it_again(ground: Ground) -> None:
    ground.land([reading("a", 1), reading("b", 1)])
    with ground.builder() as builder:
        first = builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
        ground.land([reading("a", 2), reading("b", 1, 4.0, rev=2)])
        assert ground.known().state == "stale"
        second = builder.build(READINGS, ground.partition(), close=False, actor=ACTOR)
    assert (second.outcome, second.state, second.rows, second.superseded_rows) == ("built", "sealed", 3, 1)
    assert second.content_hash not in (None, first.content_hash)
    assert ground.known().superseded_rows == 1


def test_rows_of_a_replaced_file_leave(ground: Ground) -> None:
    old = ground.land([reading("a", 1, 1.0), reading("a", 2, 1.0)])
    other = ground.land([reading("b", 1, 1.0)])
    with ground.builder() as builder:
        builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
        ground.land([reading("a", 1, 2.0)], retract=[old])
        report = builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
    assert (report.rows, report.state, report.superseded_rows) == (2, "sealed", 0)
    assert [row[2] for row in ground.rows()] == [2.0, 1.0]
    assert ground.catalog.retracted(ground.dataset_id) == frozenset()
    assert all(old not in segment.source_ids for segment in ground.catalog.segments(ground.dataset_id))
    assert any(other in segment.source_ids for segment in ground.catalog.segments(ground.dataset_id))


@pytest.mark.parametrize("close", [True, False])
def test_a_partition_that_loses_all_its_rows_is_empty_and_consistent(ground: Ground, close: bool) -> None:
    old = ground.land([reading("a", 1), reading("a", 1, day=2)])
    ground.land([reading("a", 5, day=2)], retract=[old])
    with ground.builder() as builder:
        report = builder.build(READINGS, ground.partition(), close=close, actor=ACTOR)
        again = builder.build(READINGS, ground.partition(), close=close, actor=ACTOR)
    assert (report.outcome, report.rows, report.segments, again.outcome) == ("empty", 0, 0, "empty")
    assert ground.catalog.segments(ground.dataset_id, partition=ground.partition()) == []
    assert (again.manifest_version, again.state) == (report.manifest_version, report.state)
    assert report.content_hash == EMPTY
    ground.land([reading("a", 7)])
    with ground.builder() as builder:
        assert builder.build(READINGS, ground.partition(), close=True, actor=ACTOR).rows == 1


def test_a_partition_that_never_held_rows_is_empty(ground: Ground) -> None:
    ground.land([reading("a", 1)])
    version = ground.catalog.manifest_version(ground.dataset_id)
    with ground.builder() as builder:
        report = builder.build(READINGS, ground.partition(5), close=True, actor=ACTOR)
    assert (report.outcome, report.rows) == ("empty", 0)
    assert ground.catalog.manifest_version(ground.dataset_id) == version


@pytest.mark.parametrize(
    ("dedupe", "kept"),
    [
        pytest.param(Dedupe(keys=("device", "ts"), keep="last", by="rev"), (30.0, 3), id="last by a column"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="first", by="rev"), (10.0, 1), id="first by a column"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="last"), (20.0, 2), id="last to arrive"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="first"), (30.0, 3), id="first to arrive"),
    ],
)
def test_of_rows_with_equal_keys_the_declared_one_stays(ground: Ground, dedupe: Dedupe, kept: tuple[float, int]) -> None:
    ground = with_dataset(ground, dedupe=dedupe)
    ground.land([reading("a", 1, 30.0, rev=3), reading("a", 1, 10.0, rev=1)])
    ground.land([reading("a", 1, 20.0, rev=2), *(reading("a", minute) for minute in range(10, 40))])
    with ground.builder() as builder:
        report = builder.build(ground.dataset, ground.partition(), close=True, actor=ACTOR)
    assert report.superseded_rows == 2
    assert ground.rows()[0][2:] == kept


def test_a_dataset_without_keys_keeps_every_row(ground: Ground) -> None:
    ground = with_dataset(ground, dedupe=None, partition_by=())
    ground.land([reading("a", 1), reading("a", 1)])
    with ground.builder() as builder:
        report = builder.build(ground.dataset, ground.partition(), close=True, actor=ACTOR)
    [segment] = ground.catalog.segments(ground.dataset_id)
    assert (report.rows, segment.deduplicated, segment.semantic_key, segment.sorted_by) == (2, False, None, ("ts",))


def test_a_duckdb_segment_shows_the_dataset_without_hidden_columns(ground: Ground) -> None:
    ground = with_dataset(ground, segments=SegmentPolicy(format="duckdb"), partition_by=())
    ground.land([reading("a", 2), reading("a", 1)])
    with ground.builder() as builder:
        builder.build(ground.dataset, ground.partition(), close=True, actor=ACTOR)
        builder.build(ground.dataset, ground.partition(), close=True, actor=ACTOR)
    [segment] = ground.catalog.segments(ground.dataset_id)
    with duckdb.connect(str(ground.store.local_path(segment.name)), read_only=True) as con:
        assert con.execute("FROM readings").fetchall() == [reading("a", 1), reading("a", 2)]
    with ground.builder() as builder:
        ground.land([reading("b", 1)])
        assert builder.build(ground.dataset, ground.partition(), close=True, actor=ACTOR).rows == 3


def test_large_partitions_are_split_by_size_and_left_alone_afterwards(ground: Ground) -> None:
    dataset = replace(READINGS, partition_by=(), dedupe=None, segments=SegmentPolicy(target_bytes=20_000))
    ground = replace(ground, dataset=dataset)
    noise = Random(7)
    ground.land([reading(f"d{n % 7}", n * 1440 / 9000, noise.random(), rev=noise.randrange(10**9)) for n in range(9000)])
    with ground.builder() as builder:
        first = builder.build(dataset, ground.partition(), close=True, actor=ACTOR)
        second = builder.build(dataset, ground.partition(), close=True, actor=ACTOR)
    segments = ground.catalog.segments(ground.dataset_id)
    assert (first.rows, second.outcome) == (9000, "unchanged")
    assert len(segments) == first.segments > 2
    assert max(segment.bytes for segment in segments) < 40_000
    assert max(segment.rows for segment in segments) - min(segment.rows for segment in segments) <= 1
    bounds = sorted((segment.min_time, segment.max_time) for segment in segments)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(bounds))


def test_rows_written_before_a_column_was_found_are_built_in_the_new_schema(ground: Ground) -> None:
    ground.land([reading("a", 1, 5.0)])
    wide = replace(READINGS, schema=READINGS.schema.with_columns(Column(name="note", type=STRING, nullable=True)))
    ground = replace(ground, dataset=wide)
    schema = ground.catalog.register(wide, actor=ACTOR).schema
    ground.land([(*reading("a", 2, 6.0), "hello")], schema=schema)
    with ground.builder() as builder:
        report = builder.build(wide, ground.partition(), close=True, actor=ACTOR)
    assert report.schema_version == schema.version == 2
    assert [row[2:] for row in ground.rows()] == [(5.0, 1, None), (6.0, 1, "hello")]


def test_a_partition_somebody_else_is_building_is_refused(ground: Ground) -> None:
    ground.land([reading("a", 1)])
    ground.catalog.acquire(f"build:{ground.dataset_id}:2024-01-01", holder="other", ttl=timedelta(minutes=1))
    with (
        ground.builder() as builder,
        pytest.raises(ConflictError, match="partition 2024-01-01 of readings is being built by somebody else"),
    ):
        builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
    assert ground.known().state == "open"


def test_an_expired_claim_is_taken_over_and_a_finished_one_is_given_back(ground: Ground) -> None:
    ground.land([reading("a", 1)])
    resource = f"build:{ground.dataset_id}:2024-01-01"
    ground.catalog.acquire(resource, holder="other", ttl=timedelta(microseconds=1))
    with ground.builder() as builder:
        assert builder.build(READINGS, ground.partition(), close=True, actor=ACTOR).state == "sealed"
    assert ground.catalog.acquire(resource, holder="next", ttl=timedelta(seconds=1)) is not None


def test_a_segment_that_lost_rows_is_not_built_from(ground: Ground) -> None:
    ground.land([reading("a", 1), reading("a", 2)])
    [segment] = ground.catalog.segments(ground.dataset_id)
    path = ground.store.local_path(segment.name)
    with duckdb.connect() as con:
        con.execute(f"COPY (FROM '{path}' LIMIT 1) TO '{path}.new' (FORMAT parquet)")
    Path(f"{path}.new").replace(path)
    with ground.builder() as builder, pytest.raises(UnavailableError, match="gave 1 rows where 2 are catalogued"):
        builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
    assert ground.catalog.segments(ground.dataset_id) == [segment]
    assert list((ground.store.root / ".staging").rglob("*.parquet")) == []


def test_a_missing_segment_is_one_clear_sentence_and_the_builder_stays_usable(ground: Ground) -> None:
    ground.land([reading("a", 1), reading("a", 1, day=2)])
    [first, _] = ground.catalog.segments(ground.dataset_id)
    ground.store.local_path(first.name).unlink()
    with ground.builder() as builder:
        with pytest.raises(UnavailableError, match="is missing"):
            builder.build(READINGS, ground.partition(1), close=True, actor=ACTOR)
        assert builder.build(READINGS, ground.partition(2), close=True, actor=ACTOR).state == "sealed"


def test_an_unknown_dataset_is_an_input_error(ground: Ground) -> None:
    unknown: Dataset = replace(READINGS, name="nothing")
    with ground.builder() as builder, pytest.raises(InputError, match="'nothing' is not in the catalog"):
        builder.build(unknown, ground.partition(), close=True, actor=ACTOR)


def test_a_column_may_have_the_name_of_the_row_number(ground: Ground) -> None:
    named = [replace(column, name={"rev": "ROWID"}.get(column.name, column.name)) for column in READINGS.schema]
    dataset = replace(READINGS, schema=Schema(columns=tuple(named)), dedupe=None)
    ground = replace(ground, dataset=dataset)
    ground.land([reading("b", 1, rev=7), reading("a", 2, rev=9), reading("a", 1, rev=8)])
    with ground.builder() as builder:
        report = builder.build(dataset, ground.partition(), close=True, actor=ACTOR)
    assert (report.rows, report.content_hash) == (3, ground.content_hash())
    assert [(row[0], row[3]) for row in ground.rows()] == [("a", 8), ("a", 9), ("b", 7)]
    assert [segment.rows for segment in ground.catalog.segments(ground.dataset_id)] == [2, 1]


@pytest.mark.parametrize("damage", ["cut", "zeros", "text"])
def test_a_damaged_segment_is_one_clear_sentence_that_says_what_to_do(ground: Ground, damage: str) -> None:
    ground.land([reading("a", minute) for minute in range(50)])
    [segment] = ground.catalog.segments(ground.dataset_id)
    path = ground.store.local_path(segment.name)
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 4
    damaged = {"cut": content[:half], "zeros": content[:4] + bytes(half) + content[4 + half :], "text": b"no parquet"}
    path.write_bytes(damaged[damage])
    with (
        ground.builder() as builder,
        pytest.raises(TimestoreError, match=r"segment readings/2024-01-01/delta-.*`timestore verify`"),
    ):
        builder.build(READINGS, ground.partition(), close=True, actor=ACTOR)
    assert ground.known().state == "open"

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

from timestore_assets.building import file_splitting
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.errors import ConflictError, InputError, TimestoreError, UnavailableError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import STRING
from timestore_assets_tests.support.building_warehouse import DAY, READINGS, BuildingWarehouse, building_warehouse_in, reading

ACTOR = "test"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[BuildingWarehouse]:
    made = building_warehouse_in(tmp_path)
    yield made
    made.catalog.close()


def with_dataset(warehouse: BuildingWarehouse, **changes: Any) -> BuildingWarehouse:
    return replace(warehouse, dataset=replace(warehouse.dataset, **changes))


def test_keys_with_few_rows_share_a_sorted_segment(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("b", 5, 2.0), reading("a", 9, 1.0), reading("b", 1, 3.0)])
    with warehouse.builder() as builder:
        report = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    [segment] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert (segment.semantic_key, segment.sorted_by, segment.rows) == (None, ("device", "ts"), 3)
    held = duckdb.execute(f"SELECT value FROM '{warehouse.store.local_path(segment.name)}'").fetchall()
    assert held == [(1.0,), (3.0,), (2.0,)]
    assert report.content_hash == warehouse.content_hash() == warehouse.known().content_hash


def test_a_closed_partition_becomes_one_sorted_segment_a_key(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_splitting, "SPLIT_ROWS", 2)
    warehouse.land([reading("b", 5, 2.0), reading("a", 9, 1.0)])
    warehouse.land([reading("a", 3, 4.0), reading("b", 1, 3.0), reading("a", 9, 7.0, rev=2)])
    with warehouse.builder() as builder:
        report = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    assert (report.outcome, report.state, report.rows, report.superseded_rows) == ("built", "sealed", 4, 1)
    segments = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert [segment.semantic_key for segment in segments] == [("a",), ("b",)]
    assert all(
        segment.kind == "sealed" and segment.deduplicated and segment.sorted_by == ("device", "ts") for segment in segments
    )
    held = duckdb.execute(f"SELECT value FROM '{warehouse.store.local_path(segments[0].name)}'").fetchall()
    assert held == [(4.0,), (7.0,)]
    assert report.content_hash == warehouse.content_hash() == warehouse.known().content_hash
    assert (report.min_time, report.max_time) == (DAY + timedelta(minutes=1), DAY + timedelta(minutes=9))


def test_building_twice_changes_nothing(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1), reading("a", 1, 5.0, rev=3), reading("b", 1)])
    with warehouse.builder() as builder:
        first = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
        before = warehouse.catalog.manifest.segments(warehouse.dataset_id)
        second = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
        third = builder.build(READINGS, warehouse.partition(), close=False, actor=ACTOR)
    assert (first.outcome, second.outcome, third.outcome) == ("built", "unchanged", "unchanged")
    assert warehouse.catalog.manifest.segments(warehouse.dataset_id) == before
    assert warehouse.catalog.manifest.version(warehouse.dataset_id) == first.manifest_version == second.manifest_version
    assert (second.content_hash, second.rows, second.superseded_rows) == (first.content_hash, 2, 0)


def test_an_open_partition_is_merged_and_stays_open(warehouse: BuildingWarehouse) -> None:
    for minute in range(3):
        warehouse.land([reading("a", minute), reading("b", minute)])
    warehouse.land([reading("a", 0, 9.0, rev=2)])
    with warehouse.builder() as builder:
        report = builder.build(READINGS, warehouse.partition(), close=False, actor=ACTOR)
        again = builder.build(READINGS, warehouse.partition(), close=False, actor=ACTOR)
    [merged] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert (report.outcome, report.state, report.content_hash, again.outcome) == ("built", "open", None, "unchanged")
    assert (merged.kind, merged.level, merged.semantic_key, merged.sorted_by) == ("delta", 1, None, ("device", "ts"))
    assert merged.rows == 7, "what a row supersedes has to come back when that row's file is replaced"
    assert warehouse.known().fresh_deltas == 0


def test_newer_rows_close_a_partition_by_rule(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1)])
    warehouse.land([reading("a", 1, day=2)])
    with warehouse.builder() as builder:
        assert builder.build(READINGS, warehouse.partition(1), close=False, actor=ACTOR).state == "sealed"
        assert builder.build(READINGS, warehouse.partition(2), close=False, actor=ACTOR).state == "open"


def test_late_rows_make_a_sealed_partition_stale_and_the_next_build_seals_it_again(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1), reading("b", 1)])
    with warehouse.builder() as builder:
        first = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
        warehouse.land([reading("a", 2), reading("b", 1, 4.0, rev=2)])
        assert warehouse.known().state == "stale"
        second = builder.build(READINGS, warehouse.partition(), close=False, actor=ACTOR)
    assert (second.outcome, second.state, second.rows, second.superseded_rows) == ("built", "sealed", 3, 1)
    assert second.content_hash not in (None, first.content_hash)
    assert warehouse.known().superseded_rows == 1


def test_rows_of_a_replaced_file_leave(warehouse: BuildingWarehouse) -> None:
    old = warehouse.land([reading("a", 1, 1.0), reading("a", 2, 1.0)])
    other = warehouse.land([reading("b", 1, 1.0)])
    with warehouse.builder() as builder:
        builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
        warehouse.land([reading("a", 1, 2.0)], retract=[old])
        report = builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    assert (report.rows, report.state, report.superseded_rows) == (2, "sealed", 0)
    assert [row[2] for row in warehouse.rows()] == [2.0, 1.0]
    assert warehouse.catalog.manifest.retracted(warehouse.dataset_id) == frozenset()
    assert all(old not in segment.source_ids for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id))
    assert any(other in segment.source_ids for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id))


@pytest.mark.parametrize("close", [True, False])
def test_a_partition_that_loses_all_its_rows_is_empty_and_consistent(warehouse: BuildingWarehouse, close: bool) -> None:
    old = warehouse.land([reading("a", 1), reading("a", 1, day=2)])
    warehouse.land([reading("a", 5, day=2)], retract=[old])
    with warehouse.builder() as builder:
        report = builder.build(READINGS, warehouse.partition(), close=close, actor=ACTOR)
        again = builder.build(READINGS, warehouse.partition(), close=close, actor=ACTOR)
    assert (report.outcome, report.rows, report.segments, again.outcome) == ("empty", 0, 0, "empty")
    assert warehouse.catalog.manifest.segments(warehouse.dataset_id, partition=warehouse.partition()) == []
    assert (again.manifest_version, again.state) == (report.manifest_version, report.state)
    assert report.content_hash == EMPTY
    warehouse.land([reading("a", 7)])
    with warehouse.builder() as builder:
        assert builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR).rows == 1


def test_a_partition_that_never_held_rows_is_empty(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1)])
    version = warehouse.catalog.manifest.version(warehouse.dataset_id)
    with warehouse.builder() as builder:
        report = builder.build(READINGS, warehouse.partition(5), close=True, actor=ACTOR)
    assert (report.outcome, report.rows) == ("empty", 0)
    assert warehouse.catalog.manifest.version(warehouse.dataset_id) == version


@pytest.mark.parametrize(
    ("dedupe", "kept"),
    [
        pytest.param(Dedupe(keys=("device", "ts"), keep="last", by="rev"), (30.0, 3), id="last by a column"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="first", by="rev"), (10.0, 1), id="first by a column"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="last"), (20.0, 2), id="last to arrive"),
        pytest.param(Dedupe(keys=("device", "ts"), keep="first"), (30.0, 3), id="first to arrive"),
    ],
)
def test_of_rows_with_equal_keys_the_declared_one_stays(
    warehouse: BuildingWarehouse, dedupe: Dedupe, kept: tuple[float, int]
) -> None:
    warehouse = with_dataset(warehouse, dedupe=dedupe)
    warehouse.land([reading("a", 1, 30.0, rev=3), reading("a", 1, 10.0, rev=1)])
    warehouse.land([reading("a", 1, 20.0, rev=2), *(reading("a", minute) for minute in range(10, 40))])
    with warehouse.builder() as builder:
        report = builder.build(warehouse.dataset, warehouse.partition(), close=True, actor=ACTOR)
    assert report.superseded_rows == 2
    assert warehouse.rows()[0][2:] == kept


def test_a_dataset_without_keys_keeps_every_row(warehouse: BuildingWarehouse) -> None:
    warehouse = with_dataset(warehouse, dedupe=None, partition_by=())
    warehouse.land([reading("a", 1), reading("a", 1)])
    with warehouse.builder() as builder:
        report = builder.build(warehouse.dataset, warehouse.partition(), close=True, actor=ACTOR)
    [segment] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert (report.rows, segment.deduplicated, segment.semantic_key, segment.sorted_by) == (2, False, None, ("ts",))


def test_a_duckdb_segment_shows_the_dataset_without_hidden_columns(warehouse: BuildingWarehouse) -> None:
    warehouse = with_dataset(warehouse, segments=SegmentPolicy(format="duckdb"), partition_by=())
    warehouse.land([reading("a", 2), reading("a", 1)])
    with warehouse.builder() as builder:
        builder.build(warehouse.dataset, warehouse.partition(), close=True, actor=ACTOR)
        builder.build(warehouse.dataset, warehouse.partition(), close=True, actor=ACTOR)
    [segment] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    with duckdb.connect(str(warehouse.store.local_path(segment.name)), read_only=True) as con:
        assert con.execute("FROM readings").fetchall() == [reading("a", 1), reading("a", 2)]
    with warehouse.builder() as builder:
        warehouse.land([reading("b", 1)])
        assert builder.build(warehouse.dataset, warehouse.partition(), close=True, actor=ACTOR).rows == 3


def test_large_partitions_are_split_by_size_and_left_alone_afterwards(warehouse: BuildingWarehouse) -> None:
    dataset = replace(READINGS, partition_by=(), dedupe=None, segments=SegmentPolicy(target_bytes=20_000))
    warehouse = replace(warehouse, dataset=dataset)
    noise = Random(7)
    warehouse.land([reading(f"d{n % 7}", n * 1440 / 9000, noise.random(), rev=noise.randrange(10**9)) for n in range(9000)])
    with warehouse.builder() as builder:
        first = builder.build(dataset, warehouse.partition(), close=True, actor=ACTOR)
        second = builder.build(dataset, warehouse.partition(), close=True, actor=ACTOR)
    segments = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert (first.rows, second.outcome) == (9000, "unchanged")
    assert len(segments) == first.segments > 2
    assert max(segment.bytes for segment in segments) < 40_000
    assert max(segment.rows for segment in segments) - min(segment.rows for segment in segments) <= 1
    bounds = sorted((segment.min_time, segment.max_time) for segment in segments)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(bounds))


def test_rows_written_before_a_column_was_found_are_built_in_the_new_schema(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1, 5.0)])
    wide = replace(READINGS, schema=READINGS.schema.with_columns(Column(name="note", type=STRING, nullable=True)))
    warehouse = replace(warehouse, dataset=wide)
    schema = warehouse.catalog.datasets.register(wide, actor=ACTOR).schema
    warehouse.land([(*reading("a", 2, 6.0), "hello")], schema=schema)
    with warehouse.builder() as builder:
        report = builder.build(wide, warehouse.partition(), close=True, actor=ACTOR)
    assert report.schema_version == schema.version == 2
    assert [row[2:] for row in warehouse.rows()] == [(5.0, 1, None), (6.0, 1, "hello")]


def test_a_partition_somebody_else_is_building_is_refused(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1)])
    warehouse.catalog.leases.acquire(f"build:{warehouse.dataset_id}:2024-01-01", holder="other", ttl=timedelta(minutes=1))
    with (
        warehouse.builder() as builder,
        pytest.raises(ConflictError, match="partition 2024-01-01 of readings is being built by somebody else"),
    ):
        builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    assert warehouse.known().state == "open"


def test_an_expired_claim_is_taken_over_and_a_finished_one_is_given_back(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1)])
    resource = f"build:{warehouse.dataset_id}:2024-01-01"
    warehouse.catalog.leases.acquire(resource, holder="other", ttl=timedelta(microseconds=1))
    with warehouse.builder() as builder:
        assert builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR).state == "sealed"
    assert warehouse.catalog.leases.acquire(resource, holder="next", ttl=timedelta(seconds=1)) is not None


def test_a_segment_that_lost_rows_is_not_built_from(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1), reading("a", 2)])
    [segment] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    path = warehouse.store.local_path(segment.name)
    with duckdb.connect() as con:
        con.execute(f"COPY (FROM '{path}' LIMIT 1) TO '{path}.new' (FORMAT parquet)")
    Path(f"{path}.new").replace(path)
    with warehouse.builder() as builder, pytest.raises(UnavailableError, match="gave 1 rows where 2 are catalogued"):
        builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    assert warehouse.catalog.manifest.segments(warehouse.dataset_id) == [segment]
    assert list((warehouse.store.root / ".staging").rglob("*.parquet")) == []


def test_a_missing_segment_is_one_clear_sentence_and_the_builder_stays_usable(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1), reading("a", 1, day=2)])
    [first, _] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    warehouse.store.local_path(first.name).unlink()
    with warehouse.builder() as builder:
        with pytest.raises(UnavailableError, match="is missing"):
            builder.build(READINGS, warehouse.partition(1), close=True, actor=ACTOR)
        assert builder.build(READINGS, warehouse.partition(2), close=True, actor=ACTOR).state == "sealed"


def test_an_unknown_dataset_is_an_input_error(warehouse: BuildingWarehouse) -> None:
    unknown: Dataset = replace(READINGS, name="nothing")
    with warehouse.builder() as builder, pytest.raises(InputError, match="'nothing' is not in the catalog"):
        builder.build(unknown, warehouse.partition(), close=True, actor=ACTOR)


def test_a_column_may_have_the_name_of_the_row_number(warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_splitting, "SPLIT_ROWS", 1)
    named = [replace(column, name={"rev": "ROWID"}.get(column.name, column.name)) for column in READINGS.schema]
    dataset = replace(READINGS, schema=Schema(columns=tuple(named)), dedupe=None)
    warehouse = replace(warehouse, dataset=dataset)
    warehouse.land([reading("b", 1, rev=7), reading("a", 2, rev=9), reading("a", 1, rev=8)])
    with warehouse.builder() as builder:
        report = builder.build(dataset, warehouse.partition(), close=True, actor=ACTOR)
    assert (report.rows, report.content_hash) == (3, warehouse.content_hash())
    assert [(row[0], row[3]) for row in warehouse.rows()] == [("a", 8), ("a", 9), ("b", 7)]
    assert [segment.rows for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id)] == [2, 1]


@pytest.mark.parametrize("damage", ["cut", "zeros", "text"])
def test_a_damaged_segment_is_one_clear_sentence_that_says_what_to_do(warehouse: BuildingWarehouse, damage: str) -> None:
    warehouse.land([reading("a", minute) for minute in range(50)])
    [segment] = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    path = warehouse.store.local_path(segment.name)
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 4
    damaged = {"cut": content[:half], "zeros": content[:4] + bytes(half) + content[4 + half :], "text": b"no parquet"}
    path.write_bytes(damaged[damage])
    with (
        warehouse.builder() as builder,
        pytest.raises(TimestoreError, match=r"segment readings/2024-01-01/delta-.*`timestore verify`"),
    ):
        builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
    assert warehouse.known().state == "open"


def test_a_bucket_gets_parquet_where_the_format_is_left_open(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_splitting, "DUCKDB_FROM_ROWS", 1)
    warehouse.land([reading("a", 1)])
    with warehouse.builder() as builder:
        builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR)
        assert [one.format for one in warehouse.catalog.manifest.segments(warehouse.dataset_id)] == ["duckdb"]
        # a folder whose objects have no paths of their own is what a bucket is
        monkeypatch.setattr(type(warehouse.store), "path", lambda *_: None)
        assert builder.build(READINGS, warehouse.partition(), close=True, actor=ACTOR).outcome == "built"
        assert [one.format for one in warehouse.catalog.manifest.segments(warehouse.dataset_id)] == ["parquet"]

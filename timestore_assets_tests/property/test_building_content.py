"""Any split of the same rows, in any order and with builds in between, ends in the same content (I4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.building.builder import Builder
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.hash_sums import combined
from timestore_assets.model.schema import Column
from timestore_assets.model.types import STRING
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, Row, building_warehouse_in, reading
from timestore_assets_tests.support.examples import examples

NUMBERS = count(1)
VALUES = st.sampled_from([None, 0.0, -0.0, 1.0, 1.5, -2.0, 1e300])
ROWS = st.lists(
    st.builds(
        reading,
        st.sampled_from(["a", "b", "ü'\"b"]),
        st.integers(min_value=0, max_value=5),
        VALUES,
        st.integers(min_value=1, max_value=3),
    ),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BuildingWarehouse, Builder]]:
    ground = building_warehouse_in(tmp_path_factory.mktemp("ground"))
    with ground.builder() as builder:
        yield ground, builder
    ground.catalog.close()


def built(
    shared: tuple[BuildingWarehouse, Builder], dataset: Dataset, parts: Sequence[Sequence[Row]], builds: Sequence[bool | None]
) -> BuildingWarehouse:
    """The ground of a new dataset into which the parts were landed, building (closing or not) after some, then at the end."""
    ground = replace(shared[0], dataset=replace(dataset, name=f"readings_{next(NUMBERS)}"))
    for part, close in zip(parts, builds, strict=True):
        if part:
            ground.land(part)
        if close is not None and any(parts[: parts.index(part) + 1]):
            shared[1].build(ground.dataset, ground.partition(), close=close, actor="test")
    report = shared[1].build(ground.dataset, ground.partition(), close=True, actor="test")
    assert report.state == "sealed"
    assert report.content_hash == ground.content_hash()
    segments = ground.catalog.manifest.segments(ground.dataset_id, partition=ground.partition())
    assert report.content_hash == combined(segment.content_hash or "" for segment in segments)
    return ground


@settings(max_examples=examples(6), deadline=None)
@given(data=st.data(), rows=ROWS, keep=st.sampled_from(["last", "first"]))
def test_neither_split_nor_order_nor_builds_in_between_change_the_content(
    shared: tuple[BuildingWarehouse, Builder], data: st.DataObject, rows: list[Row], keep: Literal["last", "first"]
) -> None:
    dataset = replace(READINGS, dedupe=Dedupe(keys=("device", "ts"), keep=keep, by="rev"))
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    builds = data.draw(st.lists(st.sampled_from([None, False, True]), min_size=len(parts), max_size=len(parts)))
    format = data.draw(st.sampled_from(["parquet", "duckdb"]))
    clean = built(shared, dataset, [rows], [None])
    other = built(shared, replace(dataset, segments=SegmentPolicy(format=format)), parts, builds)
    assert other.known().content_hash == clean.known().content_hash
    assert len(other.rows()) + other.known().superseded_rows == len(rows)
    assert {row[:2]: row[3] for row in other.rows()} == _best(rows, keep)


def _best(rows: Sequence[Row], keep: str) -> dict[Row, int]:
    choose = max if keep == "last" else min
    return {key: choose(row[3] for row in rows if row[:2] == key) for key in {row[:2] for row in rows}}


@settings(max_examples=examples(5), deadline=None)
@given(rows=ROWS, builds=st.lists(st.sampled_from([None, False, True]), min_size=4, max_size=4), dropped=st.integers(0, 3))
def test_rows_of_retracted_files_leave_whatever_was_built_before(
    shared: tuple[BuildingWarehouse, Builder], rows: list[Row], builds: list[bool | None], dropped: int
) -> None:
    dataset = replace(READINGS, dedupe=None)
    ground = replace(shared[0], dataset=replace(dataset, name=f"readings_{next(NUMBERS)}"))
    sources = []
    for quarter, close in enumerate(builds):
        sources.append(ground.land([*rows[quarter::4], reading("z", quarter)]))
        if close is not None:
            shared[1].build(ground.dataset, ground.partition(), close=close, actor="test")
    ground.land([reading("new", 1)], retract=[sources[dropped]])
    shared[1].build(ground.dataset, ground.partition(), close=True, actor="test")
    left = [row for quarter in range(4) if quarter != dropped for row in (*rows[quarter::4], reading("z", quarter))]
    clean = built(shared, dataset, [[*left, reading("new", 1)]], [None])
    assert ground.known().content_hash == clean.known().content_hash


def test_columns_found_in_another_order_do_not_change_which_of_two_rows_stays(shared: tuple[BuildingWarehouse, Builder]) -> None:
    hashes = set()
    for names in (("alpha", "beta"), ("beta", "alpha")):
        columns = [Column(name=name, type=STRING, nullable=True) for name in names]
        dataset = replace(READINGS, name=f"readings_{next(NUMBERS)}", schema=READINGS.schema.with_columns(*columns))
        ground = replace(shared[0], dataset=dataset)
        values = [{"alpha": "1", "beta": "9"}, {"alpha": "2", "beta": "8"}]
        ground.land([(*reading("a", 1), *(found[name] for name in names)) for found in values])
        hashes.add(shared[1].build(dataset, ground.partition(), close=True, actor="test").content_hash)
    assert len(hashes) == 1

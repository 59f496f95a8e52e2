"""Rows and queries of the benchmarks are those that TSBS's cpu-only case describes, and the same for the same seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from benchmarks.suite.cpu_data import CHOICES, DATACENTERS, SCHEMA, START, CpuData
from benchmarks.suite.cpu_queries import SHAPES, TAGS, VALUES, CpuQuery, drawn


def rows_of(**options: int) -> pa.Table:
    return pa.concat_tables(CpuData(**options).tables())


def test_the_same_seed_makes_the_same_rows_and_another_one_others() -> None:
    assert rows_of(rows=5_000, seed=7).equals(rows_of(rows=5_000, seed=7))
    assert not rows_of(rows=5_000, seed=7).equals(rows_of(rows=5_000, seed=8))


def test_there_are_as_many_rows_as_were_asked_for_of_all_hosts_at_each_time() -> None:
    rows = rows_of(rows=1_050, hosts=100)
    assert rows.num_rows == 1_050
    assert rows.schema == SCHEMA
    times = rows["time"].to_pylist()
    assert [times.count(time) for time in sorted(set(times))] == [100] * 10 + [50]
    assert sorted(set(times)) == [START.replace(tzinfo=None) + timedelta(seconds=10) * step for step in range(11)]
    assert CpuData(rows=1_050, hosts=100).end == START + timedelta(seconds=110)


def test_a_large_number_of_rows_is_made_in_pieces_whose_walks_go_on() -> None:
    pieces = list(CpuData(rows=450_000).tables())
    assert [piece.num_rows for piece in pieces] == [200_000, 200_000, 50_000]
    before, after = (np.array(piece["usage_user"]) for piece in pieces[:2])
    assert np.abs(before[-100:] - after[:100]).max() <= 6


def test_a_host_keeps_its_tags_and_all_choices_are_drawn() -> None:
    rows = rows_of(rows=4_000, hosts=2_000)
    tags = rows.select(list(TAGS)).to_pylist()
    assert tags[:2_000] == tags[2_000:]
    assert {(tag["region"], tag["datacenter"].removeprefix(tag["region"])) for tag in tags} == {
        (region, letter) for region, letters in DATACENTERS.items() for letter in letters
    }
    for tag, choices in CHOICES.items():
        assert {one[tag] for one in tags} == set(choices)


def test_values_walk_by_a_normal_step_within_0_and_100() -> None:
    rows = rows_of(rows=400_000, hosts=100)
    for name in VALUES:
        walks = np.array(rows[name]).reshape(-1, 100)
        assert walks.min() >= 0
        assert walks.max() <= 100
        inside = (walks[:-1] > 10) & (walks[:-1] < 90)
        steps = (walks[1:] - walks[:-1])[inside]
        # whole numbers of a step of deviation 1: its variance and that of being cut off
        assert abs(steps.mean()) < 0.02
        assert 1.0 < steps.std() < 1.16
    first = np.array([walk for name in VALUES for walk in np.array(rows[name])[:100]])
    assert 40 < first.mean() < 60
    assert np.histogram(first, bins=4, range=(0, 100))[0].min() > 200


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    data = CpuData(rows=300, hosts=10)
    data.write(tmp_path / "rows.parquet", "parquet")
    data.write(tmp_path / "rows.csv", "csv")
    options = pyarrow.csv.ConvertOptions(column_types=SCHEMA)
    assert pyarrow.csv.read_csv(tmp_path / "rows.csv", convert_options=options).equals(pq.read_table(tmp_path / "rows.parquet"))


def test_there_are_the_fifteen_queries_of_tsbs() -> None:
    assert len(SHAPES) == 15
    assert {name for name in SHAPES if name.startswith("single")} == {
        f"single-groupby-{values}-{hosts}-{hours}" for values, hosts, hours in ((1, 1, 1), (1, 1, 12), (1, 8, 1))
    } | {f"single-groupby-5-{hosts}-{hours}" for hosts, hours in ((1, 1), (1, 12), (8, 1))}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_drawn_by_a_seed_within_the_data(name: str) -> None:
    end = datetime(2016, 1, 3, tzinfo=UTC)
    queries = [drawn(name, number, hosts=20, start=START, end=end, seed=3) for number in range(20)]
    assert queries == [drawn(name, number, hosts=20, start=START, end=end, seed=3) for number in range(20)]
    shape = SHAPES[name]
    for query in queries:
        began, ended = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (query.start, query.end))
        assert began >= START
        assert ended <= end
        assert ended - began == timedelta(hours=shape.hours)
        assert len(set(query.hosts)) == shape.hosts
        assert CpuQuery.of(query.attributes()) == query
    if shape.hours:
        assert len(set(queries)) > 10

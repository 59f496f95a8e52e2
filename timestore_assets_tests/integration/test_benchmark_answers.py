"""The queries of the benchmarks are answered by a warehouse as DuckDB answers them over one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.suite.answers import difference
from benchmarks.suite.cpu_data import START, CpuData
from benchmarks.suite.cpu_queries import SHAPES, drawn
from benchmarks.suite.engines.duckdb_table import DuckDBTable
from benchmarks.suite.engines.own import Own

DATA = CpuData(rows=60_000, hosts=10)


@pytest.fixture(scope="module", params=["duckdb", "parquet"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Own, DuckDBTable]]:
    folder = tmp_path_factory.mktemp("benchmark")
    DATA.write(folder / "cpu.csv", "csv")
    DATA.write(folder / "cpu.parquet", "parquet")
    (folder / "own").mkdir()
    with closing(Own(folder / "own", request.param)) as own, closing(DuckDBTable(folder)) as table:
        assert own.load(folder / "cpu.csv", "csv", "day") == DATA.rows
        own.settle()
        assert table.load(folder / "cpu.parquet", "parquet", "day") == DATA.rows
        table.settle()
        yield own, table


@pytest.mark.parametrize("name", SHAPES)
def test_a_query_has_rows_and_the_answer_of_duckdb(engines: tuple[Own, DuckDBTable], name: str) -> None:
    own, table = engines
    rows = 0
    for number in range(3):
        query = drawn(name, number, hosts=DATA.hosts, start=START, end=DATA.end)
        expected = table.ask(query, note="test")
        assert difference(expected, own.ask(query, note="test")) is None
        rows += expected.num_rows
    assert rows > 0


def test_rows_land_by_hour_too(tmp_path: Path) -> None:
    data = CpuData(rows=1_000, hosts=10)
    data.write(tmp_path / "cpu.parquet", "parquet")
    with closing(Own(tmp_path, "auto")) as own:
        assert own.load(tmp_path / "cpu.parquet", "parquet", "hour") == 1_000
        assert len(list(own.warehouse.partitions("cpu_by_hour"))) == 1

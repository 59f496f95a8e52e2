"""Datasets as Arrow tables, Polars lazy frames and DuckDB relations: the same rows whichever way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from timestore_assets.querying.rendering.frames import arrow_table, duckdb_views, relation
from timestore_assets.querying.rendering.polars_frames import polars_frame
from timestore_assets.segments.engine import connect
from timestore_assets_tests.support.query_warehouse import DAY, METER, QueryWarehouse, money, query_warehouse_in, row


@pytest.fixture(params=["unbuilt", "parquet", "duckdb", "mixed"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueryWarehouse]:
    """Two days of two devices, with one superseded row, in every physical form."""
    format = "duckdb" if request.param == "duckdb" else "parquet"
    made = query_warehouse_in(tmp_path, format=format)
    for day in (1, 2):
        rows = [row(d, 10 * i, value=float(i), n=day, amount=money("1.50"), note="x", day=day) for d in "ab" for i in range(6)]
        made.land(rows)
    if request.param == "mixed":
        made.build(1)
    made.land([row("a", 0, value=100.0, rev=2, day=2)])
    if request.param in ("parquet", "duckdb"):
        made.build(1, 2)
    yield made
    made.close()


def frame(warehouse: QueryWarehouse, **options: Any) -> pl.LazyFrame:
    return polars_frame(warehouse.querier, warehouse.dataset, warehouse.record, **options)


def test_all_ways_give_the_same_rows(warehouse: QueryWarehouse) -> None:
    table = arrow_table(warehouse.querier, warehouse.dataset, warehouse.record)
    assert table.num_rows == 24
    expected = pl.DataFrame(pl.from_arrow(table)).sort("device", "ts")
    assert frame(warehouse).collect().sort("device", "ts").equals(expected)
    with connect(warehouse.limits) as con, relation(con, warehouse.querier, warehouse.dataset, warehouse.record) as found:
        rows = pl.DataFrame(pl.from_arrow(found.to_arrow_table())).sort("device", "ts")
    assert rows.with_columns(pl.col("ts").dt.replace_time_zone("UTC")).equals(expected)


def test_a_range_and_columns(warehouse: QueryWarehouse) -> None:
    options = {"start": DAY + timedelta(minutes=50), "end": DAY + timedelta(days=1, minutes=1), "columns": ("ts", "value")}
    expected = [50, 50, 1440, 1440]
    found = frame(warehouse, **options).collect()
    assert found.columns == ["ts", "value"]
    assert sorted(found["ts"].dt.epoch("s").to_list()) == [int(DAY.timestamp()) + 60 * minute for minute in expected]
    table = arrow_table(warehouse.querier, warehouse.dataset, warehouse.record, **options)
    assert sorted(table.column("value").to_pylist()) == [0.0, 5.0, 5.0, 100.0]
    with (
        connect(warehouse.limits) as con,
        relation(con, warehouse.querier, warehouse.dataset, warehouse.record, **options) as found_relation,
    ):
        assert found_relation.aggregate("count(*), max(value)").fetchall() == [(4, 100.0)]


def test_an_empty_range_has_the_columns_and_no_rows(warehouse: QueryWarehouse) -> None:
    found = frame(warehouse, start=DAY, end=DAY).collect()
    assert found.schema == frame(warehouse).collect_schema()
    assert found.height == 0
    assert arrow_table(warehouse.querier, warehouse.dataset, warehouse.record, start=DAY, end=DAY).num_rows == 0
    with (
        connect(warehouse.limits) as con,
        relation(con, warehouse.querier, warehouse.dataset, warehouse.record, start=DAY, end=DAY) as rows,
    ):
        assert rows.fetchall() == []


def test_lazy_plans_push_columns_filters_and_limits(warehouse: QueryWarehouse) -> None:
    lazy = frame(warehouse)
    assert lazy.filter(pl.col("value") > 50).select("device", "value").collect().rows() == [("a", 100.0)]
    assert lazy.select(pl.len()).collect().item() == 24
    assert lazy.head(5).collect().height == 5
    assert lazy.filter(pl.col("ts") >= DAY + timedelta(days=1)).select(pl.col("value").max()).collect().item() == 100.0
    by_device = lazy.group_by("device").agg(pl.col("value").sum()).sort("device").collect()
    assert by_device.rows() == [("a", 130.0), ("b", 30.0)]
    assert lazy.join(lazy, on=["device", "ts"]).select(pl.len()).collect().item() == 24


def test_a_frame_answers_from_the_version_it_was_made_at(warehouse: QueryWarehouse) -> None:
    lazy = frame(warehouse)
    warehouse.land([row("c", 0, value=1.0)])
    warehouse.build(1, 2)
    assert lazy.select(pl.len()).collect().item() == 24
    assert frame(warehouse).select(pl.len()).collect().item() == 25


def test_views_in_a_connection(warehouse: QueryWarehouse) -> None:
    other = replace(METER, name="other")
    datasets = {
        "meter": (warehouse.dataset, warehouse.record),
        "other": (other, warehouse.catalog.datasets.register(other, actor="test")),
    }
    with duckdb.connect() as con:
        with duckdb_views(con, warehouse.querier, datasets):
            assert con.execute("SELECT count(*), max(value), min(ts) FROM meter").fetchall() == [
                (24, 100.0, DAY.replace(tzinfo=None))
            ]
            assert con.execute("SELECT count(*) FROM other").fetchall() == [(0,)]
            assert [found[0] for found in con.execute("DESCRIBE meter").fetchall()] == list(warehouse.dataset.schema.names)
        with pytest.raises(duckdb.CatalogException):
            con.execute("SELECT count(*) FROM meter").fetchall()


def test_built_parquet_is_scanned_by_polars_itself(tmp_path: Path) -> None:
    made = query_warehouse_in(tmp_path, format="parquet")
    made.land([row("a", i, value=float(i)) for i in range(5)])
    assert "PYTHON[meter]" in frame(made).explain()
    made.build(1)
    assert "Parquet SCAN" in frame(made).explain()
    assert frame(made).collect_schema() == pl.from_arrow(made.ask(limit=0).table()).schema
    made.land([row("a", 6, extra=1)], version=2)
    assert "PYTHON[meter]" in frame(made).explain()
    assert frame(made).select("extra").collect()["extra"].to_list() == [None] * 5 + [1]
    made.close()

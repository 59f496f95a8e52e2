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

from timestore_assets.querying.frames import arrow_table, duckdb_views, polars_frame, relation
from timestore_assets.storage.engine import connect
from timestore_assets_tests.querying_ground import DAY, METER, Ground, ground_in, money, row


@pytest.fixture(params=["unbuilt", "parquet", "duckdb", "mixed"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """Two days of two devices, with one superseded row, in every physical form."""
    format = "duckdb" if request.param == "duckdb" else "parquet"
    made = ground_in(tmp_path, format=format)
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


def frame(ground: Ground, **options: Any) -> pl.LazyFrame:
    return polars_frame(ground.querier, ground.dataset, ground.record, **options)


def test_all_ways_give_the_same_rows(ground: Ground) -> None:
    table = arrow_table(ground.querier, ground.dataset, ground.record)
    assert table.num_rows == 24
    expected = pl.DataFrame(pl.from_arrow(table)).sort("device", "ts")
    assert frame(ground).collect().sort("device", "ts").equals(expected)
    with connect(ground.limits) as con, relation(con, ground.querier, ground.dataset, ground.record) as found:
        rows = pl.DataFrame(pl.from_arrow(found.to_arrow_table())).sort("device", "ts")
    assert rows.with_columns(pl.col("ts").dt.replace_time_zone("UTC")).equals(expected)


def test_a_range_and_columns(ground: Ground) -> None:
    options = {"start": DAY + timedelta(minutes=50), "end": DAY + timedelta(days=1, minutes=1), "columns": ("ts", "value")}
    expected = [50, 50, 1440, 1440]
    found = frame(ground, **options).collect()
    assert found.columns == ["ts", "value"]
    assert sorted(found["ts"].dt.epoch("s").to_list()) == [int(DAY.timestamp()) + 60 * minute for minute in expected]
    table = arrow_table(ground.querier, ground.dataset, ground.record, **options)
    assert sorted(table.column("value").to_pylist()) == [0.0, 5.0, 5.0, 100.0]
    with connect(ground.limits) as con, relation(con, ground.querier, ground.dataset, ground.record, **options) as found_relation:
        assert found_relation.aggregate("count(*), max(value)").fetchall() == [(4, 100.0)]


def test_an_empty_range_has_the_columns_and_no_rows(ground: Ground) -> None:
    found = frame(ground, start=DAY, end=DAY).collect()
    assert found.schema == frame(ground).collect_schema()
    assert found.height == 0
    assert arrow_table(ground.querier, ground.dataset, ground.record, start=DAY, end=DAY).num_rows == 0
    with connect(ground.limits) as con, relation(con, ground.querier, ground.dataset, ground.record, start=DAY, end=DAY) as rows:
        assert rows.fetchall() == []


def test_lazy_plans_push_columns_filters_and_limits(ground: Ground) -> None:
    lazy = frame(ground)
    assert lazy.filter(pl.col("value") > 50).select("device", "value").collect().rows() == [("a", 100.0)]
    assert lazy.select(pl.len()).collect().item() == 24
    assert lazy.head(5).collect().height == 5
    assert lazy.filter(pl.col("ts") >= DAY + timedelta(days=1)).select(pl.col("value").max()).collect().item() == 100.0
    by_device = lazy.group_by("device").agg(pl.col("value").sum()).sort("device").collect()
    assert by_device.rows() == [("a", 130.0), ("b", 30.0)]
    assert lazy.join(lazy, on=["device", "ts"]).select(pl.len()).collect().item() == 24


def test_a_frame_answers_from_the_version_it_was_made_at(ground: Ground) -> None:
    lazy = frame(ground)
    ground.land([row("c", 0, value=1.0)])
    ground.build(1, 2)
    assert lazy.select(pl.len()).collect().item() == 24
    assert frame(ground).select(pl.len()).collect().item() == 25


def test_views_in_a_connection(ground: Ground) -> None:
    other = replace(METER, name="other")
    datasets = {"meter": (ground.dataset, ground.record), "other": (other, ground.catalog.register(other, actor="test"))}
    with duckdb.connect() as con:
        with duckdb_views(con, ground.querier, datasets):
            assert con.execute("SELECT count(*), max(value), min(ts) FROM meter").fetchall() == [
                (24, 100.0, DAY.replace(tzinfo=None))
            ]
            assert con.execute("SELECT count(*) FROM other").fetchall() == [(0,)]
            assert [found[0] for found in con.execute("DESCRIBE meter").fetchall()] == list(ground.dataset.schema.names)
        with pytest.raises(duckdb.CatalogException):
            con.execute("SELECT count(*) FROM meter").fetchall()


def test_built_parquet_is_scanned_by_polars_itself(tmp_path: Path) -> None:
    made = ground_in(tmp_path, format="parquet")
    made.land([row("a", i, value=float(i)) for i in range(5)])
    assert "PYTHON[meter]" in frame(made).explain()
    made.build(1)
    assert "Parquet SCAN" in frame(made).explain()
    assert frame(made).collect_schema() == pl.from_arrow(made.ask(limit=0).table()).schema  # type: ignore[union-attr]
    made.land([row("a", 6, extra=1)], version=2)
    assert "PYTHON[meter]" in frame(made).explain()
    assert frame(made).select("extra").collect()["extra"].to_list() == [None] * 5 + [1]
    made.close()

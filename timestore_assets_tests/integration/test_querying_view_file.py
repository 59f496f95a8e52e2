"""A file of views for other tools: what plain DuckDB sees in it is what the warehouse answers."""

from __future__ import annotations

import resource
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import UnavailableError
from timestore_assets.querying.rendering.view_file import MARK, is_view_file, write_views
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets_tests.support.query_warehouse import METER, QueryWarehouse, query_warehouse_in, row


def mixed(folder: Path, dataset: Dataset = METER) -> QueryWarehouse:
    """Both formats, two schemas, a retracted file, deltas with newer rows of built keys."""
    warehouse = query_warehouse_in(folder, dataset, format="duckdb")
    for day in (1, 2, 3):
        warehouse.land([row("a", minute, value=minute / 10, n=day, note="it's", day=day) for minute in range(4)])
    warehouse.build(1)
    gone = warehouse.land([row("b", 1, value=7.0, day=1), row("a", 2, value=-1.0, rev=9, day=2)])
    warehouse.dataset = replace(warehouse.dataset, segments=replace(warehouse.dataset.segments, format="parquet"))
    warehouse.build(2)
    warehouse.land([row("a", 0, value=100.0, rev=2, extra=2.5, day=day) for day in (1, 2, 3)], version=2)
    warehouse.land([row("c", 0, value=1.0, day=4)], version=2, retract=[gone])
    return warehouse


def test_plain_duckdb_reads_what_the_warehouse_answers(tmp_path: Path) -> None:
    warehouse = mixed(tmp_path)
    datasets = {"meter": (warehouse.dataset, warehouse.record)}
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    (written,) = write_views(tmp_path / "all.duckdb", warehouse.querier, datasets, now=moment)
    assert (written.dataset, written.segments > 5, written.left_out) == ("meter", True, "")
    with run_sql(warehouse.querier, "FROM meter ORDER BY ALL", datasets) as answer:
        expected = answer.table().to_pylist()
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as con:
        found = con.sql("FROM meter ORDER BY ALL").to_arrow_table().to_pylist()
        assert [{**one, "ts": one["ts"].replace(tzinfo=UTC)} for one in found] == expected
        assert con.sql("SELECT count(*) FROM meter WHERE device = 'b' OR value < 0").fetchall() == [(0,)], "retracted"
        assert con.sql("SELECT count(*) FROM meter WHERE value = 100 AND rev = 2").fetchall() == [(3,)], "the newer rows"
        assert con.sql(f"FROM {MARK}").fetchall() == [("meter", written.version, moment.replace(tzinfo=None))]
        comments = con.sql("SELECT comment FROM duckdb_columns() WHERE table_name = 'meter' AND column_name = 'value'")
        assert "degC" in comments.fetchall()[0][0]
    warehouse.close()


def test_a_dataset_without_rows_is_a_view_without_rows(tmp_path: Path) -> None:
    warehouse = query_warehouse_in(tmp_path)
    write_views(tmp_path / "all.duckdb", warehouse.querier, {"meter": (warehouse.dataset, warehouse.record)})
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as con:
        assert con.sql("FROM meter").columns == list(warehouse.dataset.schema.names)
        assert con.sql("SELECT count(*) FROM meter").fetchall() == [(0,)]
    warehouse.close()


def test_a_file_that_the_disk_does_not_take_is_told_and_not_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    warehouse = query_warehouse_in(tmp_path)
    datasets = {"meter": (warehouse.dataset, warehouse.record)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(UnavailableError, match=rf"writing a file of views in {tmp_path}.*too large"):
            write_views(tmp_path / "out" / "all.duckdb", warehouse.querier, datasets)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []
    warehouse.close()


def test_only_files_of_this_kind_are_taken_for_such(tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("a\n1\n")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as con:
        con.execute("CREATE TABLE a AS SELECT 1 AS b")
    assert not is_view_file(tmp_path / "text.csv")
    assert not is_view_file(tmp_path / "other.duckdb")
    warehouse = query_warehouse_in(tmp_path / "w")
    write_views(tmp_path / "all.duckdb", warehouse.querier, {})
    assert is_view_file(tmp_path / "all.duckdb")
    warehouse.close()

"""Segment files: one per partition value, with statistics that may be trusted for pruning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets.model.segment import ColumnStats
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets_tests.support.segment_store import SegmentStore, segment_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as made:
        yield made


EVERYTHING = """SELECT * FROM (VALUES
    (1::INTEGER, 9007199254740993::BIGINT, 0.5::DOUBLE, 0.1::FLOAT, 'b', true, 1.50::DECIMAL(10,2), DATE '2024-02-29',
     TIMESTAMP '2024-01-01 00:00:00.5', 'nan'::DOUBLE, 'inf'::DOUBLE, '\\xFF'::BLOB, [1, NULL], {'a': 1},
     repeat('x', 65), NULL::INTEGER),
    (NULL, -1, -0.25, 0.3, 'a', false, -2.25, DATE '0001-01-01',
     TIMESTAMP '9999-12-31 23:59:59.999999', 1.0, 1.0, NULL, NULL, NULL,
     repeat('x', 65), NULL)
) AS t(i, l, d, f, s, b, e, day, t, nan, inf, bin, list, struct, long, nothing)"""

EXPECTED = {
    "i": ColumnStats(min=1, max=1, nulls=1),
    "l": ColumnStats(min=-1, max=9007199254740993),
    "d": ColumnStats(min=-0.25, max=0.5),
    # the very values of the 32-bit column, or a filter such as f > 0.3 would prune a row it selects
    "f": ColumnStats(min=0.10000000149011612, max=0.30000001192092896),
    "s": ColumnStats(min="a", max="b"),
    "b": ColumnStats(min=False, max=True),
    "e": ColumnStats(min="-2.25", max="1.50"),
    "day": ColumnStats(min="0001-01-01", max="2024-02-29"),
    "t": ColumnStats(min="2024-01-01T00:00:00.5", max="9999-12-31T23:59:59.999999"),
    "nan": ColumnStats(),
    "inf": ColumnStats(min=1.0, max=None),
    "bin": ColumnStats(nulls=1),
    "list": ColumnStats(nulls=1),
    "struct": ColumnStats(nulls=1),
    "long": ColumnStats(),
    "nothing": ColumnStats(nulls=2),
}


@pytest.mark.parametrize("format", ["parquet", "duckdb"])
def test_statistics_are_the_same_for_both_formats(store: SegmentStore, tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    if format == "parquet":
        written = write_parquet(store.con, EVERYTHING, path)
    else:
        written = write_duckdb(store.con, EVERYTHING, path, view="v", visible=["i"])
    assert dict(written.stats) == EXPECTED
    assert (written.rows, written.bytes) == (2, path.stat().st_size)


def test_no_rows_make_an_empty_file(store: SegmentStore, tmp_path: Path) -> None:
    assert write_parquet(store.con, "SELECT 1 AS a WHERE false", tmp_path / "x.parquet").rows == 0
    assert write_duckdb(store.con, "SELECT 1 AS a WHERE false", tmp_path / "x.duckdb", view="v", visible=["a"]).rows == 0


def test_rows_keep_the_order_of_the_query(store: SegmentStore, tmp_path: Path) -> None:
    query = "SELECT hash(i) AS h FROM range(300000) r(i) ORDER BY h"
    write_parquet(store.con, query, tmp_path / "x.parquet")
    values = pq.read_table(tmp_path / "x.parquet").column("h").to_numpy()
    assert (values[1:] >= values[:-1]).all()


def test_a_duckdb_segment_opens_by_the_name_of_its_dataset(store: SegmentStore, tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    write_duckdb(store.con, "SELECT 1 AS a, 'b' AS \"b c\", 3 AS __source", path, view="my data", visible=["a", "b c"])
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith("x")] == ["x.duckdb"]
    with duckdb.connect(path, read_only=True) as con:
        assert con.execute('FROM "my data"').fetchall() == [(1, "b")]
        assert con.execute("SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'x'").fetchone() == (
            "v1.5.0+",
        )


def test_small_duckdb_segments_are_small(store: SegmentStore, tmp_path: Path) -> None:
    sizes = []
    for rows in (24, 10_000):
        query = f"SELECT i AS a, i * 1.5 AS b, 'x' || (i % 7) AS c, 1 AS __source FROM range({rows}) r(i)"
        sizes.append(write_duckdb(store.con, query, tmp_path / f"{rows}.duckdb", view="v", visible=["a", "b"]).bytes)
    assert sizes[0] < 100_000
    assert sizes[1] < 500_000


def test_a_dataset_named_like_the_table_needs_no_view(store: SegmentStore, tmp_path: Path) -> None:
    assert write_duckdb(store.con, "SELECT 1 AS a", tmp_path / "x.duckdb", view="Segment", visible=["a"]).rows == 1


def test_a_failing_write_leaves_nothing_attached(store: SegmentStore, tmp_path: Path) -> None:
    with pytest.raises(duckdb.ConversionException):
        write_duckdb(store.con, "SELECT 'x'::INTEGER AS a", tmp_path / "x.duckdb", view="v", visible=["a"])
    attached = store.con.execute("SELECT count(*) FROM duckdb_databases() WHERE NOT internal").fetchone()
    assert attached == (1,)


def test_a_full_disk_is_told_from_other_failures(tmp_path: Path) -> None:
    limits = EngineLimits(memory_bytes=200_000_000, threads=1, temp_dir=tmp_path)
    with connect(limits) as con, pytest.raises((StorageFullError, UnavailableError)) as caught:
        con.execute("SET max_temp_directory_size = '1MB'")
        write_parquet(
            con, "SELECT i, repeat('x', 50) || i AS s FROM range(20000000) r(i) ORDER BY hash(i)", tmp_path / "x.parquet"
        )
    assert str(tmp_path) in str(caught.value) or "TIMESTORE_MEMORY" in str(caught.value)


def test_connections_are_in_utc_and_install_nothing(store: SegmentStore) -> None:
    settings = ("TimeZone", "autoinstall_known_extensions", "autoload_known_extensions")
    values = [store.con.execute(f"SELECT current_setting('{name}')").fetchone() for name in settings]
    assert values == [("UTC",), (False,), (False,)]

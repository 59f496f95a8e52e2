"""Segments of any format and schema version read as one table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import duckdb
import pytest

from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.storage.reading import opened
from timestore_assets_tests.storage_ground import StorageGround, schema_of, storage_ground

FORMATS = ["parquet", "duckdb"]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[StorageGround]:
    with storage_ground(tmp_path) as made:
        yield made


def attached(ground: StorageGround) -> int:
    row = ground.con.execute("SELECT count(*) FROM duckdb_databases() WHERE database_name LIKE 'segment_%'").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
def test_formats_mix(ground: StorageGround, first: str, second: str) -> None:
    segments = [ground.segment("SELECT 1 AS a", format=first), ground.segment("SELECT 2 AS a", format=second)]
    assert ground.rows(segments, schema_of(a="int64"), what="a, __source, __session") == [(1, 1, 1), (2, 1, 1)]
    assert attached(ground) == 0


def test_no_segments_give_an_empty_table_of_the_right_types(ground: StorageGround) -> None:
    schema = schema_of(a="int64", t="timestamp", x="?double")
    with opened(ground.con, [], storage=ground.storage, schema=schema, schema_of=lambda _: schema) as source:
        described = ground.con.execute(f"DESCRIBE FROM {source}").fetchall()
    assert [(row[0], row[1]) for row in described] == [
        ("a", "BIGINT"),
        ("t", "TIMESTAMP"),
        ("x", "DOUBLE"),
        ("__source", "BIGINT"),
        ("__position", "BIGINT"),
        ("__session", "BIGINT"),
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_older_versions_read_in_the_current_schema(ground: StorageGround, format: str) -> None:
    old = schema_of(1, a="int32", b="float", x="?int64")
    new = schema_of(2, b="double", a="int64", x="?double", added="?string", declared="date")
    segments = [
        ground.segment("SELECT 1::INTEGER AS a, 0.5::FLOAT AS b, '7' AS x", format=format, version=1),
        ground.segment(
            "SELECT 2.5::DOUBLE AS b, 2::BIGINT AS a, '1.5' AS x, 'new' AS added, DATE '2024-01-01' AS declared",
            format=format,
            version=2,
        ),
    ]
    rows = ground.rows(segments, new, old, what="b, a, x, added, declared::VARCHAR")
    assert rows == [(0.5, 1, 7.0, None, None), (2.5, 2, 1.5, "new", "2024-01-01")]
    assert ground.rows(segments, new, old, what="x, added", stored=True) == [("7", None), ("1.5", "new")]
    assert ground.rows(segments, new, old, what="typeof(a), typeof(b), typeof(x), typeof(added)")[0] == (
        "BIGINT",
        "DOUBLE",
        "DOUBLE",
        "VARCHAR",
    )


def test_a_column_that_was_inferred_and_is_declared_now(ground: StorageGround) -> None:
    old, new = schema_of(1, x="?int64"), schema_of(2, x="int64")
    segments = [ground.segment("SELECT '7' AS x", version=1), ground.segment("SELECT 8::BIGINT AS x", version=2)]
    assert ground.rows(segments, new, old, what="x") == [(7,), (8,)]
    assert ground.rows(segments, new, old, what="x", stored=True) == [(7,), (8,)]


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_asked_columns_are_there_in_the_asked_order(ground: StorageGround, format: str) -> None:
    segment = ground.segment("SELECT 1 AS a, 2 AS b, 3 AS c", format=format)
    schema = schema_of(a="int32", b="int32", c="int32")
    with opened(
        ground.con, [segment], storage=ground.storage, schema=schema, schema_of=lambda _: schema, columns=["c", "a"]
    ) as source:
        names = [row[0] for row in ground.con.execute(f"DESCRIBE FROM {source}").fetchall()]
    assert names == ["c", "a", "__source", "__position", "__session"]
    with pytest.raises(KeyError):
        ground.rows([segment], schema, columns=["nope"])


@pytest.mark.parametrize("format", FORMATS)
def test_provenance_can_be_left_out(ground: StorageGround, format: str) -> None:
    segments = [ground.segment("SELECT 1 AS a", format=format), ground.segment("SELECT 2 AS a", format=format, source_ids=(2,))]
    schema = schema_of(a="int32")
    assert ground.rows(segments, schema, provenance=False) == [(1,), (2,)]
    assert ground.rows(segments[:1], schema, provenance=False, retracted=frozenset({1})) == []
    assert ground.rows(segments, schema, provenance=False, columns=[], what="count(*)") == [(2,)]
    assert ground.rows([], schema, provenance=False, columns=[], what="count(*)") == [(0,)]


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_retracted_sources_are_left_out(ground: StorageGround, format: str) -> None:
    query = "SELECT i::INTEGER AS a, i::BIGINT AS __source, 0::BIGINT AS __position, 0::BIGINT AS __session FROM range(4) r(i)"
    mixed = ground.segment(query, format=format, source_ids=(0, 1, 2, 3))
    unknown = ground.segment(query, format=format, source_ids=())
    other = ground.segment("SELECT 9 AS a", format=format, source_ids=(1,))
    rows = ground.rows([mixed, unknown, other], schema_of(a="int32"), what="a", retracted=frozenset({0, 3}))
    assert sorted(rows) == [(1,), (1,), (2,), (2,), (9,)]


def test_odd_names_of_columns_and_files(ground: StorageGround) -> None:
    segment = ground.segment('SELECT 1 AS "select ""x"" = y", 2 AS "é"')
    schema = schema_of(**{'select "x" = y': "int32", "é": "int32"})
    assert ground.rows([segment], schema)[0][:2] == (1, 2)


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_file_is_unavailable_and_nothing_stays_attached(ground: StorageGround, format: str) -> None:
    here, gone = ground.segment("SELECT 1 AS a", format="duckdb"), ground.segment("SELECT 1 AS a", format=format)
    ground.store.delete([gone.name])
    with pytest.raises(UnavailableError, match="is missing"):
        ground.rows([here, gone], schema_of(a="int32"))
    assert attached(ground) == 0


def test_a_file_that_is_no_database_is_bad(ground: StorageGround) -> None:
    good, bad = ground.segment("SELECT 1 AS a", format="duckdb"), ground.segment("SELECT 1 AS a", format="duckdb")
    path = ground.store.local_path(bad.name)
    path.chmod(0o644)
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(BadFileError, match=bad.name):
        ground.rows([good, bad], schema_of(a="int32"))
    assert attached(ground) == 0
    assert ground.rows([good], schema_of(a="int32"), what="a") == [(1,)]


def test_overlapping_readers_share_what_is_attached(ground: StorageGround) -> None:
    schema = schema_of(a="int32")
    one, two = (ground.segment(f"SELECT {i} AS a", format="duckdb") for i in (1, 2))
    first = opened(ground.con, [one, two], storage=ground.storage, schema=schema, schema_of=lambda _: schema)
    second = opened(ground.con, [two], storage=ground.storage, schema=schema, schema_of=lambda _: schema)
    first.__enter__()
    source = second.__enter__()
    assert attached(ground) == 2
    first.__exit__(None, None, None)
    assert attached(ground) == 1
    assert ground.con.execute(f"SELECT a FROM {source}").fetchall() == [(2,)]
    second.__exit__(None, None, None)
    assert attached(ground) == 0


def test_two_connections_read_one_file(ground: StorageGround, tmp_path: Path) -> None:
    schema = schema_of(a="int32")
    segment = ground.segment("SELECT 1 AS a", format="duckdb")
    with (
        storage_ground(tmp_path) as other,
        opened(other.con, [segment], storage=ground.storage, schema=schema, schema_of=lambda _: schema) as source,
    ):
        assert ground.rows([segment], schema, what="a") == other.con.execute(f"SELECT a FROM {source}").fetchall()


def test_filters_and_columns_reach_the_files(ground: StorageGround) -> None:
    """The plan reads only what is asked for, or large segments would be read whole for one column."""
    schema = schema_of(a="int64", b="string")
    segments = [ground.segment("SELECT i AS a, 'x' AS b FROM range(1000) r(i)", format=format) for format in FORMATS]
    with opened(ground.con, segments, storage=ground.storage, schema=schema, schema_of=lambda _: schema) as source:
        plan = ground.con.execute(f"EXPLAIN (FORMAT json) SELECT a FROM {source} WHERE a > 990").fetchall()[0][1]
    assert plan.count('"Projections": "a"') == 2
    assert plan.count('"Filters"') == 2


def test_errors_of_the_query_itself_pass_through(ground: StorageGround) -> None:
    with pytest.raises(duckdb.BinderException):
        ground.rows([ground.segment("SELECT 1 AS a")], schema_of(a="int32"), what="nope")
    assert attached(ground) == 0

"""Segments of any format and schema version read as one table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import duckdb
import pytest

from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.model.retraction import whole
from timestore_assets.segments.reader import opened
from timestore_assets_tests.support.segment_store import SegmentStore, schema_of, segment_store

FORMATS = ["parquet", "duckdb"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SegmentStore]:
    with segment_store(tmp_path) as made:
        yield made


def attached(store: SegmentStore) -> int:
    row = store.con.execute("SELECT count(*) FROM duckdb_databases() WHERE database_name LIKE 'segment_%'").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
def test_formats_mix(store: SegmentStore, first: str, second: str) -> None:
    segments = [store.segment("SELECT 1 AS a", format=first), store.segment("SELECT 2 AS a", format=second)]
    assert store.rows(segments, schema_of(a="int64"), what="a, __source, __session") == [(1, 1, 1), (2, 1, 1)]
    assert attached(store) == 0


def test_no_segments_give_an_empty_table_of_the_right_types(store: SegmentStore) -> None:
    schema = schema_of(a="int64", t="timestamp", x="?double")
    with opened(store.con, [], storage=store.storage, schema=schema, schema_of=lambda _: schema) as source:
        described = store.con.execute(f"DESCRIBE FROM {source}").fetchall()
    assert [(row[0], row[1]) for row in described] == [
        ("a", "BIGINT"),
        ("t", "TIMESTAMP"),
        ("x", "DOUBLE"),
        ("__source", "BIGINT"),
        ("__position", "BIGINT"),
        ("__session", "BIGINT"),
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_older_versions_read_in_the_current_schema(store: SegmentStore, format: str) -> None:
    old = schema_of(1, a="int32", b="float", x="?int64")
    new = schema_of(2, b="double", a="int64", x="?double", added="?string", declared="date")
    segments = [
        store.segment("SELECT 1::INTEGER AS a, 0.5::FLOAT AS b, '7' AS x", format=format, version=1),
        store.segment(
            "SELECT 2.5::DOUBLE AS b, 2::BIGINT AS a, '1.5' AS x, 'new' AS added, DATE '2024-01-01' AS declared",
            format=format,
            version=2,
        ),
    ]
    rows = store.rows(segments, new, old, what="b, a, x, added, declared::VARCHAR")
    assert rows == [(0.5, 1, 7.0, None, None), (2.5, 2, 1.5, "new", "2024-01-01")]
    assert store.rows(segments, new, old, what="x, added", stored=True) == [("7", None), ("1.5", "new")]
    assert store.rows(segments, new, old, what="typeof(a), typeof(b), typeof(x), typeof(added)")[0] == (
        "BIGINT",
        "DOUBLE",
        "DOUBLE",
        "VARCHAR",
    )


def test_a_column_that_was_inferred_and_is_declared_now(store: SegmentStore) -> None:
    old, new = schema_of(1, x="?int64"), schema_of(2, x="int64")
    segments = [store.segment("SELECT '7' AS x", version=1), store.segment("SELECT 8::BIGINT AS x", version=2)]
    assert store.rows(segments, new, old, what="x") == [(7,), (8,)]
    assert store.rows(segments, new, old, what="x", stored=True) == [(7,), (8,)]


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_asked_columns_are_there_in_the_asked_order(store: SegmentStore, format: str) -> None:
    segment = store.segment("SELECT 1 AS a, 2 AS b, 3 AS c", format=format)
    schema = schema_of(a="int32", b="int32", c="int32")
    with opened(
        store.con, [segment], storage=store.storage, schema=schema, schema_of=lambda _: schema, columns=["c", "a"]
    ) as source:
        names = [row[0] for row in store.con.execute(f"DESCRIBE FROM {source}").fetchall()]
    assert names == ["c", "a", "__source", "__position", "__session"]
    with pytest.raises(KeyError):
        store.rows([segment], schema, columns=["nope"])


@pytest.mark.parametrize("format", FORMATS)
def test_provenance_can_be_left_out(store: SegmentStore, format: str) -> None:
    segments = [store.segment("SELECT 1 AS a", format=format), store.segment("SELECT 2 AS a", format=format, source_ids=(2,))]
    schema = schema_of(a="int32")
    assert store.rows(segments, schema, provenance=False) == [(1,), (2,)]
    assert store.rows(segments[:1], schema, provenance=False, retracted=whole({1})) == []
    assert store.rows(segments, schema, provenance=False, columns=[], what="count(*)") == [(2,)]
    assert store.rows([], schema, provenance=False, columns=[], what="count(*)") == [(0,)]


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_retracted_sources_are_left_out(store: SegmentStore, format: str) -> None:
    query = "SELECT i::INTEGER AS a, i::BIGINT AS __source, 0::BIGINT AS __position, 0::BIGINT AS __session FROM range(4) r(i)"
    mixed = store.segment(query, format=format, source_ids=(0, 1, 2, 3))
    unknown = store.segment(query, format=format, source_ids=())
    other = store.segment("SELECT 9 AS a", format=format, source_ids=(1,))
    rows = store.rows([mixed, unknown, other], schema_of(a="int32"), what="a", retracted=whole({0, 3}))
    assert sorted(rows) == [(1,), (1,), (2,), (2,), (9,)]


def test_odd_names_of_columns_and_files(store: SegmentStore) -> None:
    segment = store.segment('SELECT 1 AS "select ""x"" = y", 2 AS "é"')
    schema = schema_of(**{'select "x" = y': "int32", "é": "int32"})
    assert store.rows([segment], schema)[0][:2] == (1, 2)


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_file_is_unavailable_and_nothing_stays_attached(store: SegmentStore, format: str) -> None:
    here, gone = store.segment("SELECT 1 AS a", format="duckdb"), store.segment("SELECT 1 AS a", format=format)
    store.store.delete([gone.name])
    with pytest.raises(UnavailableError, match="is missing"):
        store.rows([here, gone], schema_of(a="int32"))
    assert attached(store) == 0


def test_a_file_that_is_no_database_is_bad(store: SegmentStore) -> None:
    good, bad = store.segment("SELECT 1 AS a", format="duckdb"), store.segment("SELECT 1 AS a", format="duckdb")
    path = store.store.local_path(bad.name)
    path.chmod(0o644)
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(BadFileError, match=bad.name):
        store.rows([good, bad], schema_of(a="int32"))
    assert attached(store) == 0
    assert store.rows([good], schema_of(a="int32"), what="a") == [(1,)]


def test_overlapping_readers_share_what_is_attached(store: SegmentStore) -> None:
    schema = schema_of(a="int32")
    one, two = (store.segment(f"SELECT {i} AS a", format="duckdb") for i in (1, 2))
    first = opened(store.con, [one, two], storage=store.storage, schema=schema, schema_of=lambda _: schema)
    second = opened(store.con, [two], storage=store.storage, schema=schema, schema_of=lambda _: schema)
    first.__enter__()
    source = second.__enter__()
    assert attached(store) == 2
    first.__exit__(None, None, None)
    assert attached(store) == 1
    assert store.con.execute(f"SELECT a FROM {source}").fetchall() == [(2,)]
    second.__exit__(None, None, None)
    assert attached(store) == 0


def test_two_connections_read_one_file(store: SegmentStore, tmp_path: Path) -> None:
    schema = schema_of(a="int32")
    segment = store.segment("SELECT 1 AS a", format="duckdb")
    with (
        segment_store(tmp_path) as other,
        opened(other.con, [segment], storage=store.storage, schema=schema, schema_of=lambda _: schema) as source,
    ):
        assert store.rows([segment], schema, what="a") == other.con.execute(f"SELECT a FROM {source}").fetchall()


def test_filters_and_columns_reach_the_files(store: SegmentStore) -> None:
    """The plan reads only what is asked for, or large segments would be read whole for one column."""
    schema = schema_of(a="int64", b="string")
    segments = [store.segment("SELECT i AS a, 'x' AS b FROM range(1000) r(i)", format=format) for format in FORMATS]
    with opened(store.con, segments, storage=store.storage, schema=schema, schema_of=lambda _: schema) as source:
        plan = store.con.execute(f"EXPLAIN (FORMAT json) SELECT a FROM {source} WHERE a > 990").fetchall()[0][1]
    assert plan.count('"Projections": "a"') == 2
    assert plan.count('"Filters"') == 2


def test_errors_of_the_query_itself_pass_through(store: SegmentStore) -> None:
    with pytest.raises(duckdb.BinderException):
        store.rows([store.segment("SELECT 1 AS a")], schema_of(a="int32"), what="nope")
    assert attached(store) == 0

"""The content hash depends on the values of a set of rows and on nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.hash_sums import EMPTY, combined, have_one_scheme
from timestore_assets.model.schema import Schema
from timestore_assets.segments.content_hash import hash_sql, row_text
from timestore_assets.segments.quick_hash import hash_scheme, hashed_like, quick_hash
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.segment_store import SegmentStore, schema_of, segment_store

SCHEMA = schema_of(
    i="int32",
    l="int64",
    d="double",
    f="float",
    s="string",
    b="bool",
    e="decimal(10,2)",
    day="date",
    t="timestamp",
    bin="binary",
    list="list<double>",
    nested="struct<x: list<struct<y: string>>, z: int64>",
    raw="?int64",
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
FLOATS = st.sampled_from([0.0, -0.0, 1.5, -1e300, 1e-7, 0.1, float("nan"), float("inf")])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-5, 5),
    "l": st.integers(-(2**63), 2**63 - 1),
    "d": FLOATS,
    "f": st.floats(width=32),
    "s": TEXTS,
    "b": st.booleans(),
    "e": st.sampled_from([Decimal("0.00"), Decimal("1.50"), Decimal("-100.00"), Decimal("0.01")]),
    "day": st.dates(date(1, 1, 1)),
    "t": st.datetimes(datetime(1, 1, 1)),
    "bin": st.binary(max_size=3),
    "list": st.lists(st.none() | FLOATS, max_size=3),
    "nested": st.fixed_dictionaries(
        {
            "x": st.none() | st.lists(st.none() | st.fixed_dictionaries({"y": st.none() | TEXTS}), max_size=2),
            "z": st.none() | st.integers(0, 3),
        }
    ),
    "raw": st.sampled_from(["1", "01", ""]),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=6)
SETTINGS = settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def store() -> Iterator[SegmentStore]:
    with tempfile.TemporaryDirectory() as folder, segment_store(Path(folder)) as made:
        yield made


def table(rows: Sequence[dict[str, Any]], schema: Schema) -> pa.Table:
    fields = [
        pa.field(column.name, pa.string() if column.origin == "inferred" else arrow_type(column.type, zone=None))
        for column in schema
    ]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def portable(con: duckdb.DuckDBPyConnection, schema: Schema, source: str) -> str:
    [(found,)] = con.execute(hash_sql(schema, source)).fetchall()
    assert isinstance(found, str)
    return found


@dataclass(frozen=True)
class Digest:
    """A way to hash, of rows that are no segment."""

    of: Callable[[duckdb.DuckDBPyConnection, Schema, str], str]

    def __call__(self, store: SegmentStore, rows: Sequence[dict[str, Any]], schema: Schema = SCHEMA) -> str:
        store.con.register("hashed", table(rows, schema))
        try:
            return self.of(store.con, schema, "hashed")
        finally:
            store.con.unregister("hashed")


@pytest.fixture(scope="module", params=[portable, quick_hash], ids=["portable", "quick"])
def digest(request: pytest.FixtureRequest) -> Digest:
    return Digest(request.param)


@SETTINGS
@given(rows=ROWS, data=st.data())
def test_neither_order_nor_split_matter(
    store: SegmentStore, digest: Digest, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    parts = [digest(store, shuffled[:cut]), digest(store, shuffled[cut:])]
    assert digest(store, rows) == digest(store, shuffled) == combined(parts)


@SETTINGS
@given(rows=ROWS.filter(bool), data=st.data())
def test_one_changed_cell_changes_it(
    store: SegmentStore, digest: Digest, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(SCHEMA.names))
    before = rows[row][name]
    after = data.draw((st.none() | VALUES[name]).filter(lambda value: canonical(value) != canonical(before)))
    changed = [row_values | {name: after} if at == row else row_values for at, row_values in enumerate(rows)]
    assert digest(store, rows) != digest(store, changed)


@SETTINGS
@given(rows=ROWS.filter(bool))
def test_how_often_a_row_is_there_matters(store: SegmentStore, digest: Digest, rows: list[dict[str, Any]]) -> None:
    assert digest(store, rows) != digest(store, [*rows, rows[0]])


@settings(SETTINGS, max_examples=examples(8))
@given(rows=ROWS.filter(bool))
def test_the_file_format_does_not_matter(store: SegmentStore, digest: Digest, rows: list[dict[str, Any]]) -> None:
    store.con.register("written", table(rows, SCHEMA))
    found = set()
    for format in ("parquet", "duckdb"):
        segment = store.segment("SELECT * FROM written", format=format)
        options = {"storage": store.storage, "schema": SCHEMA, "schema_of": lambda _: SCHEMA, "stored": True}
        from timestore_assets.segments.reader import opened

        with opened(store.con, [segment], **options) as source:
            found.add(digest.of(store.con, SCHEMA, source))
    store.con.unregister("written")
    assert found == {digest(store, rows)}


@SETTINGS
@given(rows=ROWS)
def test_a_column_without_values_changes_nothing(store: SegmentStore, digest: Digest, rows: list[dict[str, Any]]) -> None:
    wider = schema_of(
        a_first="string", **{name: ("?" * (column.origin == "inferred")) + str(column.type) for name, column in columns()}
    )
    assert digest(store, rows) == digest(store, [{**row, "a_first": None} for row in rows], wider)


def columns() -> list[tuple[str, Any]]:
    return [(column.name, column) for column in SCHEMA]


def canonical(value: Any) -> Any:
    """Python's idea of which values are the same: 0.0 and -0.0 are, NaN is itself; True is not 1."""
    if isinstance(value, float):
        return ("float", "nan" if value != value else value + 0.0)
    if isinstance(value, list):
        return ("list", tuple(canonical(item) for item in value))
    if isinstance(value, dict):
        return ("dict", tuple((name, canonical(item)) for name, item in sorted(value.items())))
    return (type(value).__name__, value)


def test_the_hash_of_no_rows(store: SegmentStore, digest: Digest) -> None:
    assert digest(store, []) == EMPTY == combined([])


def test_null_differs_from_what_looks_like_nothing(store: SegmentStore, digest: Digest) -> None:
    rows: list[dict[str, Any]] = [
        {"s": None},
        {"s": ""},
        {"bin": b""},
        {"list": []},
        {"list": [None]},
        {"nested": {"x": None, "z": None}},
    ]
    assert len({digest(store, [row]) for row in rows}) == len(rows)


def test_lists_of_lists_are_told_apart(store: SegmentStore, digest: Digest) -> None:
    schema = schema_of(l="list<list<int64>>")
    lists: list[list[Any]] = [[[1], [2]], [[1, 2]], [[1, 2], []], [[1, 2], None], [[]], [], [None]]
    assert len({digest(store, [{"l": one}], schema) for one in lists}) == len(lists)


def test_columns_can_not_swap_their_values(store: SegmentStore, digest: Digest) -> None:
    schema = schema_of(a="int64", b="int64")
    rows = [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 3, "b": 3}, {"a": 4, "b": 4}]
    assert len({digest(store, [row], schema) for row in rows}) == len(rows)
    crossed = [[{"a": 1, "b": 1}, {"a": 2, "b": 2}], [{"a": 1, "b": 2}, {"a": 2, "b": 1}]]
    assert digest(store, crossed[0], schema) != digest(store, crossed[1], schema)


def test_many_columns_are_not_too_many(store: SegmentStore, digest: Digest) -> None:
    schema = schema_of(**{f"c{number}": "int64" for number in range(2_000)})
    assert digest(store, [{"c0": 1}], schema) != digest(store, [{"c1999": 1}], schema)


def test_values_do_not_run_into_each_other(store: SegmentStore, digest: Digest) -> None:
    schema = schema_of(a="string", b="string", l="list<string>")
    rows: list[dict[str, Any]] = [
        {"a": "x", "b": "y"},
        {"a": "x1:b=1:y", "b": None},
        {"a": "x;1:b=1:y"},
        {"l": ["a", "b"]},
        {"l": ["a1:b"]},
        {"l": ["_"]},
        {"l": [None]},
    ]
    assert len({digest(store, [row], schema) for row in rows}) == len(rows)


def test_the_canonical_text_is_pinned(store: SegmentStore) -> None:
    """Hashes are stored: changing the text would make every sealed partition look changed."""
    rows: list[dict[str, Any]] = [
        {
            "i": 1,
            "d": -0.0,
            "f": 0.1,
            "s": "é",
            "b": True,
            "e": Decimal("1.50"),
            "day": date(2024, 2, 29),
            "t": datetime(1970, 1, 1, 0, 0, 1),
            "bin": b"\xff",
            "list": [1.0, None],
            "nested": {"x": [{"y": "q"}, None], "z": 2},
            "raw": "07",
        }
    ]
    store.con.register("pinned", table(rows, SCHEMA))
    [(text,)] = store.con.execute(f"SELECT {row_text(SCHEMA)} FROM pinned").fetchall()
    store.con.unregister("pinned")
    assert text == (
        "1:b=true;3:bin=FF;1:d=0.0;3:day=2024-02-29;1:e=1.5;1:f=0.1;1:i=1;4:list=[1.0;_]"
        "6:nested={1:x=[{1:y=1:q}_]1:z=2;}3:raw=2:071:s=2:é1:t=1000000;"
    )
    assert Digest(portable)(store, rows) == "f22c342e9036c5e4d95c0f9fd9df87c4"


def test_hashes_of_other_schemes_are_not_compared(store: SegmentStore) -> None:
    store.con.register("one", table([{"i": 1}], SCHEMA))
    try:
        quick, text = quick_hash(store.con, SCHEMA, "one"), portable(store.con, SCHEMA, "one")
        assert quick.startswith(hash_scheme(store.con) + ":") and have_one_scheme([quick, quick, EMPTY])
        assert not have_one_scheme([quick, text])
        with pytest.raises(ValueError, match="do not add up"):
            combined([quick, text])
        for wanted, found in {quick: quick, text: text, EMPTY: quick, "q0000:" + text: None}.items():
            assert hashed_like(store.con, SCHEMA, "one", wanted=wanted) == found
    finally:
        store.con.unregister("one")

"""Whatever an Arrow column holds, a refused row of it is rendered, and a landing takes its values or refuses their rows."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.arrow_values import typed_cell, typed_raw_column
from timestore_assets.decoding.coerce_columns import coerce
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing.inferred_types import raw_texts
from timestore_assets.model.schema import Column
from timestore_assets.model.types import parse_type
from timestore_assets.segments.engine import Engine, EngineLimits
from timestore_assets.sources.arrow_json import json_rows, json_texts

MOST = (1 << 63) - 1
UNITS = ("s", "ms", "us", "ns")
COUNTS = st.one_of(st.integers(-MOST, MOST), st.sampled_from([0, 1, -1, 86_399_999_999, 86_400_000_000, MOST, -MOST]))


def _counted(kinds: list[pa.DataType], width: pa.DataType, counts: st.SearchStrategy[int]) -> st.SearchStrategy[pa.Array]:
    values = st.lists(st.none() | counts, min_size=1, max_size=5)
    return st.builds(lambda kind, some: pa.array(some, width).view(kind), st.sampled_from(kinds), values)


LONG = [kind(unit) for kind in (pa.timestamp, pa.duration) for unit in UNITS]
LONG += [pa.timestamp(unit, zone) for unit in UNITS for zone in ("UTC", "Europe/Berlin", "Mars/Phobos", "+23:61")]
LONG += [pa.time64("us"), pa.time64("ns"), pa.date64()]
TEMPORAL = _counted(LONG, pa.int64(), COUNTS) | _counted(
    [pa.date32(), pa.time32("s"), pa.time32("ms")], pa.int32(), st.integers(-(1 << 31), (1 << 31) - 1)
)
DECIMALS = st.builds(
    lambda values, kind: pa.array(values, pa.int64()).cast(kind),
    st.lists(st.none() | st.integers(-999, 999), min_size=1, max_size=5),
    st.sampled_from([pa.decimal128(38, 4), pa.decimal256(76, 38), pa.decimal256(76, 0)]),
)
PLAIN = st.one_of(
    st.lists(st.none() | st.integers(0, MOST), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.uint64())),
    st.lists(st.none() | st.floats(width=32), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.float32())),
    st.lists(st.none() | st.floats(), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.float64())),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.bool_())),
    st.lists(st.none() | st.text(), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.string())),
    st.lists(st.none() | st.binary(), min_size=1, max_size=5).map(lambda some: pa.array(some, pa.binary())),
    st.integers(1, 5).map(pa.nulls),
)
LEAVES = st.one_of(TEMPORAL, DECIMALS, PLAIN)


def _nested(leaf: pa.Array, shape: str) -> pa.Array:
    size = len(leaf)
    keys = pa.array(["a" if number % 2 else "b" for number in range(size)])
    match shape:
        case "list":
            return pa.ListArray.from_arrays(pa.array([0, 0, size], pa.int32()), leaf)
        case "view":
            return pa.ListViewArray.from_arrays(pa.array([0], pa.int32()), pa.array([size], pa.int32()), leaf)
        case "twins":
            return pa.StructArray.from_arrays([leaf, keys], ["x", "x"])
        case "struct":
            return pa.StructArray.from_arrays([leaf, keys], ["x", "y"], mask=pa.array([True] + [False] * (size - 1)))
        case "map":
            return pa.MapArray.from_arrays(pa.array([0, size], pa.int32()), keys, leaf)
        case "fixed":
            return pa.FixedSizeListArray.from_arrays(leaf, 1)
        case "union":
            return pa.UnionArray.from_sparse(pa.array([0] * size, pa.int8()), [leaf, keys])
        case "dense":
            codes, places = pa.array([0] * size, pa.int8()), pa.array(range(size), pa.int32())
            return pa.UnionArray.from_dense(codes, places, [leaf, keys])
        case "runs":
            # of what runs may hold Arrow is stricter than of anything else
            with suppress(pa.ArrowInvalid):
                return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, size + 1), pa.int32()), leaf)
    return leaf


SHAPES = ("plain", "list", "view", "twins", "struct", "map", "fixed", "union", "dense", "runs")
ARRAYS = st.builds(_nested, LEAVES, st.sampled_from(SHAPES))


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_every_value_is_rendered_as_one_json_text(values: pa.Array) -> None:
    texts = json_texts(values)
    assert len(texts) == len(values)
    for text in texts:
        json.loads(text)
        assert "can't be shown" not in text
    assert [json_texts(values.slice(row, 1))[0] for row in range(len(values))] == texts


@settings(max_examples=25, deadline=None)
@given(ARRAYS, st.sampled_from(["string", "double", "timestamp", "date", "int64", "list<double>", "binary"]))
def test_every_value_lands_or_refuses_its_row(values: pa.Array, wanted: str) -> None:
    column = pa.chunked_array([values])
    with closing(_engine()) as engine:
        found = engine.run(lambda con: raw_texts(con, typed_raw_column(column)))
        assert found.num_rows == len(values)
        row_mask = RowMask(len(values))
        cell = typed_cell(Column(name="v", type=parse_type(wanted), nullable=True), column, zone=None)
        landed = engine.run(lambda con: coerce(con, [cell], row_mask))
    assert landed.num_rows == len(values)


def _engine() -> Engine:
    from pathlib import Path
    from tempfile import gettempdir

    return Engine(EngineLimits(memory_bytes=200_000_000, threads=1, temp_dir=Path(gettempdir())))


@pytest.mark.parametrize("wanted", ["struct<a: int64, b: binary>", "struct<b: binary, t: timestamp>"])
def test_bytes_inside_that_go_the_long_way_stay_what_they_are(wanted: str) -> None:
    kind = parse_type(wanted)
    members = {"a": 1, "b": b"\xff\\x41", "t": datetime(2024, 1, 1)}
    value = {name: members[name] for name, _ in kind.fields}
    given = pa.chunked_array([pa.array([dict(reversed(value.items()))])])
    row_mask = RowMask(1)
    cell = typed_cell(Column(name="v", type=kind, nullable=True), given, zone=None)
    with closing(_engine()) as engine:
        assert engine.run(lambda con: coerce(con, [cell], row_mask)).column("v").to_pylist() == [value]


BIG_TIME = pa.array([MOST, 5, None], pa.int64())


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (BIG_TIME.view(pa.timestamp("s")), ['"292277026596-12-04 15:30:07"', '"1970-01-01 00:00:05"', "null"]),
        (BIG_TIME.view(pa.duration("s")), ['"2562047788015215:30:07"', '"00:00:05"', "null"]),
        (pa.array([10**15]).view(pa.time64("us")), ['"277777:46:40"']),
        (pa.array([253402300800000000]).view(pa.timestamp("us", "Mars/Phobos")), ['"10000-01-01 00:00:00+00:00"']),
        (pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())), ['{"a": 1, "a": 2}']),
        (pa.array([b"\xff\x00", b"ok"]), ['{"base64": "/wA="}', '"ok"']),
        (pa.array([float("nan"), float("inf"), 0.1]), ['"nan"', '"inf"', "0.1"]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), ['"P1M2DT0.000000003S"']),
        (pa.array([{}], pa.struct([])), ["{}"]),
        (pa.array([b"\xff"]).view(pa.string()), ['"\\\\xff"']),
    ],
)
def test_how_odd_values_read(values: pa.Array, texts: list[str]) -> None:
    assert json_texts(values) == texts


def test_a_row_keeps_the_order_and_the_names_of_its_columns() -> None:
    table = pa.table({"ts": pa.array([0], pa.timestamp("us")), 'n"': [1], "": [None]})
    assert json_rows(table) == ['{"ts": "1970-01-01 00:00:00", "n\\"": 1, "": null}']


def raw_text_of(values: pa.Array) -> list[Any]:
    with closing(_engine()) as engine:
        found = engine.run(lambda con: raw_texts(con, typed_raw_column(pa.chunked_array([values]))))
    return found.column("text").to_pylist()


def test_what_duckdb_cannot_hold_lands_exactly() -> None:
    assert raw_text_of(BIG_TIME.view(pa.duration("s"))) == ["2562047788015215:30:07", "00:00:05", None]
    assert raw_text_of(BIG_TIME.view(pa.timestamp("s"))) == ["292277026596-12-04 15:30:07", "1970-01-01 00:00:05", None]
    assert raw_text_of(pa.array([-MOST]).view(pa.timestamp("ns"))) == ["1677-09-21 00:12:43.145224"]
    assert raw_text_of(pa.array(["1e-30", None]).cast(pa.decimal256(76, 38))) == [
        "0.00000000000000000000000000000100000000",
        None,
    ]
    maps = pa.array([[("a", 1)], [("a", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int64()))
    assert raw_text_of(maps) == ['{"a":1}', '{"a": 1, "a": 2}', None]

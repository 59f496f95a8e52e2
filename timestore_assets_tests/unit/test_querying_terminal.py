"""How figures read on a terminal."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from timestore_assets.cli.rendering.cell_texts import cell_texts
from timestore_assets.cli.rendering.sparkline import sparkline
from timestore_assets.cli.rendering.terminal import Display, show
from timestore_assets.querying.answer import Answer, AnswerDetails

TIME = pa.timestamp("us", tz="UTC")


def texts(values: Sequence[Any], kind: pa.DataType, **options: Any) -> list[str | None]:
    return cell_texts(pa.chunked_array([pa.array(values, kind)]), **options)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1.0, 1394.46, 64123.4567, -118.46777], pa.float64(), ["1.0", "1394.46", "64123.4567", "-118.46777"]),
        ([0.1 + 0.2, 100 / 7, 1234567.891], pa.float64(), ["0.30000000000000004", "14.285714285714286", "1234567.891"]),
        ([0.1, 16777216.0, 1 / 3], pa.float32(), ["0.1", "16777216.0", "0.33333334"]),
        ([float("nan"), float("inf"), None, 1.5], pa.float64(), ["nan", "inf", None, "1.5"]),
        ([1e-9, 1e20, 0.0, -0.0], pa.float64(), ["1e-09", "1e+20", "0.0", "-0.0"]),
        ([], pa.float64(), []),
        ([Decimal("1.50"), Decimal("1234567.00")], pa.decimal128(10, 2), ["1.50", "1234567.00"]),
        ([2**63 - 1, None], pa.int64(), ["9223372036854775807", None]),
        ([True, False], pa.bool_(), ["true", "false"]),
        ([date(2013, 1, 2)], pa.date32(), ["2013-01-02"]),
        ([b"\x00\xff", b""], pa.binary(), ["0x00ff", "0x"]),
        (["a b", "a  b", " a", "", "–", "a…", '"a"'], pa.string(), ["a b", "a  b", '" a"', '""', '"–"', '"a…"', '"\\"a\\""']),
        (["\x1b[31m", "\u202eb", "a\nb"], pa.string(), ['"\\u001b[31m"', '"\\u202eb"', '"a\\nb"']),
        ([[1, None], None, []], pa.list_(pa.int64()), ["[1, null]", None, "[]"]),
        ([{"a": "\x1b", "b": 0.1}], pa.struct({"a": pa.string(), "b": pa.float32()}), ['{"a": "\\u001b", "b": 0.1}']),
        ([datetime(2013, 1, 2, tzinfo=UTC)], TIME, ["2013-01-02"]),
        (
            [datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 2, 3, 0, 0, 1, tzinfo=UTC)],
            TIME,
            ["2013-01-02 00:00:00", "2013-01-02 03:00:00.000001"],
        ),
    ],
)
def test_texts_of_a_column(values: Sequence[Any], kind: pa.DataType, expected: list[str | None]) -> None:
    assert texts(values, kind) == expected


def test_times_of_any_year_are_shown() -> None:
    far = pa.array([253_402_300_800_000_000, None], pa.int64()).cast(TIME)
    assert cell_texts(pa.chunked_array([far])) == ["10000-01-01 00:00:00", None]


def test_only_texts_nested_and_binary_values_are_cut_in_a_table_and_say_so() -> None:
    assert texts(["x" * 60, "x" * 61], pa.string(), longest=60) == ["x" * 60, "x" * 59 + "…"]
    assert texts(["日本語"], pa.string(), longest=4) == ["日…"]
    assert texts([b"\xab" * 40], pa.binary(), longest=10) == ["0xabababa…"]
    assert texts([0.1 + 0.2], pa.float64(), longest=10) == ["0.30000000000000004"]
    assert texts(["a\nb" + "x" * 80], pa.string(), longest=60) == ['"a\\nb' + "x" * 54 + "…"]


@settings(deadline=None)
@given(values=st.lists(st.floats(), min_size=1), single=st.booleans())
def test_a_number_that_is_read_again_is_the_same(values: list[float], single: bool) -> None:
    array = pa.array(values, pa.float64()).cast(pa.float32(), safe=False) if single else pa.array(values, pa.float64())
    for value, text in zip(array.to_pylist(), cell_texts(pa.chunked_array([array])), strict=True):
        assert text is not None
        read = float(np.float32(text)) if single else float(text)
        assert read == value or (math.isnan(read) and math.isnan(value))
        assert math.isnan(value) or math.copysign(1, read) == math.copysign(1, value)


@settings(deadline=None)
@given(pair=st.lists(st.text(max_size=70), min_size=2, max_size=2, unique=True))
def test_texts_that_differ_are_shown_alike_only_when_they_are_cut_off(pair: list[str]) -> None:
    whole = texts(pair, pa.string())
    assert whole[0] != whole[1]
    one, other = texts(pair, pa.string(), longest=60)
    assert one is not None
    assert one != other or one.endswith("…")
    assert all(text is not None and text.isprintable() for text in whole)


def test_the_decimal_points_of_a_column_stand_below_each_other() -> None:
    lines = shown(answer(pa.table({"a_long_name": [1999.99, 0.004, None, 2.0, 1e-9], "n": [1, 2, 3, 4, 5]}))).splitlines()
    assert [line.rstrip() for line in lines[1:6]] == [
        "   1999.99   1",
        "      0.004  2",
        "          –  3",
        "      2.0    4",
        "      1e-09  5",
    ]


WIDE = pa.table({f"column_{n}": [n * 1000.25] * 3 for n in range(12)})


def test_a_table_that_is_too_wide_lacks_its_middle_and_says_so() -> None:
    text = shown(answer(WIDE), width=60)
    lines = text.splitlines()
    assert lines[0].split() == ["column_0", "column_1", "column_2", "…", "column_10", "column_11"]
    assert lines[1].split() == ["0.0", "1000.25", "2000.5", "…", "10002.5", "11002.75"]
    assert max(map(len, lines[:4])) <= 60
    assert "3 rows · 5 of 12 columns shown; -x shows all" in text
    assert shown(answer(WIDE), width=200).splitlines()[0].split() == WIDE.column_names


def test_long_texts_are_cut_before_other_columns_are_left_out() -> None:
    told = pa.table({"a": [1], "text": ["x" * 50], "b": [2], "c": ["y" * 50]})
    text = shown(answer(told), width=60, display=Display(expanded=False))
    assert text.splitlines()[1].split() == ["1", "x" * 23 + "…", "2", "y" * 23 + "…"]
    # where the last column does not fit, others do
    ends = pa.table({**{f"n{i}": [i] for i in range(30)}, "e" * 40: [1]})
    heads = shown(answer(ends), width=40, display=Display(expanded=False)).splitlines()[0].split()
    assert heads[0] == "n0" and heads[-1] == "…" and len(heads) > 5


def test_what_goes_to_no_terminal_has_everything_whole() -> None:
    long = pa.table({"text": ["x" * 300], **{name: WIDE.column(name).slice(0, 1) for name in WIDE.column_names}})
    text = shown(answer(long), width=60, terminal=False)
    assert "x" * 300 in text
    assert text.splitlines()[0].split() == long.column_names
    assert "columns shown" not in text


def test_records_have_a_line_for_each_value_by_themselves_only_for_one_row_that_is_too_wide() -> None:
    temp = pa.field("temp", pa.float64(), metadata={"unit": "degF"})
    schema = pa.schema([pa.field("time", TIME), temp, pa.field("t", pa.string())])
    rows = pa.table([hours(2), [1.5, None], ["x" * 100, ""]], schema=schema)
    lines = shown(answer(rows), width=60, display=Display(expanded=True)).splitlines()
    assert lines[0].startswith("─[ 1 ]──")
    assert lines[1:4] == ["time       2013-01-01 00:00:00", "temp degF  1.5", "t          " + "x" * 100]
    assert lines[4].startswith("─[ 2 ]──")
    assert lines[5:8] == ["time       2013-01-01 01:00:00", "temp degF  –", 't          ""']
    assert shown(answer(WIDE.slice(0, 1)), width=60).startswith("─[ 1 ]")
    assert not shown(answer(WIDE.slice(0, 1)), width=60, display=Display(expanded=False)).startswith("─[ 1 ]")
    assert not shown(answer(WIDE.slice(0, 1)), width=200).startswith("─[ 1 ]")


def test_a_sparkline_goes_from_low_to_high_with_gaps() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], width=60) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0, None, float("nan"), 2.0], width=60) == "▁  █"
    assert sparkline([3, 3], width=60) == "▄▄"
    assert sparkline([None], width=60) == ""
    assert len(sparkline(list(range(1000)), width=60)) <= 60


def answer(table: pa.Table, *, series: tuple[str, ...] | None = None) -> Answer:
    return Answer(
        schema=table.schema,
        batches=iter(table.to_batches(max_chunksize=3)),
        facts=AnswerDetails(manifest_versions={"weather": 7}, scanned=2, pruned=363, series=series),
        close=lambda: None,
    )


def shown(found: Answer, *, width: int = 120, terminal: bool = True, display: Display | None = None) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=width, force_terminal=terminal, color_system=None), display)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def hours(count: int) -> pa.Array:
    return pa.array([datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in range(count)], TIME)


def test_a_table_has_units_and_says_what_it_is_from_and_what_is_missing() -> None:
    schema = pa.schema([pa.field("time", TIME), pa.field("temp", pa.float64(), metadata={"unit": "degF"})])
    text = shown(answer(pa.table([hours(10), pa.array([float(n) for n in range(10)])], schema=schema)), display=Display(rows=4))
    assert "degF" in text
    assert "2013-01-01 03:00:00   3.0" in text
    assert "04:00" not in text
    assert "4 of 10 rows shown; --limit 10 shows all · weather version 7 · 2 segments read, 363 left out" in text


def test_buckets_of_time_have_a_sparkline_a_group_over_all_rows_in_the_order_asked_and_other_answers_none() -> None:
    table = pa.table(
        {
            "time": pa.concat_arrays([hours(4), hours(4)]),
            "origin": ["a"] * 4 + ["b"] * 4,
            "temp": [1.0, 2, 3, 4, 4, 3, 2, 1],
            "same": [5] * 8,
            "depth": pa.array([0.1 + 0.2, 0, 0, 9, 1, 2, 3, 4], pa.float64()),
        }
    )
    text = shown(answer(table, series=("time", "origin")), display=Display(rows=1))
    lines = [line.rstrip() for line in text.splitlines()]
    start = lines.index("") + 1
    assert lines[start : start + 5] == [
        "a temp   ▁▃▆█  1.0 … 4.0",
        "a depth  ▁▁▁█  0.0 … 9.0",
        "b temp   █▆▃▁  1.0 … 4.0",
        "b depth  ▁▃▆█  1.0 … 4.0",
        "         2013-01-01 00:00:00 to 2013-01-01 03:00:00",
    ]
    assert "▁" not in shown(answer(table))


def test_sparklines_of_the_latest_first_go_forward_in_time_all_the_same() -> None:
    table = pa.table({"time": pa.array(hours(4).to_pylist()[::-1], TIME), "temp": [4.0, 3, 2, 1]})
    text = shown(answer(table, series=("time",)), display=Display(descending=True))
    assert "temp  ▁▃▆█  1.0 … 4.0" in text
    assert "2013-01-01 00:00:00 to 2013-01-01 03:00:00" in text


def test_no_rows() -> None:
    assert "0 rows · weather version 7" in shown(answer(pa.table({"a": pa.array([], pa.int64())})))

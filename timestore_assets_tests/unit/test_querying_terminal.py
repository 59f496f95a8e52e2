"""How figures read on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from timestore_assets.querying.answer import Answer
from timestore_assets.querying.sparkline import sparkline
from timestore_assets.querying.terminal import column_texts, show

TIME = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([1.0, 2.0], pa.float64(), ["1", "2"]),
        ([0.1 + 0.2, 12.0], pa.float64(), ["0.3", "12.0"]),
        ([1234567.891, 2.0], pa.float64(), ["1,234,568", "2"]),
        ([float("nan"), float("inf"), None, 1.5], pa.float64(), ["nan", "inf", None, "1.5"]),
        ([1e-9], pa.float64(), ["1e-09"]),
        ([1e20], pa.float64(), ["1e+20"]),
        ([0.0, -0.0], pa.float64(), ["0", "-0"]),
        ([], pa.float64(), []),
        ([Decimal("1.50"), Decimal("2.00")], pa.decimal128(10, 2), ["1.50", "2.00"]),
        ([2013, None], pa.int64(), ["2013", None]),
        ([True, False], pa.bool_(), ["true", "false"]),
        ([date(2013, 1, 2)], pa.date32(), ["2013-01-02"]),
        ([b"\x00\xff"], pa.binary(), ["0x00ff"]),
        (["a\nb" + "x" * 80], pa.string(), ["a b" + "x" * 56 + "…"]),
        ([datetime(2013, 1, 2, tzinfo=UTC)], TIME, ["2013-01-02"]),
        (
            [datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 2, 3, tzinfo=UTC)],
            TIME,
            ["2013-01-02 00:00:00", "2013-01-02 03:00:00"],
        ),
    ],
)
def test_texts_of_a_column(values: Sequence[Any], kind: pa.DataType, texts: list[str | None]) -> None:
    assert column_texts(values, kind) == texts


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
        close=lambda: None,
        manifest_versions={"weather": 7},
        scanned=2,
        pruned=363,
        series=series,
    )


def shown(found: Answer, **options: Any) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=120), **options)
    return out.getvalue()


def hours(count: int) -> pa.Array:
    return pa.array([datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in range(count)], TIME)


def test_a_table_has_units_and_says_what_it_is_from_and_what_is_missing() -> None:
    schema = pa.schema([pa.field("time", TIME), pa.field("temp", pa.float64(), metadata={"unit": "degF"})])
    text = shown(answer(pa.table([hours(10), pa.array([float(n) for n in range(10)])], schema=schema)), rows=4)
    assert "degF" in text
    assert "2013-01-01 03:00:00     3" in text
    assert "04:00" not in text
    assert "4 of 10 rows shown; --format csv gives all · weather version 7 · 2 segments read, 363 pruned" in text


def test_buckets_of_time_have_a_sparkline_a_group_over_all_rows_and_other_answers_none() -> None:
    table = pa.table(
        {
            "time": pa.concat_arrays([hours(4), hours(4)]),
            "origin": ["a"] * 4 + ["b"] * 4,
            "temp": [1.0, 2, 3, 4, 4, 3, 2, 1],
            "same": [5] * 8,
        }
    )
    text = shown(answer(table, series=("time", "origin")), rows=1)
    assert "a temp  ▁▃▆█" in text
    assert "b temp  █▆▃▁" in text
    assert "same  " not in text.split("\n", 3)[3]
    assert "▁" not in shown(answer(table))


def test_no_rows() -> None:
    assert "0 rows · weather version 7" in shown(answer(pa.table({"a": pa.array([], pa.int64())})))

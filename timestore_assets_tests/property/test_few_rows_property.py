"""Few rows written by themselves read as DuckDB would write them."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from timestore_assets.querying.rendering import few_rows
from timestore_assets.querying.rendering.text_forms import RowTexts

ROWS = 3


def column(values: st.SearchStrategy[object], kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    return st.lists(st.none() | values, min_size=ROWS, max_size=ROWS).map(lambda some: pa.array(some, kind))


COLUMNS = st.one_of(
    column(st.integers(-(1 << 63), (1 << 63) - 1), pa.int64()),
    column(st.integers(0, (1 << 64) - 1), pa.uint64()),
    column(st.integers(-128, 127), pa.int8()),
    column(st.floats() | st.integers(-(10**6), 10**6).map(lambda value: value / 100), pa.float64()),
    column(st.floats(width=32), pa.float32()),
    column(st.text(), pa.string()),
    column(st.booleans(), pa.bool_()),
    column(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), pa.timestamp("us")),
    column(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), pa.timestamp("us", "UTC")),
    column(st.integers(-(1 << 63), (1 << 63) - 1), pa.int64()).map(lambda one: one.view(pa.timestamp("us"))),
    column(st.integers(0, 1 << 40), pa.int64()).map(lambda one: one.view(pa.timestamp("ns"))),
)


def texts(batch: pa.RecordBatch) -> list[str] | str:
    with closing(RowTexts(batch.schema, "json")) as rows:
        try:
            return rows.texts(batch)
        except Exception as error:  # what DuckDB can't write either
            return type(error).__name__


@given(columns=st.lists(COLUMNS, min_size=1, max_size=4), names=st.lists(st.text(min_size=1), min_size=4, max_size=4))
@example(columns=[pa.array([0.0, -0.0, 1e-4])], names=["a\x7f"] * 4)
@example(columns=[pa.array([1e15, 123456789012345.6, 1e16])], names=['"\\/\u2028'] * 4)
def test_few_rows_are_written_as_duckdb_writes_them(columns: list[pa.Array], names: list[str]) -> None:
    batch = pa.RecordBatch.from_arrays(columns, names=names[: len(columns)])
    found = texts(batch)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(few_rows, "MOST_VALUES", -1)
        assert found == texts(batch)


def test_plain_values_are_written_without_duckdb() -> None:
    times = pa.array([datetime(2024, 1, 2, 3, 4, 5, 600_000), None], pa.timestamp("us"))
    columns = [times, pa.array(['é"', None]), pa.array([1.5, None]), pa.array([True, None]), pa.array([1, None])]
    assert few_rows.few_rows(["ts", "a", "b", "c", "d"], columns, 2) == [
        '{"ts":"2024-01-02T03:04:05.6Z","a":"é\\"","b":1.5,"c":true,"d":1}',
        '{"ts":null,"a":null,"b":null,"c":null,"d":null}',
    ]


def test_a_value_that_duckdb_breaks_at_leaves_other_answers() -> None:
    broken = pa.record_batch({"ts": pa.array([-(1 << 63)], pa.int64()).view(pa.timestamp("us"))})
    with closing(RowTexts(broken.schema, "csv")) as rows, pytest.raises(duckdb.Error):
        rows.texts(broken)
    good = pa.record_batch({"a": [1]})
    with closing(RowTexts(good.schema, "csv")) as rows:
        assert rows.texts(good) == ["1"]

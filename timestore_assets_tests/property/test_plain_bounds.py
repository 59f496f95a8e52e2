"""Where the least and the greatest value say that a column keeps its bounds, pandera finds nothing either."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing import validate
from timestore_assets.landing.preparing.plain_bounds import surely_holds
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import parse_type
from timestore_assets_tests.support.landing_warehouse import dataset

INTEGERS = st.one_of(st.integers(-3, 3), st.integers(-(2**53) - 2, 2**53 + 2))
FLOATS = st.one_of(st.sampled_from([-1.5, -0.0, 0.0, 0.1, 3.0, math.nan, math.inf, float(2**53)]), st.floats())
NAMES = ("ge", "gt", "le", "lt")


def refused(column: Column, values: pa.ChunkedArray) -> int:
    """Rows that pandera refuses, asked whatever the bounds say."""
    row_mask = RowMask(len(values))
    made = dataset(column)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(validate, "surely_holds", lambda *_: False)
        Validator(made).refuse_invalid(pa.table({column.name: values}), row_mask)
    return len(values) - row_mask.good_rows


@settings(deadline=None, max_examples=40)
@given(data=st.data(), kind=st.sampled_from(["int32", "int64", "double"]))
@example(data=None, kind="int64")
def test_what_surely_holds_is_not_refused(data: Any, kind: str) -> None:
    if data is None:
        values, bounds = [2**53 + 1, None], {"ge": 2**53 + 1}
    else:
        numbers = FLOATS if kind == "double" else (INTEGERS if kind == "int64" else st.integers(-3, 3))
        values = data.draw(st.lists(st.none() | numbers, max_size=5))
        bound = (
            st.one_of(INTEGERS, FLOATS.filter(math.isfinite)) if kind == "double" else INTEGERS.filter(lambda n: abs(n) < 2**31)
        )
        bounds = data.draw(st.dictionaries(st.sampled_from(NAMES), bound, min_size=1, max_size=2))
    column = Column(name="x", type=parse_type(kind), nullable=True, checks=Checks(**bounds))
    array = pa.chunked_array([pa.array(values, arrow_type(column.type))])
    if surely_holds(column, array):
        assert refused(column, array) == 0
    elif all(isinstance(one, int) and abs(one) < 2**31 for one in (*bounds.values(), *(v for v in values if v is not None))):
        assert refused(column, array) > 0


def test_other_types_and_constraints_are_never_sure() -> None:
    texts = pa.chunked_array([pa.array(["a"])])
    assert not surely_holds(Column(name="x", type=parse_type("string"), checks=Checks(min_length=1)), texts)
    numbers = pa.chunked_array([pa.array([1])])
    assert not surely_holds(Column(name="x", type=parse_type("int64"), checks=Checks(ge=0, isin=(1,))), numbers)
    assert surely_holds(Column(name="x", type=parse_type("int64"), checks=Checks(ge=0, lt=2)), numbers)


def test_a_batch_within_its_bounds_does_not_ask_pandera(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column(name="x", type=parse_type("double"), nullable=True, checks=Checks(ge=0, le=1.5))
    validator = Validator(dataset(column))
    monkeypatch.setattr(Validator, "_run", None)
    validator.refuse_invalid(pa.table({"x": pa.array([0.0, None, 1.5])}), RowMask(3))
    with pytest.raises(TypeError):
        validator.refuse_invalid(pa.table({"x": pa.array([0.0, None, 1.6])}), RowMask(3))

"""Bounds of numbers that hold for a whole column, told by its least and greatest value.

Most batches break no constraint. Pandera says so too, in ten times the time and with the interpreter's lock, so it is asked only
where this is not sure: another type, another constraint, or a value out of bounds, of whatever row.
"""

from __future__ import annotations

import operator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.model.schema import Column

_EXACT = 2**53
"""Integers up to so many are floats of the same value."""
_LEAST = {"ge": operator.ge, "gt": operator.gt}
_GREATEST = {"le": operator.le, "lt": operator.lt}
_OTHERS = ("isin", "matches", "min_length", "max_length")


def surely_holds(column: Column, values: pa.ChunkedArray) -> bool:
    """Whether no value breaks a constraint of the column; False also where that is not known.

    `values`: of the column's type, null where there is none.
    """
    checks = column.checks
    is_float = column.type.kind == "double"
    if not (is_float or column.type.kind in ("int32", "int64")) or any(getattr(checks, name) is not None for name in _OTHERS):
        return False
    if is_float and pc.all(pc.is_finite(values)).as_py() is False:
        return False
    found = pc.min_max(values)
    least, greatest = found["min"].as_py(), found["max"].as_py()
    return least is None or (
        _are_within(least, _LEAST, checks, is_float=is_float) and _are_within(greatest, _GREATEST, checks, is_float=is_float)
    )


def _are_within(value: Any, comparisons: dict[str, Any], checks: Any, *, is_float: bool) -> bool:
    for name, holds in comparisons.items():
        bound = getattr(checks, name)
        if bound is not None and not (_is_exact(bound, is_float=is_float) and holds(value, bound)):
            return False
    return True


def _is_exact(bound: Any, *, is_float: bool) -> bool:
    """Whether a comparison with it says the same here as after a conversion to the column's type."""
    if isinstance(bound, bool):
        return False
    if is_float:
        return isinstance(bound, float) or (isinstance(bound, int) and abs(bound) <= _EXACT)
    return isinstance(bound, int)

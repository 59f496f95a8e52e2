"""Nested Arrow columns as DuckDB can hold them: units inside brought to its own, and what would stop it as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.decoding.arrow_units import (
    FIRST,
    LAST,
    MICROS,
    MOST,
    Mask,
    beyond,
    counts_of,
    each_chunk,
    interval_texts,
    microseconds,
    no_interval,
    no_time_of_day,
    out_of_range_texts,
    resolved,
)
from timestore_assets.sources.arrow_json import json_texts

KEPT_EXTENSIONS = ("arrow.uuid", "arrow.json", "arrow.bool8")


def plain_nested(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if _has_strange_type(values.type):
        return each_chunk(values, lambda chunk: pa.array(nested_texts(chunk), pa.string()), pa.string())
    if _has_foreign_units(values.type):
        values = _in_own_units(values)
    if not _may_be_odd(values.type):
        return values
    odd = [_odd_rows(chunk) for chunk in values.chunks]
    if not any(mask.any() for mask in odd):
        return values
    return with_texts(values, pa.chunked_array([pa.array(mask) for mask in odd], pa.bool_()))


def _in_own_units(values: pa.ChunkedArray) -> pa.ChunkedArray:
    chunks = values.chunks or [pa.array([], values.type)]
    try:
        return pa.chunked_array([_inside(chunk, far=False) for chunk in chunks])
    except _FarTimeError:
        return pa.chunked_array([_inside(chunk, far=True) for chunk in chunks])


class _FarTimeError(Exception):
    """An instant inside a list or struct lies outside the years 1 to 9999."""


def _has_foreign_units(kind: pa.DataType) -> bool:
    """Whether a type holds, at any depth, what `_inside` may turn into something else."""
    if pt.is_struct(kind):
        return any(_has_foreign_units(field.type) for field in kind)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _has_foreign_units(kind.value_type)
    return bool(pt.is_timestamp(kind) or pt.is_date64(kind) or pt.is_duration(kind) or kind == pa.float16())


def _inside(values: Any, *, far: bool) -> Any:
    """An array with `plain_arrow`'s units at any depth; instants keep their zone, which their text will need.

    `far`: instants become texts, as DuckDB can't write those outside its calendar.
    """
    kind = values.type
    if not _has_foreign_units(kind):
        return values
    if pt.is_date64(kind):
        # not as dates: every chunk has to come out with the same type
        values = values.cast(pa.int64()).cast(pa.timestamp("ms"))
    if pt.is_timestamp(values.type):
        return _instants(values, far=far)
    if pt.is_duration(kind):
        return interval_texts(values)
    if kind == pa.float16():
        return values.cast(pa.float32())
    if pt.is_struct(kind):
        fields = [_inside(field, far=far) for field in values.flatten()]
        named = [field.with_type(array.type) for field, array in zip(kind, fields, strict=True)]
        return pa.StructArray.from_arrays(fields, fields=named, mask=values.is_null())
    return _list(values, far=far)


def _instants(values: Any, *, far: bool) -> Any:
    if far:
        texts = out_of_range_texts(values)
        return texts if values.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")
    micros = microseconds(values, values.type.unit)
    ends = pc.min_max(micros.cast(pa.int64()))
    if ends["min"].is_valid and not FIRST <= ends["min"].as_py() <= ends["max"].as_py() <= LAST:
        raise _FarTimeError
    return micros


def _list(values: Any, *, far: bool) -> Any:
    items = _inside(values.flatten(), far=far)
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    return pa.LargeListArray.from_arrays(offsets, items, mask=values.is_null())


def nested_texts(values: pa.Array[Any] | pa.ChunkedArray) -> list[str | None]:
    """Each value as JSON text, None for null."""
    valid = pc.is_valid(values).to_pylist()
    return [text if here else None for text, here in zip(json_texts(values), valid, strict=True)]


def with_texts(
    values: pa.ChunkedArray,
    odd: pa.ChunkedArray,
    form: str = "CAST(to_json(v) AS VARCHAR)",
    fitting: Callable[[pa.ChunkedArray], pa.ChunkedArray] = lambda values: values,
) -> pa.ChunkedArray:
    """All values as the text that DuckDB makes of them, but for odd ones, which would stop it.

    `form`: SQL for the text of a value `v`. `fitting`: makes of the others what DuckDB reads.
    """
    import duckdb

    places = np.flatnonzero(odd.to_numpy())
    plain = np.flatnonzero(~odd.to_numpy())
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute("SET TimeZone='UTC'")
        con.register("plain", pa.table({"v": fitting(values.take(pa.array(plain)))}))
        known = con.sql(f"SELECT {form} AS t FROM plain").to_arrow_table().column(0).cast(pa.string())
    others: list[str | None] = nested_texts(values.take(pa.array(places)))
    if not pt.is_nested(values.type):
        others = [None if text is None else text.strip('"').removesuffix("+00:00") for text in others]
    texts = pa.chunked_array([*known.chunks, pa.array(others, pa.string())], pa.string())
    order = np.empty(len(values), np.int64)
    order[np.concatenate([plain, places])] = np.arange(len(values))
    return texts.take(pa.array(order))


def _children(kind: pa.DataType) -> list[pa.DataType]:
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return [kind.value_type]
    return [kind.field(place).type for place in range(kind.num_fields)] if pt.is_nested(kind) else []


def _has_strange_type(kind: pa.DataType) -> bool:
    """Whether DuckDB refuses a nested type, or can't give all its values as text, or Arrow can't take rows of it."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name not in KEPT_EXTENSIONS
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return True
    if pt.is_decimal256(kind) or kind == pa.float16() or (pt.is_union(kind) and kind.mode == "dense"):
        return True
    if pt.is_fixed_size_list(kind) and not kind.list_size:
        return True
    if pt.is_struct(kind):
        names = [field.name.casefold() for field in kind]
        if len(set(names)) < len(names):
            return True
    return any(_has_strange_type(child) for child in _children(kind))


def _may_be_odd(kind: pa.DataType) -> bool:
    if pt.is_map(kind) or pt.is_time(kind) or pt.is_duration(kind):
        return True
    if pt.is_timestamp(kind) and kind.tz is not None and kind.unit in MICROS:
        return True
    return any(_may_be_odd(child) for child in _children(kind))


def _odd_rows(values: Any) -> Mask:
    """Which values hold something inside that stops DuckDB."""
    kind = values.type
    none = np.zeros(len(values), bool)
    if not _may_be_odd(kind) or values.null_count == len(values):
        return none
    if pt.is_time(kind):
        return no_time_of_day(values)
    if pt.is_duration(kind):
        return no_interval(values)
    if pt.is_timestamp(kind):
        return beyond(counts_of(values), MOST // MICROS[kind.unit] - 1)
    if pt.is_struct(kind):
        valid = pc.is_valid(values).to_numpy(zero_copy_only=False)
        inside = [_odd_rows(values.field(place)) for place in range(kind.num_fields)]
        return np.asarray(valid & np.logical_or.reduce([none, *inside]), bool)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _odd_rows(resolved(pa.chunked_array([values])).combine_chunks())
    return _odd_lists(values)


def _odd_lists(values: Any) -> Mask:
    odd = np.zeros(len(values), bool)
    flat = _entries(values)
    if flat is None:
        # of views and unions each is looked at by itself
        for row, one in enumerate(values):
            inside = one.values if hasattr(one, "values") else pa.array([one.value]) if one.is_valid else None
            odd[row] = bool(one.is_valid and inside is not None and _odd_rows(inside).any())
        return odd
    owners, entries = flat
    wrong = _odd_rows(entries)
    if pt.is_map(values.type):
        wrong = wrong | _repeated(owners, entries.field(0))
    odd[owners[wrong]] = True
    return odd


def _entries(values: Any) -> tuple[npt.NDArray[np.int64], Any] | None:
    """All entries of lists or maps, and of which each is; None for what is neither."""
    kind = values.type
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_map(kind) or pt.is_fixed_size_list(kind)):
        return None
    if pt.is_map(kind):
        values = values.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    owners = pc.list_parent_indices(values).to_numpy().astype(np.int64)
    return owners, pc.list_flatten(values)


def _repeated(owners: npt.NDArray[np.int64], keys: Any) -> Mask:
    """Which entries of maps have a key that an earlier one of the same map has."""
    again = np.zeros(len(owners), bool)
    if len(owners) < 2 or not (owners[1:] == owners[:-1]).any():
        return again
    if pt.is_nested(keys.type) or isinstance(keys.type, pa.BaseExtensionType):
        keys = pa.array(json_texts(keys))
    codes = pc.dictionary_encode(keys).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    both = owners * (int(codes.max()) + 1) + codes
    order = np.argsort(both, kind="stable")
    again[order[1:]] = both[order[1:]] == both[order[:-1]]
    return again

"""Columns whose values are inside Arrow columns: members of structs, entries of maps, elements of lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.decoding.arrow_units import each_chunk, resolved
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.field_path import FieldPath, path_text


def inside(values: pa.ChunkedArray, path: FieldPath) -> pa.ChunkedArray | None:
    """The values that a path leads to from its root's column on, null where it ends before; None when the type has none.

    Raises:
        BadFileError: `no_such_field`, the type of a column on the way has no members, no elements, or a member twice.
    """
    for depth, step in enumerate(path.steps[1:], 1):
        values = _plain(values)
        kind = values.type
        if isinstance(step, int) and (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
            values = _each(values, step, kind.value_type)
        elif isinstance(step, str) and pt.is_struct(kind):
            places = kind.get_all_field_indices(step)
            if len(places) > 1:
                raise _dead_end(path, depth, f"has {step!r} more than once")
            if not places:
                return None
            values = pc.struct_field(values, [places[0]])
        elif isinstance(step, str) and pt.is_map(kind) and _is_text(kind.key_type):
            values = pc.map_lookup(values, pa.scalar(step, kind.key_type), "first")
        elif pt.is_null(kind):
            return None
        else:
            raise _dead_end(path, depth, f"is {kind}, which has no {'elements' if isinstance(step, int) else 'members'}")
    return values


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values without encodings around them."""
    kind = values.type
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _plain(resolved(values))
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(each_chunk(values, lambda chunk: chunk.storage, kind.storage_type))
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind))


def _each(values: pa.ChunkedArray, place: int, kind: pa.DataType) -> pa.ChunkedArray:
    return each_chunk(values, lambda chunk: _element(chunk, place), kind)


def _element(lists: Any, place: int) -> Any:
    """The element at a place of each list, null where a list is shorter or null."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    # flattened lists hold the elements of those that aren't null, one behind the other
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    there = lengths > place
    return lists.flatten().take(pa.array(starts + place, pa.int64(), mask=~there))


def _dead_end(path: FieldPath, depth: int, what: str) -> BadFileError:
    where = path_text(path.steps[:depth])
    return BadFileError(
        "no_such_field", f"column {path.column!r} is at {path.text}, and {where} {what}; change `from` or `fields`"
    )

"""Columns of Arrow data that came from outside, before anything reads them: Arrow follows offsets without looking at them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt


def check_offsets(column: pa.Array) -> None:
    """Refuse lengths, offsets and indices that point outside their buffers: what reads them would end the process.

    Raises:
        ArrowInvalid: there are such.
    """
    column.validate(full=False)
    if pt.is_primitive(column.type):
        return  # without offsets; a time of day beyond a day is the business of its row too
    # text that isn't UTF-8 is the business of its row, so its bytes are looked at without their meaning
    bytes_alone = _as_bytes(column.type)
    (column if bytes_alone == column.type else column.view(bytes_alone)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes for its texts, at any depth of the kinds of lists, structs and dictionaries that can be seen so."""
    if pt.is_string(kind):
        return pa.binary()
    if pt.is_large_string(kind):
        return pa.large_binary()
    if pt.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pt.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pt.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pt.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), ordered=kind.ordered)
    return kind

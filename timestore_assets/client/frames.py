"""Frames of the libraries that a program may use, as Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

LIBRARIES = ("pyarrow", "polars", "pandas")


def is_frame(data: Any) -> bool:
    """Whether it is of one of the libraries and holds rows, or a column, of Arrow data. None of them is imported for that."""
    return _library(data) in LIBRARIES and (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"))


def batches_of(frame: Any) -> Iterator[pa.RecordBatch]:
    """Its rows in order; of a pandas frame's index only those levels that have a name.

    Raises:
        InputError: it is a column, or lazy.
    """
    import pyarrow as pa

    if isinstance(frame, pa.RecordBatch):
        yield frame
    elif isinstance(frame, pa.RecordBatchReader):
        yield from frame
    else:
        yield from _table(frame).to_batches()


def _table(frame: Any) -> pa.Table:
    import pyarrow as pa

    library = _library(frame)
    if isinstance(frame, pa.Table):
        return frame
    if library == "polars" and hasattr(frame, "to_arrow") and hasattr(frame, "columns"):
        return _of_polars(frame)
    if library == "pandas" and hasattr(frame, "columns"):
        named = [level for level in frame.index.names if level is not None]
        flat = frame.reset_index(level=named) if named else frame
        return pa.Table.from_pandas(flat, preserve_index=False).replace_schema_metadata(None)
    kind = f"{library}'s {type(frame).__name__}"
    raise InputError(f"{kind} can't be ingested; collect a lazy frame, and put a column into a table under its name")


def _of_polars(frame: Any) -> pa.Table:
    """With types that every Arrow reader knows."""
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _library(data: Any) -> str:
    return type(data).__module__.partition(".")[0]

"""Rows that no partition takes: too long, without a time or a value, outside the dataset's time, expired, or too late."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.instants import EPOCH
from timestore_assets.catalog.records import LateRows
from timestore_assets.decoding.coerce_columns import quoted
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Window, format_time
from timestore_assets.segments.partition_rows import window_numbers


def refuse_over_long(values: pa.ChunkedArray, row_mask: RowMask, *, limit: int) -> None:
    """Refuse documents of more bytes than the source allows (`too_long`)."""
    lengths = pc.binary_length(values)
    longest = pc.max(lengths).as_py()
    if longest is not None and longest > limit:
        rows = np.flatnonzero(pc.fill_null(pc.greater(lengths, limit), False).to_numpy())
        row_mask.refuse(rows, code="too_long", reason=f"the record has more than {limit:,} bytes")


def refuse_missing(table: pa.Table, dataset: Dataset, row_mask: RowMask) -> None:
    """Refuse rows without a time (`missing_time`) or without a value that the declaration requires (`missing_value`)."""
    for column in dataset.schema:
        if column.nullable or column.name not in table.column_names:
            continue
        values = table.column(column.name)
        if values.null_count:
            code = "missing_time" if column.name == dataset.time else "missing_value"
            rows = np.flatnonzero(pc.is_null(values).to_numpy())
            row_mask.refuse(rows, code=code, column=column.name, reason=f"column {column.name} is required and has no value")


def refuse_out_of_range(
    con: duckdb.DuckDBPyConnection, table: pa.Table, dataset: Dataset, row_mask: RowMask, *, now: datetime
) -> None:
    """Refuse rows before the dataset's start or from its upper bound on (`out_of_range`)."""
    times = table.column(dataset.time)
    lower, upper = _naive(dataset.start), _naive(dataset.upper_bound(now))
    ends = pc.min_max(times)
    first, last = ends["min"], ends["max"]
    if not first.is_valid or (pc.greater_equal(first, lower).as_py() and pc.less(last, upper).as_py()):
        return
    outside = pc.or_(pc.less(times, lower), pc.greater_equal(times, upper))
    rows = np.flatnonzero(pc.fill_null(outside, False).to_numpy())
    bounds = f"{format_time(dataset.start)} up to {format_time(dataset.upper_bound(now))}"
    ending = f" in column {dataset.time} is not in the dataset's time, {bounds}"
    row_mask.refuse(rows, code="out_of_range", column=dataset.time, reason=quoted(con, times.take(pa.array(rows)), ending))


def refuse_expired(
    con: duckdb.DuckDBPyConnection, table: pa.Table, dataset: Dataset, row_mask: RowMask, *, starts: Collection[datetime]
) -> None:
    """Refuse rows of partitions that have expired (`expired`). `starts`: of those."""
    if not starts or not table.num_rows:
        return
    times = table.column(dataset.time)
    first = np.array(sorted(_micros(start) for start in starts))
    end = np.array([_micros(dataset.window.after(start)) for start in sorted(starts)])
    values = pc.fill_null(times.cast(pa.timestamp("us")).cast(pa.int64()), int(first[0]) - 1).to_numpy()
    which = np.searchsorted(first, values, side="right") - 1
    rows = np.flatnonzero((which >= 0) & (values < end[which]))
    if len(rows):
        ending = f" in column {dataset.time} lies in a partition that has expired; `timestore retention` says which have"
        reason = quoted(con, times.take(pa.array(rows)), ending)
        row_mask.refuse(rows, code="expired", column=dataset.time, reason=reason)


def _micros(time: datetime) -> int:
    return (time.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _naive(time: datetime) -> pa.Scalar:
    return pa.scalar(time.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))


LATE = "late"
"""Reason code of records that the dataset's `late.policy` drops or holds."""


def closed_before(dataset: Dataset, watermark: datetime | None) -> datetime | None:
    """Start of the first partition that is still open: the watermark has not passed its end and `late.allowed`."""
    return None if watermark is None else dataset.window.start_of(watermark - dataset.late.allowed)


def refuse_late(table: pa.Table, dataset: Dataset, row_mask: RowMask, *, before: datetime | None) -> tuple[LateRows, ...]:
    """Keep back good rows of closed partitions (`late`), unless the policy is to correct those partitions.

    `before`: as `closed_before` gives it; None when nothing is closed. Returns how many are kept back of which partitions.
    """
    if before is None or dataset.late.policy == "correct":
        return ()
    border = pa.scalar(before.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))
    late = pc.fill_null(pc.less(table.column(dataset.time), border), False).to_numpy()
    verb = "dropped" if dataset.late.policy == "drop" else "held"
    reason = f"its partition was closed by the watermark, which has passed {format_time(before)}; late records are {verb}"
    rows = np.flatnonzero(late & row_mask.good())
    row_mask.refuse(rows, code=LATE, column=dataset.time, reason=reason)
    return _by_partition(table.column(dataset.time).take(pa.array(rows)), dataset.window) if len(rows) else ()


def _by_partition(times: pa.ChunkedArray, window: Window) -> tuple[LateRows, ...]:
    instants = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    _, firsts, numbers = np.unique(window_numbers(instants, window), return_index=True, return_counts=True)
    starts = (window.start_of(EPOCH + timedelta(microseconds=int(instants[first]))) for first in firsts)
    return tuple(LateRows(start=start, rows=int(rows)) for start, rows in zip(starts, numbers, strict=True))

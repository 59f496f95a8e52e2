"""Rows as InfluxDB's line protocol, which VictoriaMetrics reads too."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.suite.cpu_queries import TAGS, VALUES


def lines_of(batch: pa.RecordBatch, *, divisor: int = 1) -> bytes:
    """A line for each row: tags, whole numbers, and the time in microseconds, or in what is so many of them."""
    tags = pc.binary_join_element_wise(*(_named(batch, tag, "") for tag in TAGS), ",")
    values = pc.binary_join_element_wise(*(_named(batch, value, "i") for value in VALUES), ",")
    times = pc.divide(batch.column("time").cast(pa.timestamp("us")).cast(pa.int64()), divisor).cast(pa.string())
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise("cpu", tags, ","), values, times, " ")
    return "\n".join(lines.to_pylist()).encode()


def _named(batch: pa.RecordBatch, name: str, unit: str) -> pa.Array:
    return pc.binary_join_element_wise(f"{name}=", batch.column(name).cast(pa.string()), unit, "")

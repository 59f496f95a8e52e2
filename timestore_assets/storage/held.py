"""Segments that are held in memory: rows that a query reads beside the files of a manifest, and that nothing stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

import duckdb
import pyarrow as pa

from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment

HELD_VERSION = 0
"""Schema version of a held segment: none of the catalog's, whose count from 1; `written` says what the rows look like."""
_numbers = count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldSegment(Segment):
    """A delta in memory. `table`: its rows, columns as `stored_arrow_schema(written)` says. `id` is below zero."""

    table: pa.Table
    written: Schema


@contextmanager
def registered(con: duckdb.DuckDBPyConnection, segments: Sequence[HeldSegment]) -> Iterator[list[str]]:
    """Names under which a connection reads the rows of the segments, in their order, inside the `with`."""
    with ExitStack() as stack:
        names = []
        for segment in segments:
            name = f"held_{next(_numbers)}"
            con.register(name, segment.table)
            stack.callback(con.unregister, name)
            names.append(name)
        yield names

"""Which file format a sealed segment gets."""

from __future__ import annotations

from typing import Literal

from timestore_assets.model.segment import SegmentFormat

DUCKDB_FROM_ROWS = 1_000_000
"""Rows from which on `auto` writes `.duckdb`: attaching costs about as much as it saves on smaller files (DESIGN §7)."""


def sealed_format(policy: Literal["auto", "duckdb", "parquet"], *, rows: int) -> SegmentFormat:
    """The format of a sealed segment with that many rows."""
    if policy != "auto":
        return policy
    return "duckdb" if rows >= DUCKDB_FROM_ROWS else "parquet"

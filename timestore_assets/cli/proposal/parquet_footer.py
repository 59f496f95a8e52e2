"""What the footer of a Parquet file says of all its rows, without reading them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """`rows`: of the file. `ranges`: smallest and largest value of columns of times whose row groups all say them."""

    rows: int
    ranges: dict[str, tuple[datetime, datetime]]


def footer_of(path: Path) -> Footer:
    """Read the footer of a Parquet file that can be read."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        names = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
        ranges = {name: found for place, name in enumerate(names) if (found := _range(metadata, place))}
        return Footer(rows=metadata.num_rows, ranges=ranges)


def _range(metadata: Any, place: int) -> tuple[datetime, datetime] | None:
    low: list[datetime] = []
    high: list[datetime] = []
    for group in range(metadata.num_row_groups):
        if not metadata.row_group(group).num_rows:
            continue
        try:
            statistics = metadata.row_group(group).column(place).statistics
            found = (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else ()
        except (OverflowError, ValueError):  # of times that Python has none for
            return None
        if len(found) != 2 or not all(isinstance(bound, datetime) for bound in found):
            return None
        low.append(_aware(found[0]))
        high.append(_aware(found[1]))
    return (min(low), max(high)) if low else None


def _aware(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)

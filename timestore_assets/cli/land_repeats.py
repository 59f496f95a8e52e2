"""Rows that `land` has brought a second time, as a file does that was exported again; told where looking is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.types import literal, quote
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from timestore_assets.landing.files.land_report import LandReport
    from timestore_assets.warehouse import Warehouse

MOST_ROWS = 1_000_000
"""Rows of the partitions that were landed in; of more nothing is said, since all of them are read."""


def repeated_rows(warehouse: Warehouse, report: LandReport) -> int:
    """How many rows of the partitions that were landed in have the same values as another one there.

    0 where keys decide what is the same record, where nothing was there before, and where looking would take long.
    """
    dataset, record = warehouse.resolve(report.dataset)
    if dataset.dedupe is not None or not report.counters.landed:
        return 0
    touched = [found for found in warehouse.partitions(dataset.name) if found.partition.key in set(report.partitions)]
    rows = sum(found.rows for found in touched)
    if not report.counters.landed < rows <= MOST_ROWS:
        return 0
    names = ", ".join(quote(column.name) for column in record.schema)
    first, last = min(found.partition.start for found in touched), max(found.partition.end for found in touched)
    times = f"{quote(dataset.time)} >= {literal(format_time(first))} AND {quote(dataset.time)} < {literal(format_time(last))}"
    groups = f"SELECT count(*) AS n FROM {quote(dataset.name)} WHERE {times} GROUP BY {names}"
    try:
        with warehouse.sql(f"SELECT coalesce(sum(n - 1), 0) FROM ({groups})") as answer:
            return int(answer.table().column(0)[0].as_py())
    except TimestoreError:  # nothing has failed but a courtesy
        return 0

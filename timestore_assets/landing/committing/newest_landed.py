"""The newest time of every key among what has landed from source partitions: where records in order go on from.

It is read from the rows that are shown now, and from those of the same source partitions that wait for their replacement to be
complete. Two columns and the key of all segments that hold some are read, in bounded memory but for the result: 60 bytes or so
for each key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.landing.preparing.key_order import key_columns, key_names
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import POSITION_COLUMN, SOURCE_COLUMN
from timestore_assets.model.types import quote
from timestore_assets.segments.engine import disk_failures
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.segments.reader import opened


@dataclass(frozen=True, kw_only=True, slots=True)
class LandedRows:
    """Rows of a source partition that come before what is to be judged. `below`: only those of positions below it."""

    source: int
    stands_for: int
    """The source partition whose order they are part of: what was read again stands for what it was read from."""
    below: int | None = None


def itself(source: int) -> LandedRows:
    """All that has landed from a source partition, as what comes before the rest of it."""
    return LandedRows(source=source, stands_for=source)


def newest_landed(
    con: duckdb.DuckDBPyConnection, context: WriteContext, record: DatasetRecord, dataset: Dataset, landed: Sequence[LandedRows]
) -> pa.Table:
    """A table of `NewestTimes`.

    `record`, `dataset`: as the catalog has them.

    Raises:
        UnavailableError: a segment is missing, or memory is. DamagedError, BadFileError: one can't be read.
    """
    every = ", ".join(["source", *key_names(len(dataset.order_keys))])
    with (
        disk_failures("reading the newest time of each key", context.limits.temp_dir),
        landed_rows(con, context, record, dataset, landed) as rows,
    ):
        return con.sql(f"SELECT {every}, max(instant) AS newest FROM {rows} GROUP BY ALL").to_arrow_table()


@contextmanager
def landed_rows(
    con: duckdb.DuckDBPyConnection, context: WriteContext, record: DatasetRecord, dataset: Dataset, landed: Sequence[LandedRows]
) -> Iterator[str]:
    """The rows as a SQL table expression, valid inside the `with`.

    Its columns are the `source` that they stand for, `position`, those of the key, and `instant`, as in `Arrivals`.
    """
    catalog, columns = context.catalog, key_columns(dataset, record.schema)
    sources = {one.source for one in landed}
    with SnapshotPin(catalog, record.id, version=None, holder=context.holder) as pin:
        shown = catalog.manifest.segments(record.id, version=pin.version, with_stats=False)
        waiting = catalog.manifest.waiting(record.id, sorted(sources))
        with opened(
            con,
            [one for one in (*shown, *waiting) if not one.source_ids or not sources.isdisjoint(one.source_ids)],
            storage=context.storage,
            schema=record.schema,
            schema_of=lambda version: catalog.datasets.schema(record.id, version),
            retracted=catalog.manifest.retracted(record.id, version=pin.version),
            columns=list(dict.fromkeys([*(one.name for one in columns), dataset.time])),
            stored=True,
        ) as rows:
            keys = [f"r.{quote(one.name)} AS {name}" for one, name in zip(columns, key_names(len(columns)), strict=True)]
            own = ", ".join(["m.stands_for AS source", f"r.{POSITION_COLUMN} AS position", *keys])
            within = f"r.{SOURCE_COLUMN} = m.source AND (m.below IS NULL OR r.{POSITION_COLUMN} < m.below)"
            asked = f"r.{SOURCE_COLUMN} IN ({', '.join(map(str, sorted(sources)))})" if sources else "false"
            yield (
                f"(SELECT {own}, epoch_us(r.{quote(dataset.time)}) AS instant FROM {rows} r JOIN {_listed(landed)} "
                f"ON ({within}) WHERE {asked})"
            )


def _listed(landed: Sequence[LandedRows]) -> str:
    rows = [f"({one.source}, {one.stands_for}, {'NULL' if one.below is None else one.below}::BIGINT)" for one in landed]
    return f"(VALUES {', '.join(rows or ['(NULL, NULL, NULL)'])}) AS m(source, stands_for, below)"

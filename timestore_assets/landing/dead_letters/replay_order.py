"""What dead letters are replayed behind, where records have to be in order: each is judged at the place that it came at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.committing.newest_landed import LandedRows, itself, landed_rows
from timestore_assets.landing.preparing.key_order import Arrivals, NewestTimes, OrderStep, registered, same_key
from timestore_assets.model.dataset import Dataset
from timestore_assets.segments.publishing import WriteContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacesAmongLanded:
    """The places of records among those of their source partitions that have landed, see `ArrivalOrder`.

    A record that is in order there lands, though later ones have landed since; one that is not is refused as it was before.
    """

    context: WriteContext
    record: DatasetRecord
    dataset: Dataset
    pieces: NewestTimes
    """Of the pieces before this one of the same file, which is in the order of places."""

    def behind(self, con: duckdb.DuckDBPyConnection, arrivals: Arrivals) -> tuple[pa.Table, OrderStep | None]:
        """See `ArrivalOrder`."""
        names, newer = arrivals.names, arrivals.by_key().newest
        landed = self._landed(pc.unique(arrivals.rows.column("source")).to_pylist())
        with (
            registered(con, [arrivals.rows, newer, *self.pieces.tables]) as [arrived, keys, *pieces],
            landed_rows(con, self.context, self.record, self.dataset, landed) as rows,
        ):
            found = con.sql(_placed(arrived, keys, pieces, rows, names)).to_arrow_table()
        return found, OrderStep(before=self.pieces, after=self.pieces.with_newer(con, newer))

    def _landed(self, sources: list[int]) -> list[LandedRows]:
        again = self.context.catalog.reloads.standing_for(sources)
        return [*map(itself, sources), *(LandedRows(source=one, stands_for=base) for one, base in again.items())]


def _placed(arrived: str, keys: str, pieces: Sequence[str], landed: str, names: Sequence[str]) -> str:
    """The rows that arrived whose time lies before the newest at a lower place. `keys`: theirs."""
    every = ", ".join(names)
    parts = [
        f"SELECT row, {every}, position, instant FROM {arrived}",
        *(f"SELECT NULL, {every}, -1, newest FROM {piece}" for piece in pieces),
        f"SELECT NULL, {every}, position, instant FROM {landed} l SEMI JOIN {keys} k ON ({same_key('l', 'k', names)})",
    ]
    until = f"PARTITION BY {every} ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    placed = f"SELECT row, instant, max(instant) OVER ({until}) AS newest FROM ({' UNION ALL '.join(parts)})"
    return f"SELECT row, instant, newest FROM ({placed}) WHERE row IS NOT NULL AND instant < newest"

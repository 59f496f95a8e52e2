"""Gives a person's own asset the rows of a dataset's partitions, in the kind of frame it annotates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from timestore_assets.extras import extra
from timestore_assets.querying.rendering.frames import FrameSelection, arrow_table, relation
from timestore_assets.segments.engine import connect

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.model.dataset import Dataset
    from timestore_assets.querying.reading.querier import Querier
    from timestore_assets.segments.engine import EngineLimits

Span = tuple[datetime | None, datetime | None]
ALL: Span = (None, None)


def spans(windows: Iterable[tuple[datetime, datetime]]) -> Iterator[Span]:
    """Partitions' times, those that follow each other as one."""
    first: datetime | None = None
    last: datetime | None = None
    for start, end in sorted(windows):
        if last is not None and start != last:
            yield first, last
            first = None
        first, last = first or start, end
    if last is not None:
        yield first, last


def load(
    querier: Querier,
    limits: EngineLimits,
    dataset: Dataset,
    record: DatasetRecord,
    wanted: Sequence[Span],
    kind: object,
    *,
    stack: ExitStack,
) -> Any:
    """The rows within the wanted times as `kind`, of one version; whatever has to stay open for them is closed with `stack`."""
    wanted = wanted or [(dataset.start, dataset.start)]  # no partition: a frame with the columns and no rows
    claim = querier.claim(record)
    stack.callback(claim.release)
    dataset, record = querier.in_force(dataset, record, claim.version)
    chosen: list[FrameSelection] = [{"start": start, "end": end, "as_of": claim.version} for start, end in wanted]
    if kind is pa.Table:
        return pa.concat_tables([arrow_table(querier, dataset, record, **one) for one in chosen])
    if kind is duckdb.DuckDBPyRelation:
        connection = stack.enter_context(connect(limits))
        return _union([stack.enter_context(relation(connection, querier, dataset, record, **one)) for one in chosen])
    with extra("checks"):
        import polars as pl

        from timestore_assets.querying.rendering.polars_frames import polars_frame

    frame = pl.concat([polars_frame(querier, dataset, record, **one) for one in chosen])
    return frame.collect() if kind is pl.DataFrame else frame


def _union(relations: Sequence[duckdb.DuckDBPyRelation]) -> duckdb.DuckDBPyRelation:
    whole = relations[0]
    for other in relations[1:]:
        whole = whole.union(other)
    return whole

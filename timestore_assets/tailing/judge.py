"""Records as landing will see them, judged by its own steps as soon as they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.preparing.evolve import columns_left
from timestore_assets.landing.preparing.prepare import Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.landing.topics.topic_batch import newest_times
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.schema import POSITION_COLUMN, SESSION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.segments.engine import Engine, EngineLimits, disk_failures
from timestore_assets.sources.batches import Batch
from timestore_assets.tailing.buffered_rows import RowBlock

LATEST_SESSION = 1 << 62
"""`__session` of rows that are not landed: above that of any session, so that they count as the last to arrive."""
_LARGEST_MEMORY = 256_000_000


class Judge:
    """Judges the records of one source; belongs to one thread.

    Undeclared columns are kept as evolution would add them, but the catalog is not told: a query shows those that the catalog's
    schema has by then. What is late is left in, since the watermark that decides on it is only known when it lands.
    """

    def __init__(
        self,
        catalog: Catalog,
        record: DatasetRecord,
        dataset: Dataset,
        source: KafkaSource,
        limits: EngineLimits,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalog, self._dataset_id, self._declared, self._source = catalog, record.id, dataset, source
        self._limits = replace(limits, threads=1, memory_bytes=min(limits.memory_bytes, _LARGEST_MEMORY))
        # of a small batch it takes longer to optimise the statements than to run them
        self._engine = Engine(self._limits, setup=["PRAGMA disable_optimizer"])
        self._dataset = effective(dataset, record)
        self._validator = Validator(self._dataset)
        self._clock = clock
        self._schema = self._stored = record.schema
        self._form = self._dataset.form_of(source)

    def adopt(self, record: DatasetRecord) -> None:
        """Go on with the catalog's columns when they have changed; what evolved here only may never land like that."""
        dataset = effective(self._declared, record)
        if dataset != self._dataset:
            self._dataset, self._validator = dataset, Validator(dataset)
        if record.schema.version != self._stored.version or record.schema != self._stored:
            self._schema = self._stored = record.schema
            self._form = dataset.form_of(self._source)

    def judge(self, batch: Batch) -> tuple[RowBlock, Mapping[int, datetime]]:
        """The good rows, and the newest event time of each source partition among them.

        Raises:
            UnavailableError: memory or the catalog is missing.
        """
        now = self._clock()
        rules = Rules(
            dataset=self._dataset,
            schema=self._schema,
            validator=self._validator,
            zone=self._source.timezone,
            form=self._form,
            now=now,
            allowance=lambda: self._columns_left(now),
            known_keys=lambda _keys: {},
            max_record_bytes=self._source.max_record_bytes,
        )
        with disk_failures("reading topics", self._limits.temp_dir):
            prepared = prepare(self._engine.run, batch, rules)
        self._schema = replace(prepared.schema, version=self._stored.version)
        rows = _stored(prepared.rows, self._schema, prepared.positions, prepared.source_partitions)
        times = prepared.rows.column(self._dataset.time)
        newest = newest_times(times, rows.column(SOURCE_COLUMN), until=now)
        micros = times.cast(pa.int64()).to_numpy()
        return RowBlock(rows=rows, written=self._schema, times=np.asarray(micros, np.int64)), newest

    def close(self) -> None:
        self._engine.close()

    def _columns_left(self, now: datetime) -> int:
        added = sum(self._stored.find(name) is None for name in self._schema.names)
        return max(0, columns_left(self._catalog, self._dataset_id, self._dataset, now=now) - added)


def _stored(table: pa.Table, schema: Schema, positions: pa.ChunkedArray, sources: pa.ChunkedArray | None) -> pa.Table:
    """Columns as segments hold them, with the provenance; those that the batch lacks as nulls."""
    session = pa.repeat(pa.scalar(LATEST_SESSION, pa.int64()), table.num_rows)
    hidden = {SOURCE_COLUMN: sources, POSITION_COLUMN: positions, SESSION_COLUMN: session}
    columns = {name: table.column(name) for name in table.column_names} | hidden
    kinds = stored_arrow_schema(schema)
    made = [columns[one.name].cast(one.type) if one.name in columns else pa.nulls(table.num_rows, one.type) for one in kinds]
    return pa.table(made, names=kinds.names).combine_chunks()

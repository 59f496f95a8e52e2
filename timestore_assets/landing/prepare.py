"""One batch through the pure steps: keys, decoding, required values, range, constraints, evolution. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from timestore_assets.catalog.records import Counters, IdempotencyKey, SchemaChange
from timestore_assets.landing.bounds import refuse_missing, refuse_out_of_range, refuse_over_long
from timestore_assets.landing.decode import decode
from timestore_assets.landing.evolve import Evolved, evolve
from timestore_assets.landing.idempotency import sift_by_key
from timestore_assets.landing.lateness import LATE, refuse_late
from timestore_assets.landing.sieve import Sieve
from timestore_assets.landing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.sources.port import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a batch is judged by. `schema`: the catalog's current one. `now`: for the upper bound of times.

    `zone`: IANA name of the zone of naive times. `allowance`: how many columns may still be added today. `known_keys`: of
    these idempotency keys those used before, with their digests. `late_before`: times before it are late; None: nothing is.
    `max_record_bytes`: longer documents are refused; None: the source has seen to it.
    """

    dataset: Dataset
    schema: Schema
    validator: Validator
    zone: str | None
    now: datetime
    allowance: Callable[[], int]
    known_keys: Callable[[Sequence[str]], Mapping[str, str]]
    late_before: datetime | None = None
    max_record_bytes: int | None = None

    @property
    def declared(self) -> tuple[Column, ...]:
        """Columns of the declaration in their stored form, which differs for those that had been inferred before."""
        stored = {column.name: column.origin for column in self.schema}
        return tuple(replace(column, origin=stored.get(column.name, column.origin)) for column in self.dataset.schema)

    @property
    def inferred(self) -> tuple[Column, ...]:
        return tuple(column for column in self.schema if self.dataset.schema.find(column.name) is None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """`rows`: good rows, declared columns typed and inferred ones as raw text. `positions`: of those rows.

    `source_partitions`: of those rows, None when all are of the same.
    `schema`: the one they are stored in; its version is the next one when `changes` is not empty.
    """

    rows: pa.Table
    positions: pa.ChunkedArray
    source_partitions: pa.ChunkedArray | None
    sieve: Sieve
    counters: Counters
    schema: Schema
    changes: tuple[SchemaChange, ...]
    ignored: Mapping[str, int]
    keys: tuple[IdempotencyKey, ...]
    base_schema_version: int
    """Of the schema it was judged by."""


def prepare(con: duckdb.DuckDBPyConnection, batch: Batch, rules: Rules) -> Prepared:
    """Judge every record of a batch.

    Raises:
        BadFileError: the columns of the file as a whole don't fit, see `landing.header`.
    """
    sieve = Sieve(batch.records.num_rows)
    if rules.max_record_bytes is not None:
        refuse_over_long(batch.records.column("value"), sieve, limit=rules.max_record_bytes)
    keys = sift_by_key(batch, sieve, rules.known_keys)
    decoded = decode(con, batch, sieve, declared=rules.declared, inferred=rules.inferred, zone=rules.zone)
    evolved = Evolved(schema=rules.schema)
    if batch.records.num_rows:
        refuse_missing(decoded.table, rules.dataset, sieve)
        refuse_out_of_range(con, decoded.table, rules.dataset, sieve, now=rules.now)
        rules.validator.refuse_invalid(decoded.table, sieve)
        policy = rules.dataset.evolution
        refuse_late(decoded.table, rules.dataset, sieve, before=rules.late_before)
        evolved = evolve(con, decoded.extras, sieve, schema=rules.schema, policy=policy, allowance=rules.allowance)
    table = decoded.table
    for name, values in evolved.columns.items():
        table = table.append_column(name, values)
    version = rules.schema.version + bool(evolved.changes)
    return Prepared(
        rows=sieve.keep(table),
        positions=_kept(sieve, batch.positions),
        source_partitions=None if batch.source_partitions is None else _kept(sieve, batch.source_partitions),
        sieve=sieve,
        counters=_counters(batch, sieve, rules.dataset),
        schema=replace(evolved.schema, version=version),
        changes=evolved.changes,
        ignored=evolved.ignored,
        keys=keys,
        base_schema_version=rules.schema.version,
    )


def _kept(sieve: Sieve, values: pa.Array[Any]) -> pa.ChunkedArray:
    return sieve.keep(pa.table({"v": values})).column(0)


def _counters(batch: Batch, sieve: Sieve, dataset: Dataset) -> Counters:
    good, duplicates, late = sieve.good_rows, sieve.duplicates, sieve.refused_for(LATE)
    drops = dataset.late.policy == "drop"
    return Counters(
        read=sieve.rows + len(batch.bad),
        landed=good,
        duplicates=duplicates,
        late_dropped=late if drops else 0,
        held=0 if drops else late,
        dead_letters=sieve.rows - good - duplicates - late + len(batch.bad),
    )

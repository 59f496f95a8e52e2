"""One batch through the pure steps: keys, decoding, required values, range, constraints, evolution. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import pyarrow as pa

from timestore_assets.catalog.records import Counters, IdempotencyKey, SchemaChange
from timestore_assets.landing.bounds import refuse_missing, refuse_out_of_range
from timestore_assets.landing.decode import decode
from timestore_assets.landing.evolve import Evolved, evolve
from timestore_assets.landing.idempotency import sift_by_key
from timestore_assets.landing.sieve import Sieve
from timestore_assets.landing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.sources.port import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a batch is judged by. `schema`: the catalog's current one. `now`: for the upper bound of times.

    `zone`: IANA name of the zone of naive times. `allowance`: how many columns may still be added today. `known_keys`: of
    these idempotency keys those used before, with their digests.
    """

    dataset: Dataset
    schema: Schema
    validator: Validator
    zone: str | None
    now: datetime
    allowance: Callable[[], int]
    known_keys: Callable[[Sequence[str]], Mapping[str, str]]

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

    `schema`: the one they are stored in; its version is the next one when `changes` is not empty.
    """

    rows: pa.Table
    positions: pa.ChunkedArray
    sieve: Sieve
    counters: Counters
    schema: Schema
    changes: tuple[SchemaChange, ...]
    ignored: Mapping[str, int]
    keys: tuple[IdempotencyKey, ...]


def prepare(con: duckdb.DuckDBPyConnection, batch: Batch, rules: Rules) -> Prepared:
    """Judge every record of a batch.

    Raises:
        BadFileError: the columns of the file as a whole don't fit, see `landing.header`.
    """
    sieve = Sieve(batch.records.num_rows)
    keys = sift_by_key(batch, sieve, rules.known_keys)
    decoded = decode(con, batch, sieve, declared=rules.declared, inferred=rules.inferred, zone=rules.zone)
    evolved = Evolved(schema=rules.schema)
    if batch.records.num_rows:
        refuse_missing(decoded.table, rules.dataset, sieve)
        refuse_out_of_range(con, decoded.table, rules.dataset, sieve, now=rules.now)
        rules.validator.refuse_invalid(decoded.table, sieve)
        policy = rules.dataset.evolution
        evolved = evolve(con, decoded.extras, sieve, schema=rules.schema, policy=policy, allowance=rules.allowance)
    table = decoded.table
    for name, values in evolved.columns.items():
        table = table.append_column(name, values)
    version = rules.schema.version + bool(evolved.changes)
    return Prepared(
        rows=sieve.keep(table),
        positions=sieve.keep(pa.table({"p": batch.positions})).column(0),
        sieve=sieve,
        counters=_counters(batch, sieve),
        schema=replace(evolved.schema, version=version),
        changes=evolved.changes,
        ignored=evolved.ignored,
        keys=keys,
    )


def _counters(batch: Batch, sieve: Sieve) -> Counters:
    good, duplicates = sieve.good_rows, sieve.duplicates
    return Counters(
        read=sieve.rows + len(batch.bad),
        landed=good,
        duplicates=duplicates,
        dead_letters=sieve.rows - good - duplicates + len(batch.bad),
    )

"""One batch through the pure steps: keys, decoding, required values, range, constraints, evolution, order. Nothing is written.

An envelope whose idempotency key is known brings nothing, and one that uses a known key for other content is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from timestore_assets.catalog.commit_values import IdempotencyKey, SchemaChange
from timestore_assets.catalog.effective_declaration import with_identity
from timestore_assets.catalog.records import LateRows
from timestore_assets.decoding.decode import decode
from timestore_assets.decoding.former_columns import without_outdated
from timestore_assets.decoding.poison import UNDECODABLE, is_poison, log_poison, part_of, poisoned
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.landing.preparing.default_values import need_not_be_there, with_defaults
from timestore_assets.landing.preparing.earlier_values import EarlierValues
from timestore_assets.landing.preparing.evidence import with_evidence
from timestore_assets.landing.preparing.evolve import Evolved, evolve
from timestore_assets.landing.preparing.key_order import ArrivalOrder, Arrivals, OrderStep, refuse_out_of_order
from timestore_assets.landing.preparing.row_checks import (
    LATE,
    refuse_expired,
    refuse_late,
    refuse_missing,
    refuse_out_of_range,
    refuse_over_long,
)
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.record_form import PLAIN, RecordForm
from timestore_assets.model.schema import Column, Schema
from timestore_assets.sources.batches import Batch, records_digest

KEY_COLUMN = "idempotency_key"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Envelope:
    key: str
    digest: str
    rows: Rows


def sift_by_key(
    batch: Batch, row_mask: RowMask, known: Callable[[Sequence[str]], Mapping[str, str]]
) -> tuple[IdempotencyKey, ...]:
    """Leave out rows whose envelope has landed before, refuse re-used keys (`key_reused`), and give the new keys.

    `known`: of these keys those already used, with the digests of what they stood for.
    """
    if KEY_COLUMN not in batch.records.column_names:
        return ()
    envelopes = list(_envelopes(batch))
    used = dict(known(sorted({envelope.key for envelope in envelopes}))) if envelopes else {}
    new: dict[str, str] = {}
    for envelope in envelopes:
        digest = used.get(envelope.key)
        if digest is None:
            used[envelope.key] = new[envelope.key] = envelope.digest
        elif digest == envelope.digest:
            row_mask.leave_out(envelope.rows)
        else:
            reason = f"idempotency key {envelope.key[:60]!r} was used before for other content"
            row_mask.refuse(envelope.rows, code="key_reused", reason=reason)
    return tuple(IdempotencyKey(key=key, digest=digest) for key, digest in new.items())


def _envelopes(batch: Batch) -> Iterator[_Envelope]:
    """Runs of rows of one envelope: their positions rise by one, those of different lines by more."""
    keys = batch.records.column(KEY_COLUMN)
    positions = batch.positions.to_numpy(zero_copy_only=False)
    values = batch.records.column("value")
    for rows in np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1):
        key = keys[int(rows[0])].as_py() if len(rows) else None
        if key is not None:
            yield _Envelope(key=key, digest=records_digest(values.slice(int(rows[0]), len(rows)).to_pylist()), rows=rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a batch is judged by."""

    dataset: Dataset
    schema: Schema
    """The catalog's current one."""
    validator: Validator
    zone: str | None
    """Of naive times; an IANA name or an offset."""
    form: RecordForm = PLAIN
    """How the records are written."""
    path: Mapping[str, str | None] = field(default_factory=dict)
    """Values of columns that stand in the file's path."""
    now: datetime
    """For the upper bound of times."""
    allowance: Callable[[], int]
    """How many columns may still be added today."""
    known_keys: Callable[[Sequence[str]], Mapping[str, str]]
    """Of these idempotency keys those used before, with their digests."""
    expired: Collection[datetime] = ()
    """Starts of partitions in which nothing lands any more."""
    late_before: datetime | None = None
    """Times before it are late; None: nothing is."""
    max_record_bytes: int | None = None
    """Longer documents are refused; None: the source has seen to it."""
    then: Schema | None = None
    """The one whose names the records go by; None: the current one."""
    order: ArrivalOrder | None = None
    """What came before these records, where they have to be in order; None: they may come in any."""
    source: int = 0
    """The source partition of a batch that is of one alone, where there is an order."""

    @property
    def writing(self) -> dict[str, Any]:
        """How the records are written, as `decode` takes it."""
        return {"zone": self.zone, "form": self.form, "path": self.path}

    @property
    def declared(self) -> tuple[Column, ...]:
        """Columns of the declaration in their stored form, which differs for those that had been inferred before."""
        own = (
            column if (known := self.schema.find(column.name)) is None else with_identity(column, known)
            for column in self.dataset.schema
        )
        others = (column for column in self._others if column.origin == "declared")
        return tuple(without_outdated(column, self.now) for column in (*own, *others))

    @property
    def inferred(self) -> tuple[Column, ...]:
        return tuple(without_outdated(column, self.now) for column in self._others if column.origin == "inferred")

    @property
    def _others(self) -> tuple[Column, ...]:
        names = set(self.dataset.schema.names)
        return tuple(column for column in self.schema if column.name not in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A batch as it was judged."""

    rows: pa.Table
    """Good ones, declared columns typed and inferred ones as raw text."""
    positions: pa.ChunkedArray
    """Of those rows."""
    source_partitions: pa.ChunkedArray | None
    """Of those rows, None when all are of the same."""
    row_mask: RowMask
    counters: Counters
    schema: Schema
    """The one they are stored in; its version is the next one when `changes` is not empty."""
    changes: tuple[SchemaChange, ...]
    ignored: Mapping[str, int]
    """Values left out since nobody declared their column, by column."""
    discarded: Mapping[str, int]
    """Values left out since they don't fit the type of their column, by column."""
    keys: tuple[IdempotencyKey, ...]
    base_schema_version: int
    """Of the schema it was judged by."""
    late: tuple[LateRows, ...] = ()
    """How many records were kept back as late, of which partitions."""
    order: OrderStep | None = None
    """What the newest times of keys were and are, where records have to be in order."""


Run = Callable[[Callable[[duckdb.DuckDBPyConnection], Prepared]], Prepared]
"""Does work on a connection, see `segments.engine.Engine.run`."""


def prepare(run: Run, batch: Batch, rules: Rules, *, trial: Callable[[Prepared], object] | None = None) -> Prepared:
    """Judge every record of a batch.

    A record for which that fails in a way that nothing expects is refused as `undecodable`, and the others are judged without
    it. `trial`: what else must not fail for a record.

    Raises:
        BadFileError: the columns of the file as a whole don't fit, see `decoding.column_names`.
        FrozenSchemaError: a record asks for another schema, and the dataset's contract is frozen.
        Exception: judging fails as well without any record.
    """
    try:
        return _tried(run, batch, rules, trial)
    except Exception as error:
        if not is_poison(error):
            raise
        return _without_poison(run, batch, rules, trial, error)


def _tried(run: Run, batch: Batch, rules: Rules, trial: Callable[[Prepared], object] | None) -> Prepared:
    prepared = run(lambda con: _judged(con, batch, rules))
    if trial is not None:
        trial(prepared)
    return prepared


def _without_poison(
    run: Run, batch: Batch, rules: Rules, trial: Callable[[Prepared], object] | None, error: Exception
) -> Prepared:
    """Judge the records that can be judged, and refuse the others; what was known of all of them before stays as it is."""
    # the keys of envelopes stand for all records of each, so they are looked up for the batch as a whole
    row_mask, keys = _sifted(batch, rules)
    rows = row_mask.good_indices()
    if KEY_COLUMN in batch.records.column_names:
        batch = replace(batch, records=batch.records.drop_columns(KEY_COLUMN))

    def judge(some: Rows) -> Prepared:
        return _tried(run, part_of(batch, some), rules, trial)

    reasons = poisoned(rows, judge, error)
    log_poison(f"{len(reasons)} of {len(rows)} records for {rules.dataset.name!r}", error)
    for row, reason in reasons.items():
        row_mask.refuse(np.array([row]), code=UNDECODABLE, reason=reason)
    left = np.setdiff1d(rows, np.fromiter(reasons, np.int64, len(reasons)))
    rest = judge(left)
    row_mask.adopt(rest.row_mask, left)
    return replace(rest, row_mask=row_mask, counters=_counters(batch, row_mask, rules.dataset), keys=keys)


def _sifted(batch: Batch, rules: Rules) -> tuple[RowMask, tuple[IdempotencyKey, ...]]:
    row_mask = RowMask(batch.records.num_rows)
    if rules.max_record_bytes is not None:
        refuse_over_long(batch.records.column("value"), row_mask, limit=rules.max_record_bytes)
    return row_mask, sift_by_key(batch, row_mask, rules.known_keys)


def _judged(con: duckdb.DuckDBPyConnection, batch: Batch, rules: Rules) -> Prepared:
    row_mask, keys = _sifted(batch, rules)
    earlier = EarlierValues.of(rules.schema, rules.then)
    declared = earlier.declared(need_not_be_there(rules.declared))
    decoded = decode(con, batch, row_mask, declared=declared, inferred=rules.inferred, **rules.writing)
    if earlier:
        decoded = replace(decoded, table=earlier.applied(con, decoded.table, row_mask))
    decoded = replace(decoded, table=with_defaults(con, decoded.table, rules.schema))
    evolved, late = Evolved(schema=rules.schema), tuple[LateRows, ...]()
    if batch.records.num_rows:
        refuse_missing(decoded.table, rules.dataset, row_mask)
        refuse_out_of_range(con, decoded.table, rules.dataset, row_mask, now=rules.now)
        refuse_expired(con, decoded.table, rules.dataset, row_mask, starts=rules.expired)
        rules.validator.refuse_invalid(decoded.table, row_mask)
        policy = rules.dataset.evolution
        late = refuse_late(decoded.table, rules.dataset, row_mask, before=rules.late_before)
        evolved = evolve(con, decoded.extras, row_mask, schema=rules.schema, policy=policy, allowance=rules.allowance)
    # last: a record that is refused for anything else is not the newest of its key
    order = _ordered(con, batch, decoded.table, rules, row_mask)
    table = decoded.table
    for name, values in evolved.columns.items():
        table = table.append_column(name, values)
    version = rules.schema.version + bool(evolved.changes)
    return Prepared(
        rows=_as_stored(row_mask.keep(table), evolved.schema),
        positions=_kept(row_mask, batch.positions),
        source_partitions=None if batch.source_partitions is None else _kept(row_mask, batch.source_partitions),
        row_mask=row_mask,
        counters=_counters(batch, row_mask, rules.dataset),
        schema=replace(evolved.schema, version=version),
        changes=tuple(with_evidence(change, batch, evolved.deciding[change.column]) for change in evolved.changes),
        ignored=evolved.ignored,
        discarded=evolved.discarded,
        keys=keys,
        late=late,
        order=order,
        base_schema_version=rules.schema.version,
    )


def _ordered(con: duckdb.DuckDBPyConnection, batch: Batch, table: pa.Table, rules: Rules, row_mask: RowMask) -> OrderStep | None:
    if rules.order is None:
        return None
    sources = batch.source_partitions
    if sources is None:
        sources = pa.repeat(pa.scalar(rules.source, pa.int64()), batch.records.num_rows)
    arrivals = Arrivals.of(table, rules.dataset, rules.schema, row_mask, sources=sources, positions=batch.positions)
    return refuse_out_of_order(con, arrivals, rules.dataset, row_mask, order=rules.order)


def _as_stored(table: pa.Table, schema: Schema) -> pa.Table:
    """Values in the types that segments hold them in, here where one that can't be still has a row to blame.

    Texts, which can, are left to the writer's threads.
    """
    kinds = stored_arrow_schema(schema)
    for number, (name, values) in enumerate(zip(table.column_names, table.columns, strict=True)):
        kind = kinds.field(name).type
        if values.type != kind and not pt.is_large_string(values.type):
            table = table.set_column(number, name, values.cast(kind))
    return table


def _kept(row_mask: RowMask, values: pa.Array[Any]) -> pa.ChunkedArray:
    return row_mask.keep(pa.table({"v": values})).column(0)


def _counters(batch: Batch, row_mask: RowMask, dataset: Dataset) -> Counters:
    good, duplicates, late = row_mask.good_rows, row_mask.duplicates, row_mask.refused_for(LATE)
    drops = dataset.late.policy == "drop"
    return Counters(
        read=row_mask.rows + len(batch.bad),
        landed=good,
        duplicates=duplicates,
        late_dropped=late if drops else 0,
        held=0 if drops else late,
        dead_letters=row_mask.rows - good - duplicates - late + len(batch.bad),
    )

"""What batches of a dataset are judged by now: its declaration together with the columns that the catalog has for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.committing.newest_landed import LandedRows, newest_landed
from timestore_assets.landing.committing.session_order import SessionOrder
from timestore_assets.landing.committing.source_batch import Origin, SourceBatch
from timestore_assets.landing.landing_session import Worker
from timestore_assets.landing.preparing.evolve import columns_left
from timestore_assets.landing.preparing.key_order import NewestTimes, key_columns
from timestore_assets.landing.preparing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ForgottenError
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import ColumnType
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.tracing import span

_LOOK_SECONDS = 5.0
"""How often a session looks where its dataset is sent: it may last for days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Terms:
    """Replaced as a whole: a batch may be judged while the one before it is published."""

    record: DatasetRecord
    dataset: Dataset
    """As declared, with the columns that the catalog has."""
    form: RecordForm
    """How records are written, by what those are called."""
    then: Schema | None
    """Whose names the records go by, if it is not the present schema."""
    validator: Validator
    expired: frozenset[datetime]
    """Starts of partitions in which nothing lands; the commit refuses what has expired since."""


class BatchJudge:
    """Judges the batches of one session. Faults that pass by themselves are waited for."""

    def __init__(self, context: WriteContext, worker: Worker, dataset: Dataset, origin: Origin) -> None:
        self._context, self._engine = context, worker.engine
        self._declared, self._origin = dataset, origin
        self.order = SessionOrder(self._landed) if dataset.is_strict else None
        """The newest times of keys, where records have to be in order; begun by whoever knows the source partitions."""
        record = self._newest()
        self._terms = _Terms(
            record=record,
            dataset=dataset,
            form=origin.form,
            then=None,
            validator=worker.validator,
            expired=self._expired(record),
        )
        self._agree(self._terms.record)
        self._looked = time.monotonic()

    @property
    def record(self) -> DatasetRecord:
        return self._terms.record

    @property
    def dataset(self) -> Dataset:
        return self._terms.dataset

    @property
    def form(self) -> RecordForm:
        return self._terms.form

    def judge(self, batch: SourceBatch) -> Prepared:
        """Judge by the schema as it is known here, and behind what was judged before."""
        prepared = self._context.retry.run(lambda: self._judged(batch))
        if self.order is not None:
            self.order.went_on(prepared.order)
        return prepared

    def judge_again(self, batch: SourceBatch, before: Prepared, *, trial: Callable[[Prepared], object] | None = None) -> Prepared:
        """Judge a batch behind what is committed, while the connection may be judging the next one.

        `before`: what had come of it. `trial`: what else must not fail for a record.
        """
        run, order = self._engine.beside, self.order
        if order is not None:
            order.renew()
        rules = self._rules(batch, None if order is None else order.committed)
        again = self._context.retry.run(lambda: prepare(run, batch.batch, rules, trial=trial))
        if order is not None:
            order.went_on(again.order, before.order)
        return again

    def in_order(self, batch: SourceBatch, prepared: Prepared) -> Prepared:
        """A batch as it was judged, unless that was behind another state than the one that is committed."""
        if self.order is None or self.order.allows(prepared.order):
            return prepared
        return self.judge_again(batch, prepared)

    def catch_up(self) -> None:
        """Go on by what the catalog has now: another process may have declared more columns since the session began."""
        self._agree(self._newest())

    def follow(self) -> None:
        """Go where the dataset has been sent since, looking from time to time."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            record = replace(self.record, storage=self._newest().storage)
            self._terms = replace(self._terms, record=record)

    def _judged(self, batch: SourceBatch) -> Prepared:
        with span("prepare", dataset=self.dataset.name) as noting:
            order = None if self.order is None else self.order.judged
            prepared = prepare(self._engine.run, batch.batch, self._rules(batch, order))
            noting.note(rows=prepared.rows.num_rows, read=prepared.counters.read)
            return prepared

    def _rules(self, batch: SourceBatch, order: NewestTimes | None) -> Rules:
        terms, catalog, clock = self._terms, self._context.catalog, self._context.clock
        if order is not None and not order.sources.issuperset(one.source_partition_id for one in batch.spans):
            raise ValueError(f"{self._origin.address}: nobody has looked up the newest times of what is landed")
        return Rules(
            dataset=terms.dataset,
            schema=terms.record.schema,
            validator=terms.validator,
            zone=self._origin.zone,
            form=terms.form,
            path=self._origin.path,
            now=clock(),
            allowance=lambda: columns_left(catalog, terms.record.id, terms.dataset, now=clock()),
            known_keys=lambda keys: catalog.commits.known_keys(terms.record.id, keys),
            expired=terms.expired,
            late_before=batch.late_before,
            max_record_bytes=self._origin.max_record_bytes,
            then=terms.then,
            order=order,
            source=batch.spans[0].source_partition_id,
        )

    def _landed(self, rows: Sequence[LandedRows]) -> pa.Table:
        """The newest times among these rows."""
        terms, context = self._terms, self._context
        return context.retry.run(
            lambda: self._engine.beside(lambda con: newest_landed(con, context, terms.record, terms.dataset, rows))
        )

    def _newest(self) -> DatasetRecord:
        record = self._context.retry.run(lambda: self._context.catalog.datasets.find(self._declared.name))
        if record is None:
            raise ForgottenError(f"the catalog has no dataset {self._declared.name!r} any more")
        return record

    def _agree(self, record: DatasetRecord) -> None:
        dataset, terms = effective(self._declared, record), self._terms
        validator = terms.validator if dataset == terms.dataset else Validator(dataset)
        if self.order is not None and _key_types(dataset, record) != _key_types(terms.dataset, terms.record):
            self.order.lose()
        self._terms = _Terms(
            record=record,
            dataset=dataset,
            form=self._origin.form.with_columns(dict(dataset.renames)),
            then=self._names_of(record),
            validator=validator,
            expired=self._expired(record),
        )

    def _names_of(self, record: DatasetRecord) -> Schema | None:
        """The schema by whose names the records go: of when they were first seen, or as the last migration says."""
        if not record.schema.was_migrated:
            return None
        catalog = self._context.catalog
        return self._context.retry.run(
            lambda: catalog.datasets.schema_of_records(record.id, self._origin.schema_version or record.schema.version)
        )

    def _expired(self, record: DatasetRecord) -> frozenset[datetime]:
        return self._context.retry.run(lambda: self._context.catalog.expiry.expired(record.id))


def _key_types(dataset: Dataset, record: DatasetRecord) -> list[tuple[int | None, ColumnType]]:
    """What the values of a key are, whatever its columns are called."""
    return [(column.id, column.type) for column in key_columns(dataset, record.schema)]

"""What batches of a dataset are judged by now: its declaration together with the columns that the catalog has for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from timestore_assets.catalog.effective_declaration import effective
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.committing.source_batch import Origin, SourceBatch
from timestore_assets.landing.landing_session import Worker
from timestore_assets.landing.preparing.evolve import columns_left
from timestore_assets.landing.preparing.prepare import Prepared, Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ForgottenError
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Schema
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
        """Judge by the schema as it is known here."""
        return self._context.retry.run(lambda: self._judged(batch))

    def judge_again(self, batch: SourceBatch, *, trial: Callable[[Prepared], object] | None = None) -> Prepared:
        """The same while the connection may be judging the next batch. `trial`: what else must not fail for a record."""
        run = self._engine.beside
        return self._context.retry.run(lambda: prepare(run, batch.batch, self._rules(batch), trial=trial))

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
            prepared = prepare(self._engine.run, batch.batch, self._rules(batch))
            noting.note(rows=prepared.rows.num_rows, read=prepared.counters.read)
            return prepared

    def _rules(self, batch: SourceBatch) -> Rules:
        terms, catalog, clock = self._terms, self._context.catalog, self._context.clock
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
        )

    def _newest(self) -> DatasetRecord:
        record = self._context.retry.run(lambda: self._context.catalog.datasets.find(self._declared.name))
        if record is None:
            raise ForgottenError(f"the catalog has no dataset {self._declared.name!r} any more")
        return record

    def _agree(self, record: DatasetRecord) -> None:
        dataset, terms = effective(self._declared, record), self._terms
        validator = terms.validator if dataset == terms.dataset else Validator(dataset)
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

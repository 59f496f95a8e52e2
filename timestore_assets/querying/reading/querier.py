"""Answering a question: pin a manifest version, plan, read the segments, stream Arrow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

import duckdb
import pyarrow as pa
from cachetools import LRUCache

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.effective_declaration import named_as_then
from timestore_assets.catalog.kept_pins import HeldVersion, KeptPins
from timestore_assets.catalog.records import DatasetRecord, TopicPartition
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import MissingObjectError
from timestore_assets.model.question import Question
from timestore_assets.model.retraction import Retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.querying.answer import Answer, AnswerDetails, FreshRows, ReadSegments, UnlandedRows, in_utc
from timestore_assets.querying.planning.gradual_plan import GradualPlan
from timestore_assets.querying.planning.query_plan import Plan, Step
from timestore_assets.querying.planning.statement import Statement, no_rows, prepare
from timestore_assets.querying.planning.where import Where
from timestore_assets.querying.reading.connection_pool import Pool
from timestore_assets.querying.reading.planner import Asking, Planner
from timestore_assets.querying.reading.query_errors import explained, suspecting
from timestore_assets.querying.reading.rows import EVERYTHING, Pinned, rows_of
from timestore_assets.querying.reading.stepwise import Steps
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.segments.reader import InMemorySegment
from timestore_assets.storage.targets import Storage
from timestore_assets.tracing import span

_REMEMBERED = 16
_FEW_ROWS = 100_000
"""With a limit up to that many the first segments are probably all that is read."""


class Querier:
    """Answers questions from a catalog and a store. `holder`: whom leases on manifest versions belong to. Thread-safe."""

    def __init__(self, catalog: Catalog, storage: Storage, limits: EngineLimits, *, holder: str) -> None:
        self.catalog, self.storage, self.limits, self.holder = catalog, storage, limits, holder
        self._pool = Pool(limits)
        self._planner = Planner(catalog)
        self._statements: LRUCache[Hashable, tuple[Statement, pa.Schema]] = LRUCache(_REMEMBERED)
        self._retracted: LRUCache[tuple[int, int], Retracted] = LRUCache(_REMEMBERED)
        self._remembering = threading.Lock()
        self._kept = KeptPins(catalog, holder=holder)

    def close(self) -> None:
        """Close idle connections; answers that are being read stay good."""
        self._kept.close()
        self._pool.close()

    def claim(self, record: DatasetRecord, version: int | None = None, *, with_topics: bool = False) -> SnapshotPin:
        """Pin a manifest version (None = newest). RefusedError when it has been collected or never was."""
        return SnapshotPin(self.catalog, record.id, version=version, holder=self.holder, with_topics=with_topics)

    def newest(self, record: DatasetRecord) -> HeldVersion:
        """The newest version, held for a reader as `claim` would, by a pin that the next reader finds again."""
        return self._kept.take(record.id)

    def let_go(self) -> None:
        """Give back pins that nobody reads by now, before a collection looks for what is not pinned."""
        self._kept.let_go()

    def in_force(self, dataset: Dataset, record: DatasetRecord, version: int) -> tuple[Dataset, DatasetRecord]:
        """The dataset with the schema and the names of keys that a pinned version has, whatever came since.

        What reads a version goes by these: a change of the schema raises the version, so no answer is half of both.
        """
        if version == record.manifest_version:
            return dataset, record
        then = self.catalog.datasets.schema_at(record.id, version)
        if then.version == record.schema.version:
            return dataset, record
        return named_as_then(dataset, record.schema, then), replace(record, schema=then)

    def plan(self, dataset: Dataset, record: DatasetRecord, question: Question) -> Plan:
        """What `ask` would read now. Errors as `ask`."""
        pooled = self._pool.take()
        claim = self.claim(record, question.as_of)
        try:
            dataset, record = self.in_force(dataset, record, claim.version)
            statement, _ = self._prepared(pooled.con, question, dataset, record)
            return self._planned(dataset, record, statement, claim.version)
        finally:
            claim.release()
            self._pool.give(pooled)

    def _prepared(
        self, con: duckdb.DuckDBPyConnection, question: Question, dataset: Dataset, record: DatasetRecord
    ) -> tuple[Statement, pa.Schema]:
        """The question checked and bound; remembered, because the same ones are asked again and again."""
        key = (question, dataset.time, dataset.dedupe, dataset.partition_by, record.schema)
        with self._remembering:
            known = self._statements.get(key)
        if known is None:
            statement = prepare(con, question, dataset, record.schema)
            known = statement, _schema(con, statement, record.schema)
            with self._remembering:
                self._statements[key] = known
        return known

    def _planned(
        self, dataset: Dataset, record: DatasetRecord, statement: Statement, version: int, fresh: Sequence[InMemorySegment] = ()
    ) -> Plan:
        where, start, end = statement.where, statement.start, statement.end
        return self.planned(dataset, record, version=version, where=where, start=start, end=end, fresh=fresh)

    def _chosen(
        self,
        dataset: Dataset,
        record: DatasetRecord,
        statement: Statement,
        version: int,
        limit: int | None,
        rows: FreshRows,
    ) -> Plan | GradualPlan:
        """What is read for a question. `limit`: so many rows are wanted of its first segments, None for all of them."""
        if limit is not None and limit <= _FEW_ROWS and not statement.aggregated:
            wanted = Asking(version=version, where=statement.where, start=statement.start, end=statement.end)
            gradual = self._planner.gradually(dataset, record, wanted)
            if gradual is not None:
                return gradual
        return self._planned(dataset, record, statement, version, rows.segments)

    def planned(
        self,
        dataset: Dataset,
        record: DatasetRecord,
        *,
        version: int,
        where: Where = EVERYTHING,
        start: datetime | None = None,
        end: datetime | None = None,
        fresh: Sequence[InMemorySegment] = (),
    ) -> Plan:
        """The segments of a version that can hold rows which the filter lets through. `fresh`: read beside them."""
        wanted = Asking(version=version, where=where, start=start, end=end)
        return self._planner.planned(dataset, record, wanted, fresh=fresh)

    def ask(self, dataset: Dataset, record: DatasetRecord, question: Question, *, fresh: UnlandedRows | None = None) -> Answer:
        """Answer a question. `fresh`: rows that are not landed yet, for an answer from the newest version.

        Raises:
            InputError: the question makes no sense. RefusedError: the version asked for is gone or never was.
            UnavailableError: a segment file can't be read. DamagedError: because its bytes are not those that were committed.
        """
        with ExitStack() as stack:
            pooled = self._pool.take()
            stack.callback(self._pool.give, pooled)
            planning = stack.enter_context(ExitStack())
            noting = planning.enter_context(span("plan", dataset=dataset.name))
            merging = fresh if question.as_of is None else None
            claim, topics = self._claimed(record, question, with_topics=merging is not None)
            stack.callback(claim.release)
            dataset, record = self.in_force(dataset, record, claim.version)
            statement, schema = self._prepared(pooled.con, question, dataset, record)
            rows = merging.beyond(topics, start=statement.start, end=statement.end) if merging else FreshRows()
            limit = None if rows.segments else question.limit
            chosen = self._chosen(dataset, record, statement, claim.version, limit, rows)
            noting.note(manifest_version=claim.version, segments=chosen.scanned)
            planning.close()
            pinned = self.pinned(dataset, record, version=claim.version)
            claim.confirm()
            read = ReadSegments()
            source = Steps(
                pooled=pooled,
                pinned=pinned,
                statement=statement,
                plan=chosen,
                claim=claim,
                schema=schema,
                limit=question.limit,
                read=read,
                is_remote=self._remoteness(chosen),
                relocated=partial(self.relocated, record, claim.version),
                suspecting=self.suspecting,
            ).batches()
            stack.callback(source.close)
            series, streaming = statement.series if question.every else None, None if fresh is None else rows.streaming
            facts = replace(_facts(dataset, claim, chosen), series=series, streaming=streaming)
            return Answer(
                schema=schema,
                batches=source,
                facts=facts,
                close=stack.pop_all().close,
                read=read,
                interrupt=pooled.con.interrupt,
            )

    def _claimed(
        self, record: DatasetRecord, question: Question, *, with_topics: bool
    ) -> tuple[SnapshotPin | HeldVersion, Sequence[TopicPartition]]:
        """What holds the version that a question is answered from, and the checkpoints of topics at it, if asked for."""
        if question.as_of is None and not with_topics:
            return self.newest(record), ()
        claim = self.claim(record, question.as_of, with_topics=with_topics)
        return claim, claim.topics

    def pinned(self, dataset: Dataset, record: DatasetRecord, *, version: int) -> Pinned:
        """What it takes to read the dataset's segments at a version."""
        schema_of = self._planner.schemas(record)
        with self._remembering:
            retracted = self._retracted.get((record.id, version))
        if retracted is None:
            retracted = self.catalog.manifest.retracted(record.id, version=version)
            with self._remembering:
                self._retracted[record.id, version] = retracted
        return Pinned(dataset=dataset, schema=record.schema, schema_of=schema_of, retracted=retracted, storage=self.storage)

    def relocated(self, record: DatasetRecord, version: int, step: Step) -> Step | None:
        """A step with its objects where the catalog says they are now; None when that is where they were."""
        self._planner.forget()
        now = {one.id: one for one in self.catalog.manifest.segments(record.id, version=version, with_stats=False)}
        moved = replace(step, unique=_placed(step.unique, now), overlapping=_placed(step.overlapping, now))
        return None if moved == step else moved

    def suspecting(self, segments: Sequence[Segment], *, their_sql: bool = False) -> AbstractContextManager[None]:
        """Let a failure to read these segments, inside the `with`, say which of them is damaged."""
        return suspecting(self.catalog, self.storage, segments, their_sql=their_sql)

    def is_remote(self, step: Step) -> bool:
        """Whether some of the objects are not on this machine."""
        by_target = {one.storage: one for one in step.segments if not isinstance(one, InMemorySegment)}
        return any(self.storage.path(one) is None for one in by_target.values())

    def _remoteness(self, chosen: Plan | GradualPlan) -> Callable[[Step], bool]:
        """Of a step of the plan; where all of its segments are known that is looked up once."""
        if isinstance(chosen, GradualPlan):
            return self.is_remote
        found = self.is_remote(chosen.whole)
        return lambda _step: found

    @contextmanager
    def everything(self, con: duckdb.DuckDBPyConnection, dataset: Dataset, record: DatasetRecord, chosen: Plan) -> Iterator[str]:
        """All visible columns of all rows in the chosen segments, as a table expression in a connection."""
        pinned = self.pinned(dataset, record, version=chosen.version)
        with ExitStack() as stack:
            try:
                rows = stack.enter_context(rows_of(con, chosen.whole, pinned, needed=record.schema.names))
            except MissingObjectError:
                moved = self.relocated(record, chosen.version, chosen.whole)
                if moved is None:
                    raise
                rows = stack.enter_context(rows_of(con, moved, pinned, needed=record.schema.names))
            yield rows


def _placed(segments: Sequence[Segment], now: Mapping[int, Segment]) -> tuple[Segment, ...]:
    """The segments with the places that others of their ids have."""
    places = [now.get(one.id, one) for one in segments]
    return tuple(replace(one, storage=place.storage, name=place.name) for one, place in zip(segments, places, strict=True))


def _schema(con: duckdb.DuckDBPyConnection, statement: Statement, schema: Schema) -> pa.Schema:
    """The answer's Arrow schema, by binding the question to a table without rows: type errors show before anything is read."""
    conditions = " AND ".join(statement.where.conditions()) or "true"
    rows = f"(SELECT * FROM {no_rows(schema, statement.needed)} WHERE {conditions})"
    with explained("reading the question"):
        fields = con.sql(statement.over(rows)).to_arrow_reader(1).schema
    made = []
    for field, output in zip(fields, statement.outputs, strict=True):
        notes = {key: value for key, value in (("unit", output.unit), ("description", output.description)) if value}
        made.append(pa.field(output.name, in_utc(field.type), metadata=notes or None))
    return pa.schema(made)


def _facts(dataset: Dataset, claim: SnapshotPin | HeldVersion, chosen: Plan | GradualPlan) -> AnswerDetails:
    return AnswerDetails(
        manifest_versions={dataset.name: claim.version},
        scanned=chosen.scanned,
        pruned=chosen.pruned,
        warnings=claim.warnings,
    )

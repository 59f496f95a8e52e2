"""The SQL door: one statement that reads datasets as views, in a connection that can reach nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from timestore_assets.catalog.kept_pins import HeldVersion
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import MissingObjectError
from timestore_assets.model.retraction import NOTHING
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import ObjectName
from timestore_assets.querying.answer import Answer, AnswerDetails, in_utc, nothing, typed
from timestore_assets.querying.planning import pruning, syntax
from timestore_assets.querying.planning.column_names_in_sql import unique
from timestore_assets.querying.planning.query_plan import Plan, Step
from timestore_assets.querying.planning.sql_words import hinted, session_columns
from timestore_assets.querying.planning.where import Conjunct, Where
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.reading.query_errors import explained
from timestore_assets.querying.reading.rows import Pinned
from timestore_assets.querying.sql.check import NO_PARAMETERS
from timestore_assets.querying.sql.datasets_as_of import Datasets, DatasetsAsOf, as_meant
from timestore_assets.querying.sql.kept_answers import KeptAnswers
from timestore_assets.querying.sql.parameter_places import sample_of
from timestore_assets.querying.sql.room import View
from timestore_assets.querying.sql.runner import Executor, InProcess, SqlJob
from timestore_assets.querying.sql.statement_forms import TABLES_SCHEMA, Form, form_of, is_shown, tables
from timestore_assets.querying.sql.tables_read import Asked, Filtered, TablesRead
from timestore_assets.querying.time_limit import Cancellable, TimeLimit
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.storage.targets import LocalObjects

TIMEOUT_SECONDS = 60.0


def run_sql(
    querier: Querier,
    text: str,
    datasets: Datasets,
    *,
    parameters: Mapping[str, Any] = NO_PARAMETERS,
    timeout: float = TIMEOUT_SECONDS,
    began: Callable[[Cancellable], object] | None = None,
    room: Callable[[EngineLimits], Executor] = InProcess,
    answers: KeptAnswers | None = None,
) -> Answer:
    """Answer one SELECT in which each dataset is a view of its newest version, or of the one that is meant, in a query's form.

    `DESCRIBE` and `SUMMARIZE` of a dataset or a SELECT, `EXPLAIN` of one of these, and `SHOW TABLES` are answered too.

    Args:
        datasets: those that it may read; as `DatasetsAsOf` they say which version of each is read.
        parameters: values of what the text writes as `$name`; times are naive and in UTC.
        timeout: seconds that DuckDB may compute; the time in which nobody reads the answer does not count.
        began: is given what stops it, before anything is computed.
        room: where it is read and computed, with these limits.
        answers: those that are known, and where this one is kept if it may be asked for again.

    Raises:
        InputError: the SQL does not parse, bind or compute, or such a version makes no sense for it. RefusedError: it asks for
            more than reading datasets, took too long, or a version can't be read any more. UnavailableError: memory or a segment
            file is missing.
    """
    form = form_of(text)
    if form.kind == "tables":
        return _tables(datasets)
    then = as_meant(querier, datasets)
    asked = _asked(form.text, then, parameters)
    keeps = answers if form.kind == "select" and not is_shown(text) else None
    if keeps is not None and (known := keeps.find(asked, lambda names: _standing(querier, then, names))) is not None:
        return Answer(schema=known.schema, batches=iter(known.batches), facts=known.facts, close=nothing)
    return _computed(querier, form, then, asked, timeout=timeout, began=began, room=room, keeps=keeps)


def _computed(
    querier: Querier,
    form: Form,
    then: DatasetsAsOf,
    asked: Asked,
    *,
    timeout: float,
    began: Callable[[Cancellable], object] | None,
    room: Callable[[EngineLimits], Executor],
    keeps: KeptAnswers | None,
) -> Answer:
    """The answer as it is computed, kept where it may be."""
    parameters = asked.parameters or NO_PARAMETERS
    with ExitStack() as stack:
        chosen, stopper = _entered(room, querier.limits, began, stack)
        clock = TimeLimit(stopper.interrupt, timeout)
        with clock.running():
            reading = _read(chosen, asked, then)
        views, warnings = _views(querier, reading, then, parameters, stack)
        job = _job(form, parameters, [view for view, _ in views], visible=asked.datasets)
        segments = [segment for view, _ in views for segment in view.step.segments]
        with querier.suspecting(segments, their_sql=True), clock.running(), explained("running the SQL"):
            schema = _schema(chosen.open(job))
        source = _suspected(_batches(chosen.batches(), schema, clock), querier.suspecting(segments, their_sql=True))
        stack.callback(source.close)
        facts = _facts(views, warnings)
        rows: Iterator[pa.RecordBatch] = source
        if keeps is not None and reading.is_repeatable and reading.datasets and not warnings:
            versions = _versions(views, then)
            rows = keeps.keeping(asked, reading.datasets, versions, schema=schema, facts=facts, batches=source)
        return Answer(
            schema=schema,
            batches=rows,
            facts=facts,
            close=stack.pop_all().close,
            interrupt=stopper.interrupt,
        )


def _standing(querier: Querier, datasets: DatasetsAsOf, names: Sequence[str]) -> Hashable:
    """Which version of each dataset an answer would be from, as `KeptAnswers` wants it; errors as pinning them has them."""
    datasets.require(names)
    found = []
    for name in names:
        dataset, record = datasets[name]
        version = datasets.version(name)
        if version is None:
            version = querier.catalog.versions.newest(record.id)
        else:
            querier.catalog.versions.look(record.id, version=version)
        if version is None:
            return None
        dataset, then = querier.in_force(dataset, record, version)
        found.append(_told(dataset, record, then.schema, version))
    return tuple(found)


def _versions(views: Sequence[tuple[View, Plan]], datasets: DatasetsAsOf) -> Hashable:
    """As `_standing`, of what is being read."""
    read = ((view.pinned, plan.version, datasets[view.name][1]) for view, plan in views)
    return tuple(_told(pinned.dataset, record, pinned.schema, version) for pinned, version, record in read)


def _told(dataset: Dataset, record: DatasetRecord, schema: Schema, version: int) -> Hashable:
    return record.id, version, schema.version, dataset.dedupe, dataset.time


def _job(
    form: Form, parameters: Mapping[str, Any], views: Sequence[View], *, visible: tuple[str, ...], described_only: bool = False
) -> SqlJob:
    return SqlJob(
        text=form.text,
        parameters=dict(parameters),
        views=tuple(views),
        explain=form.kind == "explain",
        described_only=described_only,
        visible=visible,
    )


def _facts(views: Sequence[tuple[View, Plan]], warnings: tuple[str, ...]) -> AnswerDetails:
    return AnswerDetails(
        manifest_versions={view.name: plan.version for view, plan in views},
        scanned=sum(plan.scanned for _, plan in views),
        pruned=sum(plan.pruned for _, plan in views),
        warnings=warnings,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What a SELECT reads, gives and wants."""

    #: Names of those that it reads.
    datasets: tuple[str, ...]
    #: Of its answer; of what a parameter's value decides, as its sample does.
    schema: pa.Schema
    #: Each with a value of the type that its place asks for.
    samples: Mapping[str, Any]


def _tables(datasets: Datasets) -> Answer:
    """The names of all datasets, which are none of DuckDB's business."""
    rows = iter([tables(list(datasets))])
    return Answer(
        schema=TABLES_SCHEMA, batches=rows, facts=AnswerDetails(manifest_versions={}, scanned=0, pruned=0), close=nothing
    )


def check(
    querier: Querier,
    text: str,
    datasets: Datasets,
    *,
    parameters: Mapping[str, Any] | None = NO_PARAMETERS,
    bound_only: bool = False,
    timeout: float = TIMEOUT_SECONDS,
    began: Callable[[Cancellable], object] | None = None,
    room: Callable[[EngineLimits], Executor] = InProcess,
) -> Description:
    """Run a SELECT as if its datasets were empty.

    `datasets`, `parameters`: as for `run_sql`; the latter None while they are not known, so that samples stand in for them.
    `bound_only`: compute nothing, which is quick for what computes long without any dataset; the other statements of `run_sql`
    are then taken too.

    Raises:
        InputError, RefusedError: as `run_sql`, as far as no data is needed to find it.
    """
    form = form_of(text) if bound_only else Form(kind="select", text=text)
    if form.kind == "tables":
        return Description(datasets=(), schema=TABLES_SCHEMA, samples={})
    is_plain = form.kind == "select" and not is_shown(text)
    then = as_meant(querier, datasets)
    asked = _asked(form.text, then, parameters)
    with ExitStack() as stack:
        chosen, stopper = _entered(room, querier.limits, began, stack)
        with TimeLimit(stopper.interrupt, timeout).running(), explained("reading the SQL"):
            reading = _read(chosen, asked, then)
            then.require(reading.datasets)
            views = tuple(_empty(*then[name]) for name in reading.datasets)
            schemas = [then[name][1].schema for name in reading.datasets]
            found = {one.name: sample_of(one, schemas) for one in reading.parameters}
            samples = found if parameters is None else dict(parameters)
            job = _job(form, samples, views, visible=asked.datasets, described_only=bound_only and is_plain)
            schema = _schema(chosen.open(job))
            if job.described_only:
                # there are none; what has been read to its end can be used again
                list(chosen.batches())
    return Description(datasets=reading.datasets, schema=schema, samples=samples)


def _empty(dataset: Dataset, record: DatasetRecord) -> View:
    """A dataset as if it had no rows."""
    no_schemas: dict[int, Schema] = {}
    pinned = Pinned(
        dataset=dataset,
        schema=record.schema,
        schema_of=no_schemas.__getitem__,
        retracted=NOTHING,
        storage=LocalObjects(paths={}),
    )
    return View(name=dataset.name, step=Step(), pinned=pinned)


def _asked(text: str, datasets: DatasetsAsOf, parameters: Mapping[str, Any] | None) -> Asked:
    syntax.refuse_bombs(text, "SQL: the text")
    columns = session_columns(text, datasets, datasets.column_names)
    values = None if parameters is None else dict(parameters)
    return Asked(text=text, datasets=tuple(datasets), columns=tuple(sorted(columns)), parameters=values)


def _entered(
    room: Callable[[EngineLimits], Executor],
    limits: EngineLimits,
    began: Callable[[Cancellable], object] | None,
    stack: ExitStack,
) -> tuple[Executor, Cancellable]:
    """An executor that is closed with the stack, and what stops it, which whoever wants to know is told of."""
    chosen = room(limits)
    stack.callback(chosen.close)
    stopper = Cancellable(chosen.interrupt)
    stack.callback(stopper.let_go)
    if began is not None:
        began(stopper)
    return chosen, stopper


def _read(room: Executor, asked: Asked, datasets: DatasetsAsOf) -> TablesRead:
    """What the text reads; its syntax errors name words that would have to be quoted."""
    with hinted(asked.text, datasets, datasets.column_names):
        return room.read(asked)


def _views(
    querier: Querier, reading: TablesRead, datasets: DatasetsAsOf, parameters: Mapping[str, Any], stack: ExitStack
) -> tuple[list[tuple[View, Plan]], tuple[str, ...]]:
    """Pin the version of each dataset that is read; gives the views, and what there is to know about the pins."""
    datasets.require(reading.datasets)
    if reading.is_description:
        return [_described(querier, datasets, name) for name in reading.datasets], ()
    views, warnings = [], dict[str, None]()
    for name in reading.datasets:
        dataset, record = datasets[name]
        version = datasets.version(name)
        claim = querier.newest(record) if version is None else querier.claim(record, version)
        stack.callback(claim.release)
        dataset, record = querier.in_force(dataset, record, claim.version)
        where = _filter(reading.filters.get(name), record.schema, parameters)
        views.append(_view(querier, dataset, record, claim, where=where, read=reading.columns, stack=stack))
        warnings |= dict.fromkeys(claim.warnings)
    return views, tuple(warnings)


def _described(querier: Querier, datasets: DatasetsAsOf, name: str) -> tuple[View, Plan]:
    """A dataset of which names and types alone are read; an older version has to be there all the same."""
    dataset, record = datasets[name]
    version = datasets.version(name)
    if version is not None:
        querier.claim(record, version).release()
    version = record.manifest_version if version is None else version
    return _empty(dataset, record), Plan(version=version, whole=Step(), live=0)


def _view(
    querier: Querier,
    dataset: Dataset,
    record: DatasetRecord,
    claim: SnapshotPin | HeldVersion,
    *,
    where: Where,
    read: frozenset[str] | None,
    stack: ExitStack,
) -> tuple[View, Plan]:
    """Choose what of the claimed version is read, and have that on this machine."""
    chosen = querier.planned(dataset, record, version=claim.version, where=where)
    pinned = querier.pinned(dataset, record, version=claim.version)
    claim.confirm()
    schemas = {version: pinned.schema_of(version) for version in {one.schema_version for one in chosen.whole.segments}}
    step = chosen.whole
    try:
        files = _files(step, pinned, read, stack)
    except MissingObjectError:
        moved = querier.relocated(record, claim.version, step)
        if moved is None:
            raise
        step, files = moved, _files(moved, pinned, read, stack)
    # a job can go to another process, which has no catalog and no credentials
    ready = replace(pinned, schema_of=schemas.__getitem__, storage=files)
    fetched = read if querier.is_remote(step) else None
    return View(name=dataset.name, step=step, pinned=ready, fetched=fetched), chosen


def _files(step: Step, pinned: Pinned, read: frozenset[str] | None, stack: ExitStack) -> LocalObjects:
    """A step's objects as local files. `read`: columns among which are all that are read, None for all."""
    names = pinned.schema.names
    # where a table counts for its rows alone, DuckDB reads the first column
    needed = names if read is None else unique([names[0], *(name for name in names if name.lower() in read)])
    paths: dict[ObjectName, Path] = {}
    for segments, columns in ((step.unique, pinned.stored_names(needed, step.unique)), (step.overlapping, None)):
        found = stack.enter_context(pinned.storage.reading(segments, columns=columns))
        paths |= {ObjectName(one.storage, one.name): path for one, path in zip(segments, found, strict=True)}
    return LocalObjects(paths=paths)


def _filter(found: Filtered | None, schema: Schema, parameters: Mapping[str, Any]) -> Where:
    """What the statement's conditions say about a dataset of that schema."""
    if found is None:
        return Where()
    conditions = copy.deepcopy(found.conditions)
    spelt = {name.lower(): name for name in schema.names}
    for node in syntax.nodes(conditions):
        if node.get("class") == "COLUMN_REF":
            node["column_names"] = _unqualified(node["column_names"], found.name, spelt)
        elif node.get("class") == "PARAMETER":
            node |= _as_constant(parameters[node["identifier"]])
    said = (pruning.of_expression(part, schema) for part in conditions)
    return Where(conjuncts=tuple(Conjunct(sql="", columns=frozenset(), predicate=one) for one in said if one))


def _as_constant(value: Any) -> syntax.Tree:
    """A parameter's value as the parser gives constants, {} where no constant is compared in the same way."""
    if isinstance(value, bool):
        return _constant("BOOLEAN", str(value).lower())
    if isinstance(value, int | str):
        return _constant("STRING" if isinstance(value, str) else "INTEGER", str(value))
    if isinstance(value, date):
        kind = "timestamp" if isinstance(value, datetime) else "date"
        text = value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
        return {"class": "CAST", "type_expr": {"type_name": kind}, "child": _constant("STRING", text)}
    return {}


def _constant(kind: str, text: str) -> syntax.Tree:
    return {"class": "CONSTANT", "literal": {"kind": kind, "text": text}}


def _unqualified(path: list[str], table: str, spelt: Mapping[str, str]) -> list[str]:
    if len(path) == 2 and path[0].lower() == table.lower():
        path = path[1:]
    return [spelt.get(path[0].lower(), path[0]), *path[1:]]


def _schema(found: pa.Schema) -> pa.Schema:
    """The answer's schema; of columns with one name the later ones get a number, as nobody could tell them apart."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    fields = []
    for field in found:
        name = field.name
        while name in taken:
            # where the last one of this name ended: beginning anew each time would be quadratic
            numbers[field.name] = number = numbers.get(field.name, 0) + 1
            name = f"{field.name}_{number}"
        taken.add(name)
        fields.append(pa.field(name, in_utc(field.type)))
    return pa.schema(fields)


def _suspected(
    batches: Generator[pa.RecordBatch, None, None], suspecting: AbstractContextManager[None]
) -> Generator[pa.RecordBatch, None, None]:
    with closing(batches), suspecting:
        yield from batches


def _batches(found: Iterator[pa.RecordBatch], schema: pa.Schema, clock: TimeLimit) -> Generator[pa.RecordBatch, None, None]:
    while True:
        with clock.running(), explained("running the SQL"):
            batch = next(found, None)
        if batch is None:
            return
        yield typed(batch, schema)

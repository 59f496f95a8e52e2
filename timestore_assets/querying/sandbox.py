"""The SQL door: one SELECT over datasets as views, in a connection that can reach nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import MissingObjectError
from timestore_assets.model.objects import ObjectName
from timestore_assets.model.schema import SOURCE_COLUMN, Schema
from timestore_assets.querying import predicates, syntax
from timestore_assets.querying.answer import Answer, in_utc, typed
from timestore_assets.querying.checked_sql import NO_PARAMETERS, Checked, check_sql
from timestore_assets.querying.clock import Clock, Stopper
from timestore_assets.querying.columns_read import columns_read
from timestore_assets.querying.execute import Querier
from timestore_assets.querying.failures import explained
from timestore_assets.querying.names import unique
from timestore_assets.querying.plan import Plan, Step
from timestore_assets.querying.room import Here, Job, Room, View
from timestore_assets.querying.rows import Pinned
from timestore_assets.querying.where import Conjunct, Where
from timestore_assets.storage.targets import Fetched

TIMEOUT_SECONDS = 60.0


def run_sql(
    querier: Querier,
    text: str,
    datasets: Mapping[str, tuple[Dataset, DatasetRecord]],
    *,
    parameters: Mapping[str, Any] = NO_PARAMETERS,
    timeout: float = TIMEOUT_SECONDS,
    began: Callable[[Stopper], object] | None = None,
    room: Callable[[Job], Room] = Here,
) -> Answer:
    """Answer one SELECT in which each dataset is a view of its newest version, in the form a query gives.

    Args:
        parameters: values of what the text writes as `$name`; times are naive and in UTC.
        timeout: seconds that DuckDB may compute; the time in which nobody reads the answer does not count.
        began: is given what stops it, before anything is computed.
        room: where it is computed.

    Raises:
        InputError: the SQL does not parse, bind or compute. RefusedError: it asks for more than reading datasets, or took too
            long. UnavailableError: memory or a segment file is missing.
    """
    checked = check_sql(syntax.parser(), text, datasets=datasets, parameters=parameters)
    read = columns_read(syntax.statements(syntax.parser(), text)[0])
    with ExitStack() as stack:
        views = []
        for name in sorted(checked.datasets):
            dataset, record = datasets[name]
            where = _filter(checked, dataset, record.schema, parameters)
            views.append(_view(querier, dataset, record, where=where, read=read, stack=stack))
        job = Job(text=text, parameters=dict(parameters), views=tuple(view for view, _ in views), limits=querier.limits)
        chosen = room(job)
        stack.callback(chosen.close)
        stopper = Stopper(chosen.interrupt)
        stack.callback(stopper.let_go)
        if began is not None:
            began(stopper)
        clock = Clock(stopper.interrupt, timeout)
        with clock.running(), explained("running the SQL"):
            schema = _schema(chosen.open())
        source = _batches(chosen.batches(), schema, clock)
        stack.callback(source.close)
        return Answer(
            schema=schema,
            batches=source,
            close=stack.pop_all().close,
            manifest_versions={view.name: plan.version for view, plan in views},
            scanned=sum(plan.scanned for _, plan in views),
            pruned=sum(plan.pruned for _, plan in views),
            interrupt=stopper.interrupt,
        )


def check(
    querier: Querier,
    text: str,
    datasets: Mapping[str, tuple[Dataset, DatasetRecord]],
    *,
    parameters: Mapping[str, Any] = NO_PARAMETERS,
    timeout: float = TIMEOUT_SECONDS,
    room: Callable[[Job], Room] = Here,
) -> tuple[str, ...]:
    """Run a SELECT as if its datasets were empty; returns the names of those that it reads.

    Raises:
        InputError, RefusedError: as `run_sql`, as far as no data is needed to find it.
    """
    found = sorted(check_sql(syntax.parser(), text, datasets=datasets, parameters=parameters).datasets)
    views = []
    no_schemas: dict[int, Schema] = {}
    for name in found:
        dataset, record = datasets[name]
        nothing = Pinned(
            dataset=dataset,
            schema=record.schema,
            schema_of=no_schemas.__getitem__,
            retracted=frozenset(),
            storage=Fetched(paths={}),
        )
        views.append(View(name=name, step=Step(), pinned=nothing))
    chosen = room(Job(text=text, parameters=dict(parameters), views=tuple(views), limits=querier.limits))
    with closing(chosen), Clock(chosen.interrupt, timeout).running(), explained("reading the SQL"):
        chosen.open()
    return tuple(found)


def _view(
    querier: Querier, dataset: Dataset, record: DatasetRecord, *, where: Where, read: frozenset[str] | None, stack: ExitStack
) -> tuple[View, Plan]:
    """Pin the newest version, choose what of it is read, and have that on this machine."""
    claim = querier.claim(record)
    stack.callback(claim.release)
    chosen = querier.planned(dataset, record, version=claim.version, where=where)
    record = querier.newer(record, chosen) or record
    pinned = querier.pinned(dataset, record, version=claim.version)
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
    return View(name=dataset.name, step=step, pinned=ready), chosen


def _files(step: Step, pinned: Pinned, read: frozenset[str] | None, stack: ExitStack) -> Fetched:
    """A step's objects as local files. `read`: columns among which are all that are read, None for all."""
    names = pinned.schema.names
    # where a table counts for its rows alone, DuckDB reads the first column
    needed = names if read is None else unique([names[0], *(name for name in names if name.lower() in read)])
    hidden = [SOURCE_COLUMN] if pinned.retracted else []
    paths: dict[ObjectName, Path] = {}
    for segments, columns in ((step.unique, [*needed, *hidden]), (step.overlapping, None)):
        found = stack.enter_context(pinned.storage.reading(segments, columns=columns))
        paths |= {ObjectName(one.storage, one.name): path for one, path in zip(segments, found, strict=True)}
    return Fetched(paths=paths)


def _filter(checked: Checked, dataset: Dataset, schema: Schema, parameters: Mapping[str, Any]) -> Where:
    """What the statement's own WHERE says about a dataset, when it reads the dataset in one place and nothing beside it there."""
    selects = checked.selects[dataset.name]
    name, select = selects[0]
    if len(selects) != 1 or select is None or select.get("sample") or not select.get("where_clause"):
        return Where()
    tree = copy.deepcopy(select["where_clause"])
    for node in syntax.nodes(tree):
        if node.get("class") == "COLUMN_REF":
            node["column_names"] = _unqualified(node["column_names"], name, schema)
        elif node.get("class") == "PARAMETER":
            node |= _as_constant(parameters[node["identifier"]])
    found = (predicates.of_expression(part, schema) for part in syntax.conjuncts(tree))
    return Where(conjuncts=tuple(Conjunct(sql="", columns=frozenset(), predicate=one) for one in found if one))


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


def _unqualified(path: list[str], table: str, schema: Schema) -> list[str]:
    if len(path) == 2 and path[0].lower() == table.lower():
        path = path[1:]
    spelt = {name.lower(): name for name in schema.names}
    return [spelt.get(path[0].lower(), path[0]), *path[1:]]


def _schema(found: pa.Schema) -> pa.Schema:
    """The answer's schema; of columns with one name the later ones get a number, as nobody could tell them apart."""
    taken: set[str] = set()
    fields = []
    for field in found:
        name, number = field.name, 1
        while name in taken:
            name, number = f"{field.name}_{number}", number + 1
        taken.add(name)
        fields.append(pa.field(name, in_utc(field.type)))
    return pa.schema(fields)


def _batches(found: Iterator[pa.RecordBatch], schema: pa.Schema, clock: Clock) -> Generator[pa.RecordBatch, None, None]:
    while True:
        with clock.running(), explained("running the SQL"):
            batch = next(found, None)
        if batch is None:
            return
        yield typed(batch, schema)

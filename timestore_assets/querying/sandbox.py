"""The SQL door: one SELECT over datasets as views, in a connection that can reach nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import literal, quote
from timestore_assets.querying import predicates, syntax
from timestore_assets.querying.answer import Answer, in_utc, typed
from timestore_assets.querying.checked_sql import NO_PARAMETERS, Checked, check_sql
from timestore_assets.querying.clock import Clock, Stopper
from timestore_assets.querying.execute import BATCH_ROWS, Querier
from timestore_assets.querying.failures import explained
from timestore_assets.querying.names import unique
from timestore_assets.querying.plan import Plan
from timestore_assets.querying.statement import no_rows
from timestore_assets.querying.where import Conjunct, Where
from timestore_assets.storage.engine import EngineLimits, connect

TIMEOUT_SECONDS = 60.0
_AS_TEXT = ("INTERVAL", "BIT", "UNION", "ENUM", "TIME WITH TIME ZONE")


def run_sql(
    querier: Querier,
    text: str,
    datasets: Mapping[str, tuple[Dataset, DatasetRecord]],
    *,
    parameters: Mapping[str, Any] = NO_PARAMETERS,
    timeout: float = TIMEOUT_SECONDS,
    began: Callable[[Stopper], object] | None = None,
) -> Answer:
    """Answer one SELECT in which each dataset is a view of its newest version, in the form a query gives.

    Args:
        parameters: values of what the text writes as `$name`; times are naive and in UTC.
        timeout: seconds that DuckDB may compute; the time in which nobody reads the answer does not count.
        began: is given what stops it, before anything is computed.

    Raises:
        InputError: the SQL does not parse, bind or compute. RefusedError: it asks for more than reading datasets, or took too
            long. UnavailableError: memory or a segment file is missing.
    """
    with ExitStack() as stack:
        con = connect(querier.limits)
        stack.callback(con.close)
        stopper = Stopper(con.interrupt)
        stack.callback(stopper.let_go)
        if began is not None:
            began(stopper)
        checked = check_sql(con, text, datasets=datasets, parameters=parameters)
        clock = Clock(stopper.interrupt, timeout)
        versions, plans = {}, []
        with clock.running(), explained("opening segments"):
            for name in sorted(checked.datasets):
                dataset, record = datasets[name]
                where = _filter(checked, dataset, record.schema, parameters)
                chosen = _open_view(querier, con, dataset, record, where=where, stack=stack)
                versions[name] = chosen.version
                plans.append(chosen)
            _lock(con, [str(querier.store.local_path(one.name)) for chosen in plans for one in chosen.whole.segments])
        with clock.running(), explained("running the SQL"):
            reader = _portable(con.sql(text, params=dict(parameters) or None)).to_arrow_reader(BATCH_ROWS)
        schema = _schema(reader.schema)
        source = _batches(reader, schema, clock)
        stack.callback(source.close)
        return Answer(
            schema=schema,
            batches=source,
            close=stack.pop_all().close,
            manifest_versions=versions,
            scanned=sum(chosen.scanned for chosen in plans),
            pruned=sum(chosen.pruned for chosen in plans),
            interrupt=stopper.interrupt,
        )


def check(
    limits: EngineLimits,
    text: str,
    datasets: Mapping[str, tuple[Dataset, DatasetRecord]],
    *,
    parameters: Mapping[str, Any] = NO_PARAMETERS,
) -> tuple[str, ...]:
    """Check that a SELECT could be run, without reading anything; returns the names of the datasets that it reads.

    Raises:
        InputError, RefusedError: as `run_sql`, as far as no data is needed to find it.
    """
    with closing(connect(limits)) as con:
        found = sorted(check_sql(con, text, datasets=datasets, parameters=parameters).datasets)
        for name in found:
            schema = datasets[name][1].schema
            con.execute(f"CREATE TEMP VIEW {quote(name)} AS SELECT * FROM {no_rows(schema, schema.names)}").fetchall()
        _lock(con, [])
        with explained("reading the SQL"):
            con.sql(text, params=dict(parameters) or None)
    return tuple(found)


def _open_view(
    querier: Querier,
    con: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    record: DatasetRecord,
    *,
    where: Where,
    stack: ExitStack,
) -> Plan:
    """Pin the newest version, and make a view of its rows under the dataset's name."""
    claim = querier.claim(record)
    stack.callback(claim.release)
    chosen = querier.planned(dataset, record, version=claim.version, where=where)
    record = querier.newer(record, chosen) or record
    rows = stack.enter_context(querier.everything(con, dataset, record, chosen))
    con.execute(f"CREATE TEMP VIEW {quote(dataset.name)} AS SELECT * FROM {rows}").fetchall()
    return chosen


def _lock(con: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    """From here on the connection reads these files and the attached ones, and its settings can't be changed."""
    con.execute(f"SET allowed_paths = [{', '.join(literal(path) for path in unique(paths))}]").fetchall()
    for setting in ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true"):
        con.execute(f"SET {setting}").fetchall()


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


def _portable(result: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The result with types that Parquet, Polars and others don't know as text."""
    if not any(str(kind).startswith(_AS_TEXT) for kind in result.types):
        return result
    columns = enumerate(zip(result.columns, result.types, strict=True), start=1)
    parts = (f"#{i}::VARCHAR AS {quote(name)}" if str(kind).startswith(_AS_TEXT) else f"#{i}" for i, (name, kind) in columns)
    return result.project(", ".join(parts))


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


def _batches(reader: pa.RecordBatchReader, schema: pa.Schema, clock: Clock) -> Generator[pa.RecordBatch, None, None]:
    try:
        while True:
            with clock.running(), explained("running the SQL"):
                batch = next(reader, None)
            if batch is None:
                return
            yield typed(batch, schema)
    finally:
        reader.close()

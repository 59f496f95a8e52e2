"""Undeclared columns: added, left out or refused as the dataset's `evolution` says, and their types widened.

Which ones a batch may add, of those that the dataset may still get today, is decided record by record, and the segments store
their values as the texts that came. So the split into batches doesn't matter.

The type of a column nobody declared is the join of what its values look like. bool joins only with itself, int64 lies below
double, and string is above all: a value is never read as something that its text does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.decoding.column_names import case_twin, name_problem
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.decoding.undeclared_columns import ColumnPattern, Extras, RawColumn
from timestore_assets.model.dataset import Dataset, Evolution
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import ColumnType
from timestore_assets.model.window import parse_time

PERIOD = timedelta(days=1)


def columns_left(catalog: Catalog, dataset_id: int, dataset: Dataset, *, now: datetime) -> int:
    """Of `evolution.max_new_columns` what the additions of the last day leave; columns declared since don't count."""
    since = now - PERIOD
    recent = [version for version in catalog.datasets.schema_history(dataset_id) if parse_time(version["created_at"]) > since]
    added = {
        change["column"]
        for version in recent
        for change in version["changes"]
        if change["kind"] == "column_added" and dataset.schema.find(change["column"]) is None
    }
    return max(0, dataset.evolution.max_new_columns - len(added))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Rows refused for one column."""

    rows: Rows
    code: str
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`added`: new columns, in order of appearance."""

    added: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = field(default=())


def admit(shapes: Iterable[ColumnPattern], *, known: Collection[str], allowance: int) -> Admission:
    """Go through the records in order; one whose new columns exceed the allowance is refused and adds none of them.

    A refusal names the alphabetically first of them: the order of a header differs between files of the same records.

    `known`: columns of the schema. `allowance`: how many columns may still be added.
    """
    added: dict[str, None] = {}
    refused: list[Refused] = []
    for shape in shapes:
        new = [name for name in shape.names if name not in known and name not in added]
        twin = next((name for name in new if case_twin(name, [*known, *added])), None)
        if twin is not None:
            other = case_twin(twin, [*known, *added])
            reason = f"column {twin[:60]!r} differs from {other!r} only by case"
            refused.append(Refused(rows=shape.rows, code="ambiguous_column", column=twin, reason=reason))
        elif len(added) + len(new) > allowance:
            reason = f"{len(new):,} new columns, of which {max(0, allowance - len(added))} may still be added today"
            refused.append(Refused(rows=shape.rows, code="too_many_columns", column=min(new), reason=reason))
        else:
            added.update(dict.fromkeys(new))
    return Admission(added=tuple(added), refused=tuple(refused))


def reject(shapes: Iterable[ColumnPattern], *, known: Collection[str]) -> Admission:
    """Refuse every record that has a value in an unknown column."""
    refused = []
    for shape in shapes:
        new = [name for name in shape.names if name not in known]
        if new:
            first = min(new)
            reason = f"column {first[:60]!r} is not declared and `new_columns: reject` takes no others"
            refused.append(Refused(rows=shape.rows, code="unknown_column", column=first, reason=reason))
    return Admission(refused=tuple(refused))


_INTEGER = "[+-]?[0-9]+"
_FLOAT = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NOT_FINITE = "[+-]?(?i:nan|inf|infinity)"

NON_FINITE = "non_finite"
_FITS = {
    "bool": frozenset({"bool"}),
    "int64": frozenset({"int64"}),
    "double": frozenset({"int64", "double"}),
    "string": frozenset({"bool", "int64", "double", "string"}),
}


def raw_texts(con: duckdb.DuckDBPyConnection, column: RawColumn) -> pa.Table:
    """The column's values as columns `text`, as segments store them, and `class`, what each looks like.

    Classes: `bool`, `int64`, `double`, `string`, or `non_finite` for what a format wrote as a number that is none; null for null.
    """
    nested = pa.types.is_nested(column.values.type)
    table = {"v": column.values}
    if column.is_string is not None:
        table["s"] = column.is_string
    con.register("landing_extra", pa.table(table))
    text = "CAST(to_json(v) AS VARCHAR)" if nested else "CAST(v AS VARCHAR)"
    inner = f"SELECT {text} AS text{', s' if 's' in table else ''} FROM landing_extra"
    try:
        return con.sql(f"SELECT text, {_class(column)} AS class FROM ({inner})").to_arrow_table()
    finally:
        con.unregister("landing_extra")


def _class(column: RawColumn) -> str:
    if column.type_name == "double":
        return f"CASE WHEN regexp_full_match(text, '{_NOT_FINITE}') THEN '{NON_FINITE}' WHEN text IS NOT NULL THEN 'double' END"
    if column.type_name is not None:
        return f"CASE WHEN text IS NOT NULL THEN '{column.type_name}' END"
    written = f"WHEN s THEN 'string' WHEN regexp_full_match(text, '{_NOT_FINITE}') THEN '{NON_FINITE}'"
    # a whole number beyond int64 would lose digits as a double
    return f"""CASE WHEN text IS NULL THEN NULL {written if column.is_string is not None else ""}
        WHEN lower(text) IN ('true', 'false') THEN 'bool'
        WHEN regexp_full_match(text, '{_INTEGER}') THEN CASE WHEN try_cast(text AS BIGINT) IS NULL THEN 'string' ELSE 'int64' END
        WHEN regexp_full_match(text, '{_FLOAT}') AND isfinite(try_cast(text AS DOUBLE)) THEN 'double' ELSE 'string' END"""


def join(classes: Collection[str]) -> ColumnType:
    """The narrowest type that all these classes of values fit: text for what only a declaration can name, such as a timestamp."""
    fitting = next((name for name, fits in _FITS.items() if fits.issuperset(classes)), "string")
    return ColumnType(kind=fitting)


def fits(kind: ColumnType) -> frozenset[str]:
    """Classes of values that a column of the type can hold without being widened."""
    return _FITS.get(kind.kind, frozenset({kind.kind}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolved:
    """`schema`: the one to store the batch in, its version unchanged. `columns`: raw texts of inferred columns that have values.

    `ignored`: values left out, by column.
    """

    schema: Schema
    changes: tuple[SchemaChange, ...] = ()
    columns: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)


def evolve(
    con: duckdb.DuckDBPyConnection,
    extras: Extras,
    row_mask: RowMask,
    *,
    schema: Schema,
    policy: Evolution,
    allowance: Callable[[], int],
) -> Evolved:
    """Decide about the undeclared columns of a batch's good rows, refusing rows that the policy or limit keeps out.

    Codes: `unknown_column`, `too_many_columns`, `ambiguous_column`, `non_finite`, `bad_value` (under `widen: false`).
    `allowance`: how many columns may still be added today; asked only when there are new ones.
    """
    names = extras.names()
    if not names or not row_mask.good_rows:
        return Evolved(schema=schema)
    new = [name for name in names if schema.find(name) is None and name_problem(name) is None]
    left_out = [name for name in names if name_problem(name) is not None]
    # under the name of a column that was dropped, and not declared again, nothing comes back by itself
    left_out += [name for name in new if name in schema.retired_names]
    _refuse_outdated(extras, row_mask, schema, new)
    new = [name for name in new if name not in schema.retired_names and name not in schema.former_names]
    if policy.new_columns == "ignore":
        left_out, new = [*left_out, *new], []
    admission = _admission(extras, row_mask, schema, new, policy, allowance)
    for refusal in admission.refused:
        row_mask.refuse(refusal.rows, code=refusal.code, column=refusal.column, reason=refusal.reason)
    known = [name for name in names if schema.find(name) is not None]
    evolved = Evolved(schema=schema, ignored=_count(extras, row_mask, left_out))
    for name in (*known, *admission.added):
        evolved = _with_column(con, evolved, name, extras, row_mask, policy)
    return evolved


def _refuse_outdated(extras: Extras, row_mask: RowMask, schema: Schema, new: list[str]) -> None:
    """Refuse rows with values under a former name that is taken no longer: they would be lost, or make a second column."""
    for name in new:
        if column := schema.former_names.get(name):
            rows = np.flatnonzero(pc.is_valid(extras.column(name).values).to_numpy())
            reason = f"column {name[:60]!r} was renamed to {column.name!r}, and its former name is taken no longer"
            row_mask.refuse(rows, code="unknown_column", column=name, reason=reason)


def _admission(
    extras: Extras, row_mask: RowMask, schema: Schema, new: list[str], policy: Evolution, allowance: Callable[[], int]
) -> Admission:
    if not new:
        return Admission()
    if policy.new_columns == "reject":
        return reject(extras.shapes(row_mask.good_indices()), known=schema.names)
    limit = allowance()
    folded = {name.casefold() for name in (*new, *schema.names)}
    if len(new) <= limit and len(folded) == len(new) + len(schema.names):
        # the usual case: whatever the order of the records, all of these are added
        return Admission(added=tuple(new))
    return admit(extras.shapes(row_mask.good_indices()), known=schema.names, allowance=limit)


def _with_column(
    con: duckdb.DuckDBPyConnection, evolved: Evolved, name: str, extras: Extras, row_mask: RowMask, policy: Evolution
) -> Evolved:
    before = evolved.schema.find(name)
    texts = raw_texts(con, extras.column(name))
    classes = texts.column("class")
    allowed = fits(before.type) if before is not None and not policy.widen else None
    _refuse_unfitting(classes, row_mask, name, before, allowed)
    kinds = set(pc.unique(row_mask.keep(pa.table({"c": classes})).column(0)).to_pylist()) - {None}
    if not kinds:
        return evolved
    kind = join(kinds | ({before.type.kind} if before is not None else set()))
    columns = {**evolved.columns, name: texts.column("text")}
    if before is not None and kind == before.type:
        return replace(evolved, columns=columns)
    after = replace(before, type=kind) if before is not None else Column(name=name, type=kind, nullable=True, origin="inferred")
    change = SchemaChange(
        kind="column_added" if before is None else "type_widened",
        column=name,
        before=str(before.type) if before is not None else None,
        after=str(kind),
    )
    return replace(evolved, schema=evolved.schema.with_columns(after), changes=(*evolved.changes, change), columns=columns)


def _refuse_unfitting(
    classes: pa.ChunkedArray, row_mask: RowMask, name: str, before: Column | None, allowed: frozenset[str] | None
) -> None:
    not_finite = np.flatnonzero(pc.fill_null(pc.equal(classes, NON_FINITE), False).to_numpy())
    row_mask.refuse(not_finite, code="non_finite", column=name, reason=f"the number in column {name[:60]!r} is not finite")
    if allowed is not None and before is not None:
        fitting = pc.is_in(classes, value_set=pa.array([*allowed, None], classes.type))
        rows = np.flatnonzero(pc.invert(fitting).to_numpy())
        reason = f"the value in column {name!r} is no {before.type} and `widen: false` keeps the type"
        row_mask.refuse(rows, code="bad_value", column=name, reason=reason)


def _count(extras: Extras, row_mask: RowMask, names: list[str]) -> dict[str, int]:
    """Values of good rows in columns that are left out."""
    counts = {}
    for name in names:
        values = row_mask.keep(pa.table({"v": extras.column(name).values})).column(0)
        counts[name] = len(values) - values.null_count
    return {name: count for name, count in counts.items() if count}

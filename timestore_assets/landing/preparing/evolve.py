"""Undeclared columns: added, left out or refused as the dataset's `evolution` says, and their types widened or kept.

Which ones a batch may add, of those that the dataset may still get today, is decided record by record, and the segments store
their values as the texts that came. So the split into batches doesn't matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from timestore_assets.decoding.undeclared_columns import ColumnPattern, Extras
from timestore_assets.landing.preparing.first_types import FirstTypes
from timestore_assets.landing.preparing.inferred_types import NON_FINITE, fits, join, raw_texts
from timestore_assets.model.contract import frozen_reason
from timestore_assets.model.dataset import Dataset, Evolution
from timestore_assets.model.errors import FrozenSchemaError
from timestore_assets.model.schema import Column, Schema
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
            reason = f"column {first[:60]!r} is not declared and `columns: discard_row` takes no others"
            refused.append(Refused(rows=shape.rows, code="unknown_column", column=first, reason=reason))
    return Admission(refused=tuple(refused))


@dataclass(frozen=True, kw_only=True, slots=True)
class DecidingValue:
    """The value that made a change."""

    row: int
    """Of the batch."""
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolved:
    """What a batch makes of the undeclared columns."""

    schema: Schema
    """The one to store the batch in, its version unchanged."""
    changes: tuple[SchemaChange, ...] = ()
    columns: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    """Raw texts of inferred columns that have values."""
    deciding: Mapping[str, DecidingValue] = field(default_factory=dict)
    """What made each change, by column."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Values left out since nobody declared their column, by column."""
    discarded: Mapping[str, int] = field(default_factory=dict)
    """Values left out since they don't fit the type of their column, by column."""


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

    Codes: `unknown_column`, `too_many_columns`, `ambiguous_column`, `non_finite`, `bad_value` (under `types: discard_row`).
    `allowance`: how many columns may still be added today; asked only when there are new ones.

    Raises:
        FrozenSchemaError: they ask for a change that the policy freezes.
    """
    names = extras.names()
    if not names or not row_mask.good_rows:
        return Evolved(schema=schema)
    left_out = [name for name in names if name_problem(name) is not None]
    # under the name of a column that was dropped, and not declared again, nothing comes back by itself
    left_out += [name for name in names if name in schema.retired_names]
    _refuse_outdated(extras, row_mask, schema, names)
    gone = {*left_out, *schema.former_names}
    new = [name for name in names if schema.find(name) is None and name not in gone]
    present = frozenset(names)
    known = [column.name for column in schema if column.name in present]
    if new and policy.columns == "freeze":
        _require_known(extras, row_mask, new)
    elif new and policy.columns == "discard_row":
        _refuse(row_mask, reject(extras.shapes(row_mask.good_indices()), known=(*schema.names, *left_out)))
    elif new and policy.columns == "discard_value":
        left_out += new
    new = new if policy.columns == "evolve" else []
    if policy.types == "evolve":
        evolved = _widened(con, extras, row_mask, schema, known, new, left_out, allowance)
    else:
        kept = FirstTypes(con, extras, row_mask, schema=schema, mode=policy.types)
        kept.judge(known, new, allowance=allowance)
        evolved = _kept(kept, schema, known)
    return replace(evolved, ignored=_count(extras, row_mask, left_out))


def _refuse(row_mask: RowMask, admission: Admission) -> None:
    for refusal in admission.refused:
        row_mask.refuse(refusal.rows, code=refusal.code, column=refusal.column, reason=refusal.reason)


def _require_known(extras: Extras, row_mask: RowMask, new: Sequence[str]) -> None:
    counts = _count(extras, row_mask, new)
    if counts:
        names = ", ".join(repr(name[:60]) for name in sorted(counts)[:3]) + (" …" if len(counts) > 3 else "")
        what = f"column {names} is" if len(counts) == 1 else f"columns {names} are"
        raise FrozenSchemaError(frozen_reason(f"{what} not declared"))


# --- types that don't widen


def _kept(kept: FirstTypes, schema: Schema, known: Sequence[str]) -> Evolved:
    new = [Column(name=name, type=kind, nullable=True, origin="inferred") for name, (kind, _) in kept.added.items()]
    columns = {name: texts for name in (*known, *kept.added) if (texts := kept.values(name)) is not None}
    return Evolved(
        schema=schema.with_columns(*new),
        changes=tuple(SchemaChange(kind="column_added", column=one.name, before=None, after=str(one.type)) for one in new),
        columns=columns,
        deciding={name: DecidingValue(row=row, text=kept.text(name, row)) for name, (_, row) in kept.added.items()},
        discarded=kept.discarded(),
    )


# --- types that do


def _widened(
    con: duckdb.DuckDBPyConnection,
    extras: Extras,
    row_mask: RowMask,
    schema: Schema,
    known: Sequence[str],
    new: Sequence[str],
    left_out: Sequence[str],
    allowance: Callable[[], int],
) -> Evolved:
    admission = _admission(extras, row_mask, (*schema.names, *left_out), new, allowance) if new else Admission()
    _refuse(row_mask, admission)
    evolved = Evolved(schema=schema)
    for name in (*known, *admission.added):
        evolved = _with_column(con, evolved, name, extras, row_mask)
    return evolved


def _refuse_outdated(extras: Extras, row_mask: RowMask, schema: Schema, new: Sequence[str]) -> None:
    """Refuse rows with values under a former name that is taken no longer: they would be lost, or make a second column."""
    for name in new:
        if column := schema.former_names.get(name):
            rows = np.flatnonzero(pc.is_valid(extras.column(name).values).to_numpy())
            reason = f"column {name[:60]!r} was renamed to {column.name!r}, and its former name is taken no longer"
            row_mask.refuse(rows, code="unknown_column", column=name, reason=reason)


def _admission(
    extras: Extras, row_mask: RowMask, known: Sequence[str], new: Sequence[str], allowance: Callable[[], int]
) -> Admission:
    limit = allowance()
    folded = {name.casefold() for name in (*new, *known)}
    if len(new) <= limit and len(folded) == len(new) + len(known):
        # the usual case: whatever the order of the records, all of these are added
        return Admission(added=tuple(new))
    return admit(extras.shapes(row_mask.good_indices()), known=known, allowance=limit)


def _with_column(con: duckdb.DuckDBPyConnection, evolved: Evolved, name: str, extras: Extras, row_mask: RowMask) -> Evolved:
    before = evolved.schema.find(name)
    texts = raw_texts(con, extras.column(name))
    classes = texts.column("class")
    not_finite = np.flatnonzero(pc.fill_null(pc.equal(classes, NON_FINITE), False).to_numpy())
    row_mask.refuse(not_finite, code=NON_FINITE, column=name, reason=f"the number in column {name[:60]!r} is not finite")
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
    return replace(
        evolved,
        schema=evolved.schema.with_columns(after),
        changes=(*evolved.changes, change),
        columns=columns,
        deciding={**evolved.deciding, name: _deciding(texts, row_mask, before)},
    )


def _deciding(texts: pa.Table, row_mask: RowMask, before: Column | None) -> DecidingValue:
    """The first value of a new column, or the first that a column's type does not fit."""
    classes = texts.column("class")
    fitting = pa.array([None, *(fits(before.type) if before is not None else ())], classes.type)
    asks = pc.invert(pc.is_in(classes, value_set=fitting)).to_numpy() & row_mask.good()
    row = int(np.argmax(asks))
    return DecidingValue(row=row, text=str(texts.column("text")[row].as_py()))


def _count(extras: Extras, row_mask: RowMask, names: Sequence[str]) -> dict[str, int]:
    """Values of good rows in some columns."""
    counts = {}
    for name in names:
        values = row_mask.keep(pa.table({"v": extras.column(name).values})).column(0)
        counts[name] = len(values) - values.null_count
    return {name: count for name, count in counts.items() if count}

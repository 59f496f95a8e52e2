"""Undeclared columns: added, left out or refused as the dataset's `evolution` says, and their types widened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.catalog.records import SchemaChange
from timestore_assets.landing.admission import Admission, admit, reject
from timestore_assets.landing.extras import Extras
from timestore_assets.landing.header import name_problem
from timestore_assets.landing.infer import NON_FINITE, fits, join, raw_texts
from timestore_assets.landing.sieve import Sieve
from timestore_assets.model.dataset import Evolution
from timestore_assets.model.schema import Column, Schema


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
    sieve: Sieve,
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
    if not names or not sieve.good_rows:
        return Evolved(schema=schema)
    new = [name for name in names if schema.find(name) is None and name_problem(name) is None]
    left_out = [name for name in names if name_problem(name) is not None]
    if policy.new_columns == "ignore":
        left_out, new = [*left_out, *new], []
    admission = _admission(extras, sieve, schema, new, policy, allowance)
    for refusal in admission.refused:
        sieve.refuse(refusal.rows, code=refusal.code, column=refusal.column, reason=refusal.reason)
    known = [name for name in names if schema.find(name) is not None]
    evolved = Evolved(schema=schema, ignored=_count(extras, sieve, left_out))
    for name in (*known, *admission.added):
        evolved = _with_column(con, evolved, name, extras, sieve, policy)
    return evolved


def _admission(
    extras: Extras, sieve: Sieve, schema: Schema, new: list[str], policy: Evolution, allowance: Callable[[], int]
) -> Admission:
    if not new:
        return Admission()
    if policy.new_columns == "reject":
        return reject(extras.shapes(sieve.good_indices()), known=schema.names)
    limit = allowance()
    folded = {name.casefold() for name in (*new, *schema.names)}
    if len(new) <= limit and len(folded) == len(new) + len(schema.names):
        # the usual case: whatever the order of the records, all of these are added
        return Admission(added=tuple(new))
    return admit(extras.shapes(sieve.good_indices()), known=schema.names, allowance=limit)


def _with_column(
    con: duckdb.DuckDBPyConnection, evolved: Evolved, name: str, extras: Extras, sieve: Sieve, policy: Evolution
) -> Evolved:
    before = evolved.schema.find(name)
    texts = raw_texts(con, extras.column(name))
    classes = texts.column("class")
    allowed = fits(before.type) if before is not None and not policy.widen else None
    _refuse_unfitting(classes, sieve, name, before, allowed)
    found = set(pc.unique(sieve.keep(pa.table({"c": classes})).column(0)).to_pylist()) - {None}
    if not found:
        return evolved
    kind = join(found | ({before.type.kind} if before is not None else set()))
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
    classes: pa.ChunkedArray, sieve: Sieve, name: str, before: Column | None, allowed: frozenset[str] | None
) -> None:
    not_finite = np.flatnonzero(pc.fill_null(pc.equal(classes, NON_FINITE), False).to_numpy())
    sieve.refuse(not_finite, code="non_finite", column=name, reason=f"the number in column {name[:60]!r} is not finite")
    if allowed is not None and before is not None:
        fitting = pc.is_in(classes, value_set=pa.array([*allowed, None], classes.type))
        rows = np.flatnonzero(pc.invert(fitting).to_numpy())
        reason = f"the value in column {name!r} is no {before.type} and `widen: false` keeps the type"
        sieve.refuse(rows, code="bad_value", column=name, reason=reason)


def _count(extras: Extras, sieve: Sieve, names: list[str]) -> dict[str, int]:
    """Values of good rows in columns that are left out."""
    counts = {}
    for name in names:
        values = sieve.keep(pa.table({"v": extras.column(name).values})).column(0)
        counts[name] = len(values) - values.null_count
    return {name: count for name, count in counts.items() if count}

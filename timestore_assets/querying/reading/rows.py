"""The rows that a step of a plan stands for, as one table expression: filtered, deduplicated, in the current schema.

Of unbuilt rows with equal keys only one is in the answer: the one that a build would keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.retraction import Retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import quote
from timestore_assets.querying.planning.query_plan import Step
from timestore_assets.querying.planning.statement import no_rows
from timestore_assets.querying.planning.where import Where
from timestore_assets.querying.reading.connection_pool import allow_open_files
from timestore_assets.segments.deduplicate import not_superseded
from timestore_assets.segments.projection import columns_read
from timestore_assets.segments.reader import InMemorySegment, opened
from timestore_assets.segments.retracted_rows import provenance_read
from timestore_assets.storage.object_store import ObjectReader

EVERYTHING = Where()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """A dataset at a pinned version, with what it takes to read its segments."""

    dataset: Dataset
    #: The current one, in which rows are given.
    schema: Schema
    #: Schema of a version.
    schema_of: Callable[[int], Schema]
    #: Rows that are left out.
    retracted: Retracted
    storage: ObjectReader

    def stored_names(self, needed: Sequence[str], segments: Sequence[Segment]) -> list[str]:
        """Names under which files of these segments hold what the `needed` columns are read from, and what hides rows."""
        versions = {one.schema_version for one in segments if not isinstance(one, InMemorySegment)}
        written = [self.schema if version == self.schema.version else self.schema_of(version) for version in sorted(versions)]
        wanted = [self.schema.column(name) for name in needed]
        return [*columns_read(wanted, schema=self.schema, written=written), *provenance_read(self.retracted)]


@contextmanager
def rows_of(
    con: duckdb.DuckDBPyConnection,
    step: Step,
    pinned: Pinned,
    *,
    needed: Sequence[str],
    where: Where = EVERYTHING,
    start: datetime | None = None,
    end: datetime | None = None,
    for_cursors: bool = False,
) -> Iterator[str]:
    """A table expression with the `needed` columns of the rows that match, valid inside the `with`.

    `start`, `end`: rows outside are left out; None where all segments lie inside anyway. `for_cursors`: the
    expression is valid in other cursors of the connection too.
    """
    time = time_conditions(pinned.dataset.time, start, end)
    names = ", ".join(quote(name) for name in needed)
    dedupe = pinned.dataset.dedupe
    with ExitStack() as stack:
        parts = []
        allow_open_files(step.open_files)
        if step.unique:
            found = stack.enter_context(_opened(con, step.unique, pinned, columns=needed, stored=False, provenance=False))
            parts.append(f"SELECT {names} FROM {found}{_where([*time, *where.conditions()])}")
        if step.overlapping and dedupe:
            on_keys = [*time, *_on_keys(pinned, dedupe, where)]
            newest = stack.enter_context(_newest(con, step.overlapping, pinned, dedupe, on_keys, for_cursors))
            visible = ", ".join(f"{pinned.schema.column(name).read_expression} AS {quote(name)}" for name in pinned.schema.names)
            parts.append(f"SELECT {names} FROM (SELECT {visible} FROM {newest}){_where(where.conditions())}")
        yield "(" + " UNION ALL ".join(parts) + ")" if parts else no_rows(pinned.schema, needed)


@contextmanager
def fetched(segments: Sequence[Segment], step: Step, pinned: Pinned, *, needed: Sequence[str]) -> Iterator[None]:
    """Keep the objects of some segments of a step on this machine, with what `rows_of` is going to read of them."""
    shared = {segment.id for segment in step.overlapping}
    stored = [segment for segment in segments if not isinstance(segment, InMemorySegment)]
    with ExitStack() as stack:
        for is_shared in (False, True):
            chosen = [segment for segment in stored if (segment.id in shared) == is_shared]
            columns = None if is_shared else pinned.stored_names(needed, chosen)
            stack.enter_context(pinned.storage.reading(chosen, columns=columns))
        yield


@contextmanager
def attached(con: duckdb.DuckDBPyConnection, step: Step, pinned: Pinned) -> Iterator[None]:
    """Keep a step's `.duckdb` files attached, so that opening them again inside the `with` costs nothing."""
    allow_open_files(step.open_files)
    databases = [segment for segment in step.segments if segment.format == "duckdb"]
    with _opened(con, databases, pinned, columns=(), stored=False):
        yield


@contextmanager
def _newest(
    con: duckdb.DuckDBPyConnection,
    segments: Sequence[Segment],
    pinned: Pinned,
    dedupe: Dedupe,
    conditions: Sequence[str],
    for_cursors: bool,
) -> Iterator[str]:
    """Rows of overlapping segments that nothing supersedes; `conditions` must be on keys alone."""
    built = [segment for segment in segments if segment.kind == "sealed" and segment.deduplicated]
    fresh = [segment for segment in segments if segment.kind != "sealed" or not segment.deduplicated]
    with ExitStack() as stack:
        sources = []
        for part in (fresh, built):
            found = stack.enter_context(_opened(con, part, pinned, columns=None, stored=True))
            sources.append(f"(SELECT * FROM {found}{_where(conditions)})")
        kept = not_superseded(
            con,
            sources[0],
            fresh_rows=_rows(fresh),
            built=sources[1] if built else None,
            built_rows=_rows(built),
            dedupe=dedupe,
            schema=pinned.schema,
            for_cursors=for_cursors,
        )
        yield stack.enter_context(kept)


def _rows(segments: Sequence[Segment]) -> int:
    return sum(segment.rows for segment in segments)


def _opened(
    con: duckdb.DuckDBPyConnection,
    segments: Sequence[Segment],
    pinned: Pinned,
    *,
    columns: Sequence[str] | None,
    stored: bool,
    provenance: bool = True,
) -> AbstractContextManager[str]:
    return opened(
        con,
        segments,
        storage=pinned.storage,
        schema=pinned.schema,
        schema_of=pinned.schema_of,
        retracted=pinned.retracted,
        columns=columns,
        stored=stored,
        provenance=provenance,
    )


def _on_keys(pinned: Pinned, dedupe: Dedupe, where: Where) -> list[str]:
    """Conditions on keys, which rows that supersede each other fulfil or fail together (not on keys stored as raw text)."""
    declared = frozenset(name for name in dedupe.keys if pinned.schema.column(name).origin == "declared")
    return where.conditions(only=declared)


def time_conditions(time: str, start: datetime | None, end: datetime | None) -> list[str]:
    """SQL conditions that leave in the times of `[start, end)`."""
    bounds = ((">=", start), ("<", end))
    return [f"{quote(time)} {operator} TIMESTAMP '{_naive(bound)}'" for operator, bound in bounds if bound is not None]


def _naive(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(sep=" ")


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""

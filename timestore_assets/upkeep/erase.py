"""Erasing rows: the partitions that hold some are written anew without them, and older versions can't be read any more.

A pass looks at every row that a pinned version's segments hold, duplicates and retracted ones included, and rewrites what it
finds; passes go on until one finds nothing. Then the floor is raised to that version, and the files of those below it go at
once. Killed anywhere, the next run goes on: what is rewritten is found to be clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from secrets import token_hex

import duckdb

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.erasure import held_sentence
from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError, InputError, MissingObjectError, RefusedError
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import quote
from timestore_assets.model.window import Partition
from timestore_assets.querying.planning.where import Where, parse_where
from timestore_assets.segments.engine import connect
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.segments.reader import opened
from timestore_assets.upkeep.collect import collect_superseded

MOST_PASSES = 20
"""Rows that match may land meanwhile; where they don't stop, an erasure has no end."""
_LEASE = timedelta(minutes=10)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class AffectedPartition:
    """`rows`: stored ones that match, unbuilt duplicates and retracted ones included; 0 where it shares a file with some."""

    partition: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EraseReport:
    """What was erased, or with `dry_run` what would be. No value of the rows is in it.

    `columns`: that the condition looks at. `old_rows`: stored rows that match and that only older versions show. `erased_rows`:
    of the rewritten partitions. `floor_version`: the oldest version that can still be read. `tags`: on older versions, which go.
    `held_files`: files of older versions that readers or sessions still hold; the next collections remove them. `dead_letters`,
    `archives`: files that may hold such rows, and whether they were removed is `removed_dead_letters`, `removed_archives`.
    """

    dataset: str
    dry_run: bool
    columns: tuple[str, ...]
    partitions: tuple[AffectedPartition, ...]
    old_rows: int
    erased_rows: int = 0
    passes: int = 0
    floor_version: int = 0
    tags: tuple[str, ...] = ()
    collected_files: int = 0
    held_files: int = 0
    dead_letters: int = 0
    archives: int = 0
    removed_dead_letters: bool = False
    removed_archives: bool = False

    @property
    def nothing(self) -> bool:
        return not self.partitions and not self.old_rows


class Eraser:
    """Erases the rows of one dataset that meet a condition."""

    def __init__(self, context: WriteContext, dataset: Dataset, record: DatasetRecord, where: str) -> None:
        """InputError when the condition is none over the dataset's columns."""
        self._context, self._catalog, self._dataset, self._record = context, context.catalog, dataset, record
        with closing(connect(context.limits)) as con:
            self._where = parse_where(con, where, record.schema, dataset=dataset.name)
        self._condition = condition_sql(self._where, record.schema)

    def look(self) -> EraseReport:
        """What erasing would do. Nothing is changed."""
        return self._report(self._found()[1], old_rows=self._old_rows(), dry_run=True)

    def erase(self, *, dead_letters: bool, archives: bool, actor: str) -> EraseReport:
        """Erase them; nothing is changed where no row that is stored matches.

        `dead_letters`, `archives`: remove all of the dataset's, because what they hold can't be judged by the condition.

        Raises:
            RefusedError: a legal hold keeps the dataset, or a file is being landed that replaces another.
            ConflictError: rows that match kept landing. Others as `Builder.build`; what is rewritten by then stays so.
        """
        self._require_free()
        version, found = self._found()
        report = self._report(found, old_rows=self._old_rows(), dry_run=False)
        if not report.nothing:
            erased, passes, version = self._rewrite(version, found, actor=actor)
            details = {
                "columns": list(report.columns),
                "rows": erased,
                "partitions": [one.partition for one in report.partitions],
            }
            floor = self._catalog.erasures.raise_floor(self._record.id, version, actor=actor, details=details)
            collected = collect_superseded(self._catalog, self._context.storage, before=_NEVER)
            report = self._report(
                found,
                old_rows=report.old_rows,
                dry_run=False,
                erased_rows=erased,
                passes=passes,
                floor_version=floor.floor_version,
                tags=floor.tags,
                collected_files=collected,
                held_files=sum((one.removed_version or 0) <= floor.floor_version for one in self._superseded()),
            )
        return self._clear(report, dead_letters=dead_letters, archives=archives, actor=actor)

    def _require_free(self) -> None:
        holds = self._catalog.expiry.legal_holds(self._record.id)
        if holds:
            raise RefusedError(held_sentence(self._record.name, list(holds)))
        if self._catalog.erasures.waiting(self._record.id):
            raise RefusedError(
                f"a file is being landed that replaces another in {self._record.name!r}; erase again once it has landed, so that "
                "its rows are looked at too"
            )

    def _rewrite(self, version: int, found: Sequence[tuple[Partition, int]], *, actor: str) -> tuple[int, int, int]:
        """Rewrite what holds such rows until nothing does; rows that went, passes, and the version that is clean."""
        erased, passes = 0, 0
        while found:
            passes += 1
            if passes > MOST_PASSES:
                raise ConflictError(
                    f"rows that match keep landing in {self._record.name!r}; stop what sends them and erase again"
                )
            with Builder(self._context) as builder:  # its session ends with it, so that nothing keeps the old files
                erased += sum(builder.erase(self._dataset, one, self._condition, actor=actor) for one, _ in found)
            version, found = self._found()
        return erased, passes, version

    # --- looking

    def _found(self) -> tuple[int, list[tuple[Partition, int]]]:
        """The newest version, and the partitions that hold such rows in it."""
        holder = f"erase:{token_hex(4)}"
        with LeaseKeeper(self._catalog) as keeper, closing(connect(self._context.limits)) as con:
            pin = keeper.keep(SnapshotPin(self._catalog, self._record.id, version=None, holder=holder, ttl=_LEASE))
            segments = self._catalog.manifest.segments(self._record.id, version=pin.version, with_stats=False)
            found: list[tuple[Partition, int]] = []
            shared = self._shared_with_some(con, segments, pin)
            for start, group in groupby(segments, key=lambda segment: segment.partition_start):
                pin.check()
                members = list(group)
                rows = self._matching(con, members)
                if rows or any(one.is_shared and one.name in shared for one in members):
                    found.append((Partition(window=self._dataset.window, start=start), rows))
            return pin.version, found

    def _shared_with_some(self, con: duckdb.DuckDBPyConnection, segments: Sequence[Segment], pin: SnapshotPin) -> set[str]:
        """Objects that several segments share and any row of which matches: they have to go, so all of those are written anew."""
        found = set[str]()
        for name, one in {segment.name: segment for segment in segments if segment.is_shared}.items():
            pin.check()
            if self._matching(con, [replace(one, first_row=None)]):
                found.add(name)
        return found

    def _old_rows(self) -> int:
        rows = 0
        with closing(connect(self._context.limits)) as con:
            for segment in self._superseded():
                try:
                    rows += self._matching(con, [segment])
                except MissingObjectError:
                    continue  # it was collected meanwhile
        return rows

    def _superseded(self) -> list[Segment]:
        return self._catalog.erasures.superseded(self._record.id)

    def _matching(self, con: duckdb.DuckDBPyConnection, segments: Sequence[Segment]) -> int:
        def schema_of(version: int) -> Schema:
            return self._catalog.datasets.schema(self._record.id, version)

        with opened(
            con,
            segments,
            storage=self._context.storage,
            schema=self._record.schema,
            schema_of=schema_of,
            columns=sorted(self._where.columns) or None,
            stored=True,
            provenance=False,
        ) as source:
            try:
                [[rows]] = con.execute(f"SELECT count(*) FROM {source} WHERE {self._condition}").fetchall()
            except (duckdb.DataError, duckdb.ProgrammingError) as error:
                # its own words may hold a value of a row
                raise InputError(
                    f"the condition can't be computed over {', '.join(sorted(self._where.columns))} ({type(error).__name__}); "
                    "compare columns with values of their types, or use try_cast"
                ) from None
        return int(rows)

    # --- what may hold such rows beside segments

    def _clear(self, report: EraseReport, *, dead_letters: bool, archives: bool, actor: str) -> EraseReport:
        erasures, storage = self._catalog.erasures, self._context.storage
        gone = [*erasures.forget_dead_letters(self._record.id, actor=actor)] if dead_letters else []
        gone += erasures.forget_archives(self._record.id, storage.names, actor=actor) if archives else []
        storage.delete(gone)
        self._catalog.objects.deleted(gone)
        return replace(report, removed_dead_letters=dead_letters, removed_archives=archives)

    def _report(self, found: Sequence[tuple[Partition, int]], *, old_rows: int, dry_run: bool, **more: object) -> EraseReport:
        version = self._catalog.manifest.version(self._record.id)
        counted: dict[str, object] = {
            "tags": tuple(self._catalog.erasures.tags_below(self._record.id, version + 1)),
            "dead_letters": len(self._catalog.dead_letters.of(self._record.id, settled=True)),
            "archives": len(self._catalog.repairs.archives(self._record.id)),
        }
        return EraseReport(
            dataset=self._record.name,
            dry_run=dry_run,
            columns=tuple(sorted(self._where.columns)),
            partitions=tuple(AffectedPartition(partition=one.key, rows=rows) for one, rows in found),
            old_rows=old_rows,
            **{**counted, **more},  # type: ignore[arg-type] # fields of the report
        )


def condition_sql(where: Where, schema: Schema) -> str:
    """A condition over columns as they are stored: inferred ones, which are raw text there, are read as their type first."""
    conditions = " AND ".join(f"({one})" for one in where.conditions())
    used = [column for column in schema if column.name in where.columns]
    if all(column.origin != "inferred" for column in used):
        return conditions
    # by way of other names, because DuckDB takes a name that stands before AS for the one behind it
    read = [column.read_expression if column.origin == "inferred" else quote(column.name) for column in used]
    values = ", ".join(f"{expression} AS {_VALUE}{number}" for number, expression in enumerate(read))
    visible = ", ".join(f"{_VALUE}{number} AS {quote(column.name)}" for number, column in enumerate(used))
    return f"(SELECT {conditions} FROM (SELECT {visible} FROM (SELECT {values}) AS stored) AS visible)"


_VALUE = "__visible_"

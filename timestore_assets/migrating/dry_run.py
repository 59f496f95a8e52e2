"""A dry run: what a migration would do to the rows, queries and files that there are, and why it would be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.rewrites import RewriteCost, rewrite_cost
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.migrating.applying import Applied, apply
from timestore_assets.migrating.declaration_changes import lines_to_write
from timestore_assets.migrating.migration_manifest import Drop, MigrationManifest
from timestore_assets.migrating.trial import PartitionLoss, Sample, Trial, Tried
from timestore_assets.model.schema import Schema, schema_to_plain
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Window
from timestore_assets.querying.planning import syntax
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.storage.targets import Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnTrial:
    """A column that is computed. `source`: what it takes the place of. The rest as `trial.Tried`."""

    column: str
    type: str
    source: str | None
    source_type: str | None
    expression: str
    """Over the columns' names."""
    lost: int
    nulls: int
    may_null: bool
    worst: tuple[PartitionLoss, ...]
    samples: tuple[Sample, ...]
    lost_samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenQuery:
    """A saved query that works now and would not afterwards."""

    name: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRun:
    """`refusals`: why nothing would be done, a sentence each; empty when it can be carried out."""

    dataset: str
    digest: str
    schema_version: int
    """That it was tried on."""
    manifest_version: int
    changes: tuple[SchemaChange, ...]
    columns: tuple[Mapping[str, Any], ...]
    """Afterwards, as a declaration has them."""
    rows_tried: int
    rows: int
    computed: tuple[ColumnTrial, ...]
    cost: RewriteCost
    """What has to be rewritten so that nothing is computed when it is read; all zero when reading costs nothing more."""
    broken_queries: tuple[BrokenQuery, ...]
    notes: tuple[str, ...]
    refusals: tuple[str, ...]
    lines: tuple[str, ...]
    """To write into the declaration once it is done."""


Broken = Callable[[Applied], Sequence[BrokenQuery]]
"""Finds the saved queries that a migration would break."""


def dry_run(
    catalog: Catalog,
    storage: Storage,
    limits: EngineLimits,
    record: DatasetRecord,
    manifest: MigrationManifest,
    *,
    holder: str,
    broken: Broken,
    sample: int | None = None,
    allow_broken_queries: bool = False,
    archives: bool = False,
) -> tuple[DryRun, Applied]:
    """Try a migration on the newest version, which is held meanwhile.

    Args:
        sample: read about so many rows, spread over all partitions; all when it is None.
        archives: there is a place for archives.

    Raises:
        DeclarationError: an operation is not possible, with its place in the manifest.
        UnavailableError, DamagedError: a segment can't be read.
    """
    applied = apply(syntax.parser(), catalog.migrations.state(record.id), manifest)
    with SnapshotPin(catalog, record.id, version=None, holder=holder) as pin:
        segments = catalog.manifest.segments(record.id, version=pin.version, with_stats=False)
        tried, read = _tried(catalog, storage, limits, record, applied, segments, pin, sample)
    found = tuple(broken(applied))
    losses = (*_losses(tried), *(() if archives else _archives(manifest)))
    may_break = allow_broken_queries or manifest.allows_broken_queries
    refusals = (*losses, *_in_the_way(catalog), *(() if may_break else _broken(found)))
    run = DryRun(
        dataset=record.name,
        digest=manifest.digest,
        schema_version=applied.before.schema.version,
        manifest_version=pin.version,
        changes=applied.migrated.changes,
        columns=tuple(schema_to_plain(applied.schema)),
        rows_tried=read,
        rows=sum(segment.rows for segment in segments),
        computed=tuple(_shown(one, applied) for one in tried),
        cost=_cost(catalog, record, segments, rewrites=bool(applied.migrated.computed) or rewrites_all(manifest)),
        broken_queries=found,
        notes=applied.notes,
        refusals=refusals,
        lines=tuple(lines_to_write(applied.before.definition, applied.migrated.state.definition)),
    )
    return run, applied


def rewrites_all(manifest: MigrationManifest) -> bool:
    """Whether segments are to be rewritten that could be read as they are."""
    return manifest.rewrites_all or any(isinstance(one, Drop) and one.purge for one in manifest.operations)


def _tried(
    catalog: Catalog,
    storage: Storage,
    limits: EngineLimits,
    record: DatasetRecord,
    applied: Applied,
    segments: Sequence[Segment],
    pin: SnapshotPin,
    sample: int | None,
) -> tuple[tuple[Tried, ...], int]:
    """What came of computing columns, and how many rows were read for it."""
    if not applied.computed:
        return (), 0
    schemas: dict[int, Schema] = {}

    def schema_of(version: int) -> Schema:
        if version not in schemas:
            schemas[version] = catalog.datasets.schema(record.id, version)
        return schemas[version]

    window = Window(record.definition["window"])
    parts = [(start, list(group)) for start, group in groupby(segments, key=lambda one: one.partition_start)]
    con = connect(limits)
    try:
        trial = Trial(
            con=con,
            storage=storage,
            applied=applied,
            schema_of=schema_of,
            retracted=catalog.manifest.retracted(record.id, version=pin.version),
            rows=None if sample is None else max(1, -(-sample // max(1, len(parts)))),
        )
        read = 0
        for start, group in parts:
            pin.renew_if_due()
            read += trial.partition(window.partition(start).key, group)
    finally:
        con.close()
    return trial.results(), read


def _losses(tried: Sequence[Tried]) -> list[str]:
    found = []
    for one in tried:
        column, at = one.computed.column, one.computed.at
        if one.lost and not one.computed.may_null:
            source, worst = one.computed.source or column, one.worst[0]
            found.append(
                f"{_counted(one.lost, 'value')} of {source.name!r} would become NULL in {column.name!r}, most in partition "
                f"{worst.partition} ({worst.values:,}); change the expression, or write `on_error: null` in {at}"
            )
        elif one.nulls and not column.nullable:
            found.append(
                f"{one.nulls:,} rows would have no {column.name!r}, which is not nullable; write `nullable: true` in {at}"
            )
    return found


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _archives(manifest: MigrationManifest) -> list[str]:
    return [
        f"operations.{number} wants {one.column!r} archived, and nothing says where: name a storage target in "
        "`execution: {archiveTarget: NAME}` or with --archive-to, or a folder with --archive-dir"
        for number, one in enumerate(manifest.operations)
        if isinstance(one, Drop) and one.archive
    ]


def _in_the_way(catalog: Catalog) -> list[str]:
    older = catalog.migrations.in_the_way()
    return [] if older is None else [older]


def _broken(found: Sequence[BrokenQuery]) -> list[str]:
    names = ", ".join(repr(one.name) for one in found)
    return [f"saved queries would fail: {names}; change them, or say --allow-broken-queries"] if found else []


def _cost(catalog: Catalog, record: DatasetRecord, segments: Sequence[Segment], *, rewrites: bool) -> RewriteCost:
    starts = sorted({to_micros(segment.partition_start) for segment in segments}) if rewrites else []
    return catalog.database.read(lambda connection: rewrite_cost(connection, record.id, starts))


def _shown(one: Tried, applied: Applied) -> ColumnTrial:
    column, source = one.computed.column, one.computed.source
    return ColumnTrial(
        column=column.name,
        type=str(column.type),
        source=None if source is None else source.name,
        source_type=None if source is None else str(source.type),
        expression=_by_names(column.expression or "", applied),
        lost=one.lost,
        nulls=one.nulls,
        may_null=one.computed.may_null,
        worst=one.worst,
        samples=one.samples,
        lost_samples=one.lost_samples,
    )


def _by_names(expression: str, applied: Applied) -> str:
    """An expression as a person reads it: with the names that columns had."""
    known = {column.id: column.name for column in (*applied.schema.retired, *applied.schema, *applied.before.schema)}
    for column_id, name in known.items():
        expression = expression.replace(f'"#{column_id}"', name)
    return expression

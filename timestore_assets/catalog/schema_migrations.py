"""Migrations of schemas: the transaction that carries one out, and which there were; `schema_restoring` takes one back.

No partition and no segment is touched. What a migration makes of the columns is worked out by the caller's function, on the
columns as they are under the dataset's lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import archives, audit, datasets, manifest, older_processes, outbox, schema_versions
from timestore_assets.catalog.backfills import policy_of, request_rewrite
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.effective_declaration import column_part
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.tables import dataset_schemas, declarations, migrations
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.catalog.versioned_rows import locked
from timestore_assets.model.dataset import BackfillPolicy
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.schema import Schema

MigrationKind = Literal["forward", "rollback"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnState:
    """A dataset's columns: its schema, the definition that says keys and order by names, and the greatest id ever given."""

    schema: Schema
    definition: Mapping[str, Any]
    last_column_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Migrated:
    """What a migration makes of a dataset's columns."""

    state: ColumnState
    changes: tuple[SchemaChange, ...]
    computed: tuple[str, ...] = ()
    """Columns whose values have to be computed for rows that are there."""
    inverse: Mapping[int, str] = field(default_factory=dict)
    """By the id of a column that is retired, an expression over what took its place."""
    archived: tuple[int, ...] = ()
    """Ids of dropped columns whose values are to be kept apart."""
    touched: frozenset[str] = frozenset()
    """Columns that it reads or changes, as they were called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationOrder:
    """A migration that was asked for and approved."""

    manifest: Mapping[str, Any]
    digest: str
    ticket: str
    approved_by: str
    base: Schema
    """The schema that it was tried on."""
    rewrites_all: bool = False
    cost: Mapping[str, Any] = field(default_factory=dict)
    """Of the rewrite, as it was estimated."""
    backfill: BackfillPolicy | None = None
    """Who decides on the rewrite; None: as the dataset's declaration says."""
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationRecord:
    """A migration that was carried out, or taken back."""

    schema_version: int
    kind: MigrationKind
    manifest: Mapping[str, Any]
    digest: str
    ticket: str
    approved_by: str
    actor: str
    at: datetime
    changes: tuple[Mapping[str, Any], ...]
    manifest_version: int
    """From which on its schema is in force."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutOver:
    """`is_new`: False when the same migration had been carried out before."""

    record: MigrationRecord
    is_new: bool


Migrate = Callable[[ColumnState], Migrated]
Redeclare = Callable[[Mapping[str, Any], ColumnState, ColumnState], Mapping[str, Any]]
"""From attributes that were declared over HTTP, and the columns before and after, to those that declare the latter."""


class SchemaMigrations:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def of(self, dataset_id: int) -> list[MigrationRecord]:
        """The newest first."""
        return self._database.read(lambda c: records(c, dataset_id))

    def state(self, dataset_id: int) -> ColumnState:
        """The dataset's columns now, each with an id."""

        def read(connection: Connection) -> ColumnState:
            row = datasets.row(connection, dataset_id)
            schema = schema_versions.schema(connection, dataset_id, row.schema_version)
            return state_of(row, schema_versions.identified(connection, dataset_id, schema))

        found = self._database.read(lambda c: datasets.row(c, dataset_id))
        schema = self._database.read(lambda c: schema_versions.schema(c, dataset_id, found.schema_version))
        # a process of before there were ids may have written it
        return state_of(found, schema) if all(one.id for one in schema) else self._database.write(read)

    def done(self, dataset_id: int, digest: str) -> MigrationRecord | None:
        """The migration of that digest that is in force, None when there is none."""
        return self._database.read(lambda c: _in_force(c, dataset_id, digest))

    def archived(self, dataset_id: int, schema_version: int) -> tuple[int, ...]:
        """Ids of the columns that a migration dropped to be archived."""
        m = migrations.c
        kept = select(m.manifest).where(m.dataset_id == dataset_id, m.schema_version == schema_version)
        text = self._database.read(lambda c: c.execute(kept).scalar())
        return tuple(json.loads(text or "{}").get("archived", ()))

    def in_the_way(self) -> str | None:
        """Why no columns can be changed now: older processes that are at work; None when there are none."""
        found = self._database.read(lambda c: older_processes.at_work(c, now=self._database.now(c)))
        return older_processes.in_words(found) if found else None

    def tickets(self, dataset_id: int, *, after: int, until: int) -> tuple[str, ...]:
        """Tickets of the migrations that made, or took back, the schema versions after one and up to another."""
        m = migrations.c
        asked = select(m.ticket).where(
            m.dataset_id == dataset_id, m.schema_version > after, m.schema_version <= until, m.ticket != ""
        )
        return self._database.read(lambda c: tuple(dict.fromkeys(c.execute(asked.order_by(m.schema_version)).scalars())))

    def cut_over(self, dataset_id: int, order: MigrationOrder, migrate: Migrate, redeclare: Redeclare) -> CutOver:
        """Carry out a migration, once: the same again returns what the first one did.

        Args:
            migrate: makes the new columns of those that are there under the lock; it may be called several times.

        Raises:
            ConflictError: another migration came after the schema that it was tried on, or a column that it reads or changes is
                not as it was then.
            RefusedError: nothing has ever landed in the dataset, or older processes are at work.
            Errors of `migrate` and `redeclare` as they are.
        """
        seen = self._progress.seen
        made = self._database.timed(lambda c, now: cut_over(c, dataset_id, order, migrate, redeclare, now=now))
        self._progress.note(dataset_id, made.record.manifest_version, seen)
        return made


def cut_over(
    connection: Connection, dataset_id: int, order: MigrationOrder, migrate: Migrate, redeclare: Redeclare, *, now: int
) -> CutOver:
    """See `SchemaMigrations.cut_over`."""
    declared = locked_declaration(connection, dataset_id)
    row = datasets.lock(connection, dataset_id)
    known = _in_force(connection, dataset_id, order.digest)
    if known is not None:
        return CutOver(record=known, is_new=False)
    _require_rows(connection, row)
    before, migrated = put_in_force(connection, dataset_id, order, migrate, now=now)
    if declared is not None:
        rewrite_declaration(connection, declared, redeclare, before, migrated.state, actor=order.actor, now=now)
    return CutOver(record=records(connection, dataset_id)[0], is_new=True)


def put_in_force(
    connection: Connection, dataset_id: int, order: MigrationOrder, migrate: Migrate, *, now: int
) -> tuple[ColumnState, Migrated]:
    """Put what a migration makes of the columns in force; gives those of before, and what it made. The row is locked."""
    row = datasets.row(connection, dataset_id)
    found = schema_versions.schema(connection, dataset_id, row.schema_version)
    schema = schema_versions.identified(connection, dataset_id, found)
    row = datasets.row(connection, dataset_id)
    _require_no_migration_since(connection, row, order.base)
    before = state_of(row, schema)
    migrated = migrate(before)
    _require_untouched(row.name, order.base, schema, migrated.touched)
    details = {"ticket": order.ticket, "approved_by": order.approved_by, "digest": order.digest}
    reason = f"migrated to schema version {migrated.state.schema.version} ({order.ticket}, approved by {order.approved_by})"
    write_version(connection, row, before, migrated, kind="migration", reason=reason, details=details, actor=order.actor, now=now)
    _write_migration(connection, dataset_id, migrated, order, now=now)
    if migrated.archived:
        archives.hold(connection, dataset_id, schema_version=migrated.state.schema.version, version=row.manifest_version)
    if migrated.computed or order.rewrites_all:
        _ask_for_rewrite(connection, row, migrated, order, now=now)
    return before, migrated


def write_version(
    connection: Connection,
    row: Row[Any],
    before: ColumnState,
    migrated: Migrated,
    *,
    kind: Literal["migration", "rollback"],
    reason: str,
    details: Mapping[str, Any],
    version: int | None = None,
    actor: str,
    now: int,
) -> int:
    """Put other columns in force from a manifest version on, which is returned. The dataset's row is locked.

    `version`: one that the transaction has made already, None for the next. `kind`, `details`: the cause of the version, also for
    audit and events. `reason`: the same for Dagster, as a sentence.

    Raises:
        RefusedError: processes that know columns by their names alone are at work.
    """
    older_processes.require_none(connection, f"the columns of dataset {row.name!r} are not changed", now=now)
    state, version = migrated.state, version or int(row.manifest_version) + 1
    part = column_part(state.definition)
    # files of before are behind from now on, and not something else
    schema_versions.remember_former(connection, row, part, column_part(before.definition), raised=True)
    schema_versions.write(
        connection, row.id, state.schema, changes=migrated.changes, manifest_version=version, declared=part, actor=actor, now=now
    )
    values = {
        "definition": json.dumps(state.definition),
        "schema_version": state.schema.version,
        "last_column_id": state.last_column_id,
        "updated_at": now,
    }
    connection.execute(datasets_table.update().where(datasets_table.c.id == row.id).values(values))
    manifest.set_version(connection, row.id, version, now=now)
    told = {"version": state.schema.version, "changes": [asdict(change) for change in migrated.changes], **details}
    own = (dataset_schemas.c.dataset_id == row.id) & (dataset_schemas.c.version == state.schema.version)
    connection.execute(dataset_schemas.update().where(own).values(cause=json.dumps({"kind": kind, **details})))
    action = "schema_migrated" if kind == "migration" else "schema_restored"
    audit.record(connection, row.id, actor=actor, action=action, details=told, manifest_version=version, now=now)
    event = {**told, "manifest_version": version, "reason": reason, "actor": actor}
    outbox.queue(connection, row.id, "schema_changed", event, now=now)
    return version


def state_of(row: Row[Any], schema: Schema) -> ColumnState:
    """The columns of a dataset's row and its current schema."""
    return ColumnState(schema=schema, definition=json.loads(row.definition), last_column_id=row.last_column_id)


def locked_declaration(connection: Connection, dataset_id: int) -> Row[Any] | None:
    """What was declared over HTTP, held; before the dataset, as whoever declares it anew does."""
    return locked(connection, declarations, {"name": datasets.row(connection, dataset_id).name})


def _require_rows(connection: Connection, row: Row[Any]) -> None:
    # what has all expired or been retracted was written by these columns, and producers send them still
    if row.manifest_version == 0 and not datasets.has_segments(connection, row.id):
        raise RefusedError(f"nothing has landed in dataset {row.name!r}, so there is nothing to migrate: change its declaration")


def _require_no_migration_since(connection: Connection, row: Row[Any], base: Schema) -> None:
    m = migrations.c
    later = select(m.schema_version).where(m.dataset_id == row.id, m.schema_version > base.version).limit(1)
    if (version := connection.execute(later).scalar()) is not None:
        raise ConflictError(
            f"another migration made schema version {version} of dataset {row.name!r} after this one was tried on version "
            f"{base.version}; try it again with --dry-run"
        )


def _require_untouched(dataset: str, base: Schema, current: Schema, touched: Collection[str]) -> None:
    for name in sorted(touched):
        before, now = base.find(name), current.find(name)
        if before != now or (before and now and before.id and before.id != now.id):
            raise ConflictError(
                f"column {name!r} of dataset {dataset!r} has changed since this migration was tried on schema version "
                f"{base.version}; try it again with --dry-run"
            )


def _write_migration(connection: Connection, dataset_id: int, migrated: Migrated, order: MigrationOrder, *, now: int) -> None:
    values = {
        "dataset_id": dataset_id,
        "schema_version": migrated.state.schema.version,
        "kind": "forward",
        "manifest": json.dumps(
            {"manifest": dict(order.manifest), "inverse": dict(migrated.inverse), "archived": list(migrated.archived)}
        ),
        "digest": order.digest,
        "ticket": order.ticket,
        "approved_by": order.approved_by,
        "actor": order.actor,
        "at": now,
    }
    connection.execute(migrations.insert(), values)


def rewrite_declaration(
    connection: Connection,
    declared: Row[Any],
    redeclare: Redeclare,
    before: ColumnState,
    after: ColumnState,
    *,
    actor: str,
    now: int,
) -> None:
    """Let what was declared over HTTP declare other columns; its row is locked."""
    attributes = redeclare(json.loads(declared.attributes), before, after)
    change = declarations.update().where(declarations.c.name == declared.name)
    values = {"attributes": json.dumps(attributes), "actor": actor, "version": declared.version + 1, "updated_at": now}
    connection.execute(change.values(values))


def _ask_for_rewrite(connection: Connection, dataset: Row[Any], migrated: Migrated, order: MigrationOrder, *, now: int) -> None:
    cause = {"kind": "migration", "columns": sorted(migrated.computed), "ticket": order.ticket}
    if order.rewrites_all:
        cause["rewrite"] = "all"
    request_rewrite(
        connection,
        dataset.id,
        schema_version=migrated.state.schema.version,
        cause=cause,
        policy=order.backfill or policy_of(json.loads(dataset.definition)),
        actor=order.actor,
        now=now,
    )


def migrated_since(connection: Connection, dataset_id: int, schema_version: int) -> int | None:
    """The schema version of a migration that is in force now and was not then, or the reverse; None when there is none."""
    m = migrations.c
    rows = connection.execute(
        select(m.schema_version, m.kind, m.manifest).where(m.dataset_id == dataset_id).order_by(m.schema_version.desc())
    )
    every = [(row.schema_version, int(json.loads(row.manifest)["restores"]) if row.kind == "rollback" else None) for row in rows]
    then = _standing([one for one in every if one[0] <= schema_version])
    return min(_standing(every) ^ then, default=None)


def _in_force(connection: Connection, dataset_id: int, digest: str) -> MigrationRecord | None:
    """The migration of a digest, unless it was taken back."""
    every = records(connection, dataset_id)
    standing = _standing([(one.schema_version, one.manifest["restores"] if one.kind == "rollback" else None) for one in every])
    return next((one for one in every if one.digest == digest and one.schema_version in standing), None)


def _standing(every: Sequence[tuple[int, int | None]]) -> set[int]:
    """Versions of migrations that were not taken back, or are in force again.

    `every`: schema versions, the newest first, each with the one that it restores if it takes back others.
    """
    newest: int | None = None
    found = set()
    for version, restores in every:
        if newest is not None and version > newest:
            continue
        if restores is None:
            found.add(version)
        else:
            newest = restores
    return found


def records(connection: Connection, dataset_id: int) -> list[MigrationRecord]:
    """See `SchemaMigrations.of`."""
    m, h = migrations.c, dataset_schemas.c
    same = (m.dataset_id == h.dataset_id) & (m.schema_version == h.version)
    described = select(migrations, h.changes, h.manifest_version).join(dataset_schemas, same)
    rows = connection.execute(described.where(m.dataset_id == dataset_id).order_by(m.schema_version.desc()))
    return [_record(row) for row in rows]


def _record(row: Row[Any]) -> MigrationRecord:
    kept = json.loads(row.manifest)
    return MigrationRecord(
        schema_version=row.schema_version,
        kind=row.kind,
        manifest=kept.get("manifest", kept),
        digest=row.digest,
        ticket=row.ticket,
        approved_by=row.approved_by,
        actor=row.actor,
        at=from_micros(row.at),
        changes=tuple(json.loads(row.changes)),
        manifest_version=row.manifest_version,
    )

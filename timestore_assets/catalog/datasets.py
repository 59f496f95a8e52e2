"""Registered datasets: what is declared, what the catalog has of it, and how the one follows the other."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from timestore_assets.catalog import file_states, former_names, schema_events, schema_versions, sources
from timestore_assets.catalog.audit import record
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.effective_declaration import (
    Redeclared,
    column_part,
    combined,
    definition_of,
    effective,
    fixed_problems,
    is_behind,
    redeclare,
)
from timestore_assets.catalog.instants import from_micros, optional_time
from timestore_assets.catalog.left_out_columns import ask_for_reload, requests
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.tables import dataset_schemas, datasets, policies, segments
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DroppedError, ForgottenError, InputError, RefusedError
from timestore_assets.model.schema import Schema
from timestore_assets.model.window import format_time


class Defaults(Protocol):
    """Carries out the defaults that a declaration has for columns, see `declared_defaults`. The dataset's row is locked."""

    def before(self, connection: Connection, row: Row[Any], dataset: Dataset, *, actor: str, now: int) -> Row[Any]:
        """Give rows that are there what they lack, before the declaration is taken up. Gives the row as it is then."""
        ...

    def after(self, connection: Connection, dataset_id: int, dataset: Dataset) -> None:
        """Where there are no rows: say what those that land get, once the declaration is taken up."""
        ...


class Datasets:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions, replica: Replica | None) -> None:
        self._database, self._progress, self._replica = database, progress, replica

    def register(
        self, dataset: Dataset, *, actor: str, written: datetime | None = None, defaults: Defaults | None = None
    ) -> DatasetRecord:
        """Insert or update a declaration; idempotent (an unchanged one writes nothing).

        `written`: when it was declared, None for now. A name that was dropped or given up since is not brought back.
        `defaults`: what carries out those of its columns; without it a declaration that has new ones is refused.

        Added nullable columns and widened declared types make the next schema version; a declared column that had been
        inferred keeps its stored form. Anything else (removed column, narrowed type, other window, time, start moved
        later than existing data, …) on a dataset that already has rows raises RefusedError saying what differs.

        Raises:
            DroppedError: the dataset of that name was dropped or renamed after `written`.
        """
        known = self._database.read(lambda c: unchanged(c, dataset))
        return known or self._database.timed(
            lambda c, now: register(c, dataset, actor=actor, now=now, written=written, defaults=defaults)
        )

    def find(self, name: str) -> DatasetRecord | None:
        seen = self._progress.seen
        found = self._database.read(lambda c: find(c, name))
        if found is not None:
            self._progress.note(found.id, found.manifest_version, seen)
        return found

    def mark(self, name: str) -> Hashable:
        """Something that is another once anything has changed by which the dataset is declared or read; None when there is none.

        It is one read, and what it took to find out more can be kept for as long as it is the same.
        """
        seen = self._progress.seen
        found = self._database.read(lambda c: c.execute(_MARK, {"name": name}).one_or_none())
        if found is None:
            return None
        self._progress.note(found.id, found.manifest_version, seen)
        return tuple(found)

    def looked_up(self, dataset: Dataset) -> Dataset | None:
        """A declared dataset with the columns that the catalog has, found ones too; None when it has none. Nothing is written."""
        return self._database.read(lambda c: _looked_up(c, dataset))

    def all(self) -> list[DatasetRecord]:
        """Those that were ever registered and not dropped, by name."""
        seen = self._progress.seen
        statement = _with_schema().where(datasets.c.dropped_at.is_(None)).order_by(datasets.c.name)
        found = self._database.read(lambda c: [_record(c, row) for row in c.execute(statement).all()])
        for one in found:
            self._progress.note(one.id, one.manifest_version, seen)
        return found

    def manifest_versions(self) -> dict[str, int]:
        """The newest version of each registered dataset, by name."""
        statement = select(datasets.c.name, datasets.c.manifest_version)
        return self._database.read(lambda c: {row.name: row.manifest_version for row in c.execute(statement)})

    def schema(self, dataset_id: int, version: int) -> Schema:
        # once there, a schema version is as unchanging as a manifest version: any replica that has it will do
        found = self._replica and self._replica.read(dataset_id, 0, lambda c: schema_versions.find_schema(c, dataset_id, version))
        return found or self._database.read(lambda c: schema_versions.schema(c, dataset_id, version))

    def schema_of_records(self, dataset_id: int, version: int) -> Schema:
        """The schema whose names records go by that came, or were refused, when a version was current."""
        found = self.schema(dataset_id, version)
        return found if found.incoming is None else self.schema(dataset_id, found.incoming)

    def schema_at(self, dataset_id: int, manifest_version: int) -> Schema:
        """The schema in force at a manifest version."""

        def read(connection: Connection) -> Schema:
            version = schema_versions.version_at(connection, dataset_id, manifest_version)
            return schema_versions.schema(connection, dataset_id, version)

        return self._database.read(read)

    def schema_events(self, dataset_id: int, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Per version, newest first: version, at, actor, manifest_version, changes, cause (see `schema_events`).

        `before`: only older versions than that.
        """
        return self._database.read(lambda c: schema_events.events(c, dataset_id, limit=limit, before=before))

    def wanted_reloads(self, dataset_id: int) -> list[Mapping[str, Any]]:
        """What is to be landed again since columns that were left out are wanted now, see `left_out_columns`."""
        return self._database.read(lambda c: requests(c, dataset_id))

    def schema_history(self, dataset_id: int) -> list[dict[str, Any]]:
        """Per version, newest first: version, created_at, actor, changes [{kind, column, before, after}], columns."""
        h = dataset_schemas.c
        statement = select(dataset_schemas).where(h.dataset_id == dataset_id).order_by(h.version.desc())
        return [
            {
                "version": row.version,
                "created_at": format_time(from_micros(row.created_at)),
                "actor": row.actor,
                "changes": json.loads(row.changes),
                "columns": json.loads(row.columns),
            }
            for row in self._database.read(lambda c: c.execute(statement).all())
        ]


def find(connection: Connection, name: str) -> DatasetRecord | None:
    row = connection.execute(_with_schema().where(datasets.c.name == name)).one_or_none()
    return None if row is None else _record(connection, row)


def _looked_up(connection: Connection, dataset: Dataset) -> Dataset | None:
    found = find(connection, dataset.name)
    if found is None:
        return None
    known, own = row(connection, found.id), column_part(definition_of(dataset))
    if own == column_part(found.definition) or is_of_before(connection, known, dataset):
        return replace(effective(dataset, found), schema=found.schema)
    return replace(dataset, schema=redeclare(found.schema, dataset.schema).schema)


def lock(connection: Connection, dataset_id: int) -> Row[Any]:
    """The dataset's row, held until the transaction ends. Every change below a dataset begins here, so none deadlocks.

    Raises:
        DroppedError: it was dropped, so nothing is done to it any more. ForgottenError: there is none.
    """
    found = lock_any(connection, dataset_id)
    if found.dropped_at is not None:
        raise DroppedError(f"dataset {former_names.shown_name(found.name)!r} was dropped; what was being done to it is not kept")
    return found


def lock_any(connection: Connection, dataset_id: int) -> Row[Any]:
    """The same of a dropped one too, for who clears up."""
    return row(connection, dataset_id, locked=True)


_ROW = select(datasets).where(datasets.c.id == bindparam("wanted"))
_LOCKED_ROW = _ROW.with_for_update()


def row(connection: Connection, dataset_id: int, *, locked: bool = False) -> Row[Any]:
    """The dataset's row; ForgottenError when there is none."""
    found = connection.execute(_LOCKED_ROW if locked else _ROW, {"wanted": dataset_id}).one_or_none()
    if found is None:
        raise ForgottenError(f"the catalog has no dataset {dataset_id}")
    return found


def unchanged(connection: Connection, dataset: Dataset) -> DatasetRecord | None:
    """The record when registering this declaration would write nothing: it has it already, or one that came after."""
    found = find(connection, dataset.name)
    own = definition_of(dataset)
    if found is None or found.definition == own:
        return found
    if combined(own, found.definition) != found.definition:
        return None
    return found if _is_behind(connection, found.id, own, found.definition, redeclare(found.schema, dataset.schema)) else None


def register(
    connection: Connection,
    dataset: Dataset,
    *,
    actor: str,
    now: int,
    may_be_behind: bool = True,
    written: datetime | None = None,
    defaults: Defaults | None = None,
) -> DatasetRecord:
    """Insert or update a declaration, see `Datasets.register`.

    `may_be_behind`: a file may be of before; who sends a declaration means it now, and is told when it can't be.
    """
    row, inserted = _locked_or_made(connection, dataset, now=now)
    if inserted:
        if defaults is None and any(column.default for column in dataset.schema):
            raise InputError(f"dataset {dataset.name!r} has columns with a default, so `Warehouse.resolve` has to register it")
        former_names.take(connection, dataset.name, written=written)
        first, part = Schema(columns=dataset.schema.columns), column_part(definition_of(dataset))
        schema_versions.write(
            connection, row.id, first, changes=(), cause=schema_events.DECLARED, declared=part, actor=actor, now=now
        )
        record(connection, row.id, actor=actor, action="dataset_registered", details={"dataset": dataset.name}, now=now)
    elif json.loads(row.definition) != definition_of(dataset):
        if (
            defaults is not None
            and has_segments(connection, row.id)
            and not (may_be_behind and is_of_before(connection, row, dataset))
        ):
            row = defaults.before(connection, row, dataset, actor=actor, now=now)
        _update(connection, row, dataset, actor=actor, now=now, may_be_behind=may_be_behind)
    if defaults is not None and not has_segments(connection, row.id):
        defaults.after(connection, row.id, dataset)
    for source in dataset.sources:
        sources.ensure(connection, row.id, source.kind, source.address)
    return _record(connection, connection.execute(_with_schema().where(datasets.c.id == row.id)).one())


def _locked_or_made(connection: Connection, dataset: Dataset, *, now: int) -> tuple[Row[Any], bool]:
    """The row of a dataset, locked, and whether it was made for this; one that goes in between is made again."""
    values = {
        "name": dataset.name,
        "window": dataset.window.value,
        "storage": dataset.storage,
        "definition": _json(definition_of(dataset)),
        "manifest_version": 0,
        "schema_version": 1,
        "collected_version": 0,
        "created_at": now,
        "updated_at": now,
    }
    while True:
        inserted = insert_ignore(connection, datasets, values)
        row = connection.execute(select(datasets).where(datasets.c.name == dataset.name).with_for_update()).one_or_none()
        if row is not None:
            return row, bool(inserted)


def _update(connection: Connection, row: Row[Any], dataset: Dataset, *, actor: str, now: int, may_be_behind: bool) -> None:
    before, own = json.loads(row.definition), definition_of(dataset)
    current = schema_versions.schema(connection, row.id, row.schema_version)
    next_schema = redeclare(current, dataset.schema)
    behind = may_be_behind and _is_behind(connection, row.id, own, before, next_schema)
    after = combined(own, before) if behind else own
    if behind:
        next_schema = Redeclared(schema=current, changes=(), problems=())
    if after == before:
        return
    first, last = connection.execute(
        select(func.min(segments.c.min_time), func.max(segments.c.max_time)).where(segments.c.dataset_id == row.id)
    ).one()
    if first is not None:
        times = {"first": from_micros(first), "last": from_micros(last)}
        problems = (*next_schema.problems, *fixed_problems(before, dataset, after, **times))
        if problems:
            raise RefusedError(
                f"dataset {dataset.name!r} already has rows, so its declaration can't change like this: "
                f"{'; '.join(problems)}. Undo that (`timestore schema declaration {dataset.name}` prints what there is), "
                "migrate it first (`timestore schema migrate`), "
                "or declare a dataset of another name"
            )
    elif next_schema.problems:
        # nothing was written by the old one, so the new declaration simply takes its place
        fresh = Schema(columns=dataset.schema.columns, version=current.version + 1)
        next_schema = Redeclared(schema=fresh, changes=(), problems=())
        schema_versions.rewrite_parts(connection, row.id, None, None)
    part, former, raised = column_part(after), column_part(before), next_schema.schema.version != current.version
    if part != former and not (raised and not next_schema.changes):
        schema_versions.remember_former(connection, row, part, former, raised=raised)
    if raised:
        # what a declaration adds shows at once, also where nothing has landed since
        schema_versions.add(
            connection,
            row,
            next_schema.schema,
            changes=next_schema.changes,
            manifest_version=row.manifest_version,
            cause=schema_events.DECLARED,
            declared=part,
            definition=after,
            actor=actor,
            now=now,
        )
    elif next_schema.schema != current:
        schema_versions.rewrite(connection, row.id, next_schema.schema)
    connection.execute(
        datasets.update()
        .where(datasets.c.id == row.id)
        .values(definition=_json(after), window=dataset.window.value, storage=dataset.storage, updated_at=now)
    )
    changed = sorted(key for key in after if after[key] != before.get(key))
    details = {"changed": changed, "schema_version": next_schema.schema.version}
    record(connection, row.id, actor=actor, action="dataset_changed", details=details, now=now)
    file_states.thaw(connection, row.id, now=now)
    version, changes = next_schema.schema.version, next_schema.changes
    ask_for_reload(connection, row, before=before, after=after, changes=changes, version=version, actor=actor, now=now)


def _is_behind(
    connection: Connection, dataset_id: int, own: Mapping[str, Any], newest: Mapping[str, Any], redeclared: Redeclared
) -> bool:
    """Whether a declaration is of before the newest one. Without rows one that says another type is not: it is new."""
    is_new = not redeclared.only_removes and not redeclared.schema.was_migrated
    if is_new and not has_segments(connection, dataset_id):
        return False
    parts = schema_versions.parts_of(connection, dataset_id)
    earlier = [part for version in sorted(parts)[:-1] for part in parts[version]]
    return is_behind(column_part(own), column_part(newest), earlier)


def is_of_before(connection: Connection, row: Row[Any], dataset: Dataset) -> bool:
    """Whether a declaration's columns are of before those that the catalog has."""
    current = schema_versions.schema(connection, row.id, row.schema_version)
    changes = redeclare(current, dataset.schema)
    return _is_behind(connection, row.id, definition_of(dataset), json.loads(row.definition), changes)


def has_segments(connection: Connection, dataset_id: int) -> bool:
    return connection.execute(select(segments.c.id).where(segments.c.dataset_id == dataset_id).limit(1)).first() is not None


def _with_schema() -> Select[Any]:
    same = (dataset_schemas.c.dataset_id == datasets.c.id) & (dataset_schemas.c.version == datasets.c.schema_version)
    moved = (policies.c.dataset_id == datasets.c.id) & (policies.c.kind == "storage_target")
    described = dataset_schemas.c.columns, dataset_schemas.c.identities
    chosen = select(datasets, *described, policies.c.value.label("moved_to"))
    return chosen.join(dataset_schemas, same).outerjoin(policies, moved)


_MARK = _with_schema().where(datasets.c.name == bindparam("name"))


def _record(connection: Connection, row: Row[Any]) -> DatasetRecord:
    schema = schema_versions.of_row(row, row.schema_version)
    return DatasetRecord(
        id=row.id,
        name=row.name,
        manifest_version=row.manifest_version,
        schema=schema,
        earlier=schema_versions.earlier_names(connection, row.id) if schema.was_migrated else {},
        definition=json.loads(row.definition),
        storage=json.loads(row.moved_to)["target"] if row.moved_to else row.storage,
        retired_at=optional_time(row.retired_at),
    )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)

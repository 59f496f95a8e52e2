"""The end of datasets, and what comes before it: dropped, renamed, retired. Each is one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select

from timestore_assets.catalog import archives, datasets, former_names, tags
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.manifest import live
from timestore_assets.catalog.records import FormerName
from timestore_assets.catalog.tables import (
    alert_states,
    build_requests,
    dead_letter_files,
    declarations,
    policies,
    saved_queries,
    segments,
    sessions,
)
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.catalog.tables import outbox as outbox_table
from timestore_assets.catalog.versioned_rows import locked, require_version
from timestore_assets.model.errors import ConflictError, InputError

d = datasets_table.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Belongings:
    """What a dataset has. `rows`: of live segments, unbuilt duplicates included. `queries`: saved ones that read it."""

    rows: int
    bytes: int
    segments: int
    partitions: int
    dead_letters: int
    """Records kept that did not land, those included that a replay has settled since."""
    queries: Sequence[str] = ()


class DatasetLife:
    """Each method is one short transaction; changes are audited.

    `if_version`: only while the declaration over HTTP has this version (0: there is none), None whatever it has.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def former(self) -> list[FormerName]:
        """Names that a dataset had and none has now."""
        return self._database.read(former_names.listed)

    def retired(self) -> frozenset[str]:
        """Names of the datasets in which nothing lands any more."""
        names = select(d.name).where(d.retired_at.is_not(None), d.dropped_at.is_(None))
        return self._database.read(lambda connection: frozenset(connection.execute(names).scalars()))

    def ids(self, name: str) -> list[int]:
        """Ids of the dataset of that name and of those of that name that were dropped, the oldest first."""
        named = or_(d.name == name, d.name.startswith(former_names.free_name(name, ""), autoescape=True))
        found = select(d.id).where(named).order_by(d.id)
        return self._database.read(lambda connection: list(connection.execute(found).scalars()))

    def belongings(self, dataset_id: int) -> Belongings:
        """What a drop would take."""
        return self._database.read(lambda connection: belongings(connection, datasets.row(connection, dataset_id)))

    def drop(self, dataset_id: int, *, actor: str, if_version: int | None = None) -> None:
        """Take a dataset out of everything that people see; its name is free, and its objects go with the next collection.

        Whoever lands, builds or replays in it commits nothing from here on. Whoever reads it goes on reading.

        Raises:
            DroppedError: it is dropped already. StaleVersionError: it was declared anew since that version. RefusedError: a
                legal hold is on it.
        """
        write_once(
            self._database,
            lambda c, token, now: drop(c, dataset_id, actor=actor, if_version=if_version, token=token, now=now),
        )

    def rename(self, dataset_id: int, name: str, *, actor: str, if_version: int | None = None) -> None:
        """Give a dataset another name; rows, checkpoints and objects stay as they are.

        Raises:
            ConflictError: another dataset has that name. DroppedError, StaleVersionError: as `drop`.
        """
        write_once(
            self._database,
            lambda c, token, now: rename(c, dataset_id, name, actor=actor, if_version=if_version, token=token, now=now),
        )

    def retire(self, dataset_id: int, *, actor: str, undo: bool = False) -> bool:
        """Let nothing land in a dataset any more, or again with `undo`; whether that changes anything.

        Raises:
            DroppedError: it was dropped.
        """
        return self._database.timed(lambda c, now: retire(c, dataset_id, actor=actor, undo=undo, now=now))


def belongings(connection: Connection, dataset: Row[Any]) -> Belongings:
    """See `DatasetLife.belongings`."""
    s = segments.c
    total_rows, total_bytes = func.coalesce(func.sum(s.rows), 0), func.coalesce(func.sum(s.bytes), 0)
    sums = select(total_rows, total_bytes, func.count(), func.count(s.partition_start.distinct()))
    there = sums.where(s.dataset_id == dataset.id, live(None))
    rows, size, count, partitions = connection.execute(there).one()
    letters = select(func.coalesce(func.sum(dead_letter_files.c.rows), 0)).where(dead_letter_files.c.dataset_id == dataset.id)
    return Belongings(
        rows=int(rows),
        bytes=int(size),
        segments=count,
        partitions=partitions,
        dead_letters=int(connection.execute(letters).scalar_one()),
        queries=_queries(connection, dataset.name),
    )


def drop(connection: Connection, dataset_id: int, *, actor: str, if_version: int | None, token: str, now: int) -> int:
    """See `DatasetLife.drop`; returns the last manifest version, in which nothing is."""
    dataset = datasets.lock(connection, dataset_id)
    name: str = dataset.name
    _require_version(connection, name, if_version)
    tags.release_all(connection, dataset)
    told = asdict(belongings(connection, dataset))
    version: int = dataset.manifest_version + 1
    s = segments.c
    there = segments.update().where(s.dataset_id == dataset_id, s.removed_version.is_(None))
    connection.execute(there.values(removed_version=version, removed_at=now))
    # what they have announced is the collector's from here on, and nobody waits for them
    at_work = sessions.update().where(sessions.c.dataset_id == dataset_id, sessions.c.ended_at.is_(None))
    connection.execute(at_work.values(ended_at=now))
    archives.give_up(connection, dataset_id)
    for table in (outbox_table, build_requests, alert_states, policies):
        connection.execute(delete(table).where(table.c.dataset_id == dataset_id))
    connection.execute(delete(declarations).where(declarations.c.name == name))
    gone = {"name": former_names.free_name(name, dataset_id), "dropped_at": now, "manifest_version": version, "updated_at": now}
    connection.execute(datasets_table.update().where(d.id == dataset_id).values(gone))
    former_names.leave(connection, name, now_named=None, actor=actor, now=now)
    details = {"dataset": name, **told}
    tell(connection, dataset_id, "dataset_dropped", details, actor=actor, now=now, token=token, manifest_version=version)
    return version


def rename(
    connection: Connection, dataset_id: int, name: str, *, actor: str, if_version: int | None, token: str, now: int
) -> int:
    """See `DatasetLife.rename`; returns the manifest version, which stays."""
    dataset = datasets.lock(connection, dataset_id)
    before: str = dataset.name
    if name == before:
        raise InputError(f"dataset {name!r} has that name already")
    if connection.execute(select(d.id).where(d.name == name)).first() or _declaration(connection, name) is not None:
        raise ConflictError(f"there is a dataset {name!r} already; choose another name, or drop that one first")
    _require_version(connection, before, if_version)
    definition = {**json.loads(dataset.definition), "name": name}
    text = json.dumps(definition, separators=(",", ":"), sort_keys=True)
    connection.execute(datasets_table.update().where(d.id == dataset_id).values(name=name, definition=text, updated_at=now))
    _rename_declaration(connection, before, name, actor=actor, now=now)
    former_names.take(connection, name, written=None)
    former_names.leave(connection, before, now_named=name, actor=actor, now=now)
    details = {"from": before, "to": name, "queries": list(_queries(connection, before))}
    version: int = dataset.manifest_version
    tell(connection, dataset_id, "dataset_renamed", details, actor=actor, now=now, token=token, manifest_version=version)
    return version


def retire(connection: Connection, dataset_id: int, *, actor: str, undo: bool, now: int) -> bool:
    """See `DatasetLife.retire`."""
    dataset = datasets.lock(connection, dataset_id)
    if (dataset.retired_at is None) == undo:
        return False
    values = {"retired_at": None if undo else now, "updated_at": now}
    connection.execute(datasets_table.update().where(d.id == dataset_id).values(values))
    action = "dataset_unretired" if undo else "dataset_retired"
    tell(connection, dataset_id, action, {"dataset": dataset.name}, actor=actor, now=now)
    return True


def _require_version(connection: Connection, name: str, if_version: int | None) -> None:
    if if_version is not None:
        row = _declaration(connection, name)
        require_version(f"dataset {name!r}", row.version if row else 0, if_version)


def _declaration(connection: Connection, name: str) -> Row[Any] | None:
    return locked(connection, declarations, {"name": name})


def _rename_declaration(connection: Connection, before: str, name: str, *, actor: str, now: int) -> None:
    row = _declaration(connection, before)
    if row is None:
        return
    attributes = json.dumps({**json.loads(row.attributes), "name": name})
    values = {"name": name, "attributes": attributes, "version": row.version + 1, "actor": actor, "updated_at": now}
    connection.execute(declarations.update().where(declarations.c.name == before).values(values))


def _queries(connection: Connection, name: str) -> tuple[str, ...]:
    rows = connection.execute(select(saved_queries.c.name, saved_queries.c.datasets).order_by(saved_queries.c.name))
    return tuple(row.name for row in rows if name in json.loads(row.datasets))

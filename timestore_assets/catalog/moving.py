"""Where the objects of a dataset are, and putting copies of them in their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Table, func, select

from timestore_assets.catalog import audit, datasets, sessions
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.portable import chunked, upsert
from timestore_assets.catalog.tables import dead_letter_files, intents, policies, segments
from timestore_assets.model.objects import ObjectName

MovedKind = Literal["segment", "dead_letters"]
_TABLES: dict[MovedKind, Table] = {"segment": segments, "dead_letters": dead_letter_files}
_MOVES = "moves"
"""Policy whose version counts the switches of a dataset, so that whoever remembers its segments knows when to forget them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """An object of a dataset: a segment, live, superseded or not yet published, or a file of dead letters. `id`: of its row."""

    kind: MovedKind
    id: int
    storage: str
    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a dataset has in one storage target."""

    objects: int
    bytes: int


class Moving:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def held(self, dataset_id: int) -> dict[str, Held]:
        """What a dataset has in each storage target that holds anything of it."""
        return self._database.read(lambda connection: _held(connection, dataset_id))

    def elsewhere(self, dataset_id: int, target: str, *, limit: int) -> list[StoredFile]:
        """Objects of a dataset that are not in a target, the oldest first."""
        return self._database.read(lambda connection: _elsewhere(connection, dataset_id, target, limit))

    def switch(
        self, session_id: int, copies: Mapping[StoredFile, str], *, dataset_id: int, target: str, actor: str
    ) -> list[StoredFile]:
        """Let copies, announced by this session under these names in the target, stand for the objects they are of; audited.

        Only where the object is still what and where it was; returns those. The manifest version stays, for the content does.
        The old objects stay known as if this session had announced them now, so the collector removes them after the time that
        it leaves to readers.
        """

        def work(connection: Connection) -> list[StoredFile]:
            now = self._database.now(connection)
            datasets.lock(connection, dataset_id)
            switched = [file for file, name in copies.items() if _placed(connection, file, ObjectName(target, name))]
            if switched:
                sessions.fulfil(connection, session_id, [copies[file] for file in switched])
                _leave(connection, session_id, switched, now=now)
                _count_move(connection, dataset_id, actor=actor, now=now)
                details = {"to": target, "from": _summed(switched)}
                audit.record(connection, dataset_id, actor=actor, action="objects_moved", details=details, now=now)
            return switched

        return self._database.write(work)


def moves(connection: Connection, dataset_id: int) -> int:
    """How often objects of a dataset were switched."""
    c = policies.c
    statement = select(c.version).where(c.dataset_id == dataset_id, c.kind == _MOVES)
    return connection.execute(statement).scalar() or 0


def _held(connection: Connection, dataset_id: int) -> dict[str, Held]:
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for table in _TABLES.values():
        c = table.c
        statement = select(c.storage, func.count(), func.sum(c.bytes)).where(c.dataset_id == dataset_id).group_by(c.storage)
        for storage, objects, size in connection.execute(statement):
            found[storage].append((objects, int(size)))
    return {
        storage: Held(objects=sum(objects for objects, _ in held), bytes=sum(size for _, size in held))
        for storage, held in sorted(found.items())
    }


def _elsewhere(connection: Connection, dataset_id: int, target: str, limit: int) -> list[StoredFile]:
    found: list[StoredFile] = []
    for kind, table in _TABLES.items():
        c = table.c
        away = select(c.id, c.storage, c.name, c.bytes).where(c.dataset_id == dataset_id, c.storage != target)
        rows = connection.execute(away.order_by(c.id).limit(limit - len(found)))
        found += [StoredFile(kind=kind, id=row.id, storage=row.storage, name=row.name, bytes=row.bytes) for row in rows]
    return found


def _placed(connection: Connection, file: StoredFile, to: ObjectName) -> bool:
    table = _TABLES[file.kind]
    c = table.c
    same = table.update().where(c.id == file.id, c.storage == file.storage, c.name == file.name)
    return connection.execute(same.values(storage=to.storage, name=to.name)).rowcount == 1


def _leave(connection: Connection, session_id: int, files: Sequence[StoredFile], *, now: int) -> None:
    rows = [{"name": file.name, "session_id": session_id, "created_at": now, "storage": file.storage} for file in files]
    for chunk in chunked(rows):
        connection.execute(intents.insert(), chunk)


def _count_move(connection: Connection, dataset_id: int, *, actor: str, now: int) -> None:
    row = {"dataset_id": dataset_id, "kind": _MOVES, "value": "{}", "actor": actor, "version": 1, "updated_at": now}
    set_: dict[str, Any] = {"version": lambda old, _new: old.version + 1, "updated_at": lambda _old, new: new.updated_at}
    upsert(connection, policies, [row], keys=["dataset_id", "kind"], set_=set_)


def _summed(files: Sequence[StoredFile]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for file in files:
        held = found.setdefault(file.storage, {"objects": 0, "bytes": 0})
        held["objects"] += 1
        held["bytes"] += file.bytes
    return found

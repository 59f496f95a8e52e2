"""Which warehouse a catalog is of, and how far it has come: an id made once, and a generation that only grows.

The catalog writes down a target's next generation before that is put there, so a crash between the two leaves a target that is
behind, which is no harm; a target that is ahead of its catalog shows that the catalog is an older copy.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from timestore_assets.catalog import audit, tables
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import upsert
from timestore_assets.catalog.tables import sessions, warehouse, warehouse_targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What a catalog knows of its claim to a storage target. `warehouse`: the catalog's own id, empty when it has none yet.

    `generation`: the newest that it wrote down for the target, 0 for none. `kept_until`: unknown objects written until then are
    kept; None when there was no adoption.
    """

    warehouse: str
    generation: int
    kept_until: datetime | None = None


class Identity:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._seen: tuple[str, int] | None = None

    def known_id(self) -> str | None:
        """The warehouse's id; None as long as nothing has needed one."""
        row = self._database.read(_row)
        return None if row is None else str(row.warehouse_id)

    def claimed(self, storage: str, *, make: bool = True) -> Claimed:
        """The catalog's claim to a storage target, as it is now. `make`: the warehouse's id, if there is none yet.

        Raises:
            CatalogReplacedError: the catalog was set back to an older state since this process has seen it.
        """
        seen = self._seen
        row, target = self._database.read(lambda connection: (_row(connection), _target(connection, storage)))
        if row is None and seen is None and make:
            row = self._database.write(self._made)
        self._compare(row, seen)
        return Claimed(
            warehouse=row.warehouse_id if row else "",
            generation=target.generation if target else 0,
            kept_until=from_micros(target.kept_until) if target and target.kept_until is not None else None,
        )

    def look(self) -> None:
        """Compare the catalog with what this process has seen of it; raises as `claimed`."""
        seen = self._seen
        self._compare(self._database.read(_row), seen)

    def draw(self, storage: str) -> int:
        """The next generation for a storage target, written down."""
        seen = self._seen
        drawn, row = self._database.write(lambda connection: (_draw(connection, storage, beyond=0), _row(connection)))
        self._compare(row, seen)
        return drawn

    def adopt(self, storage: str, *, beyond: int, kept_until: datetime, actor: str) -> int:
        """Write down that the target is this catalog's from now on; returns its generation, which is above `beyond`.

        `kept_until`: objects of that time and before that the catalog does not know are kept by the collector. Audited.
        """

        def work(connection: Connection) -> int:
            generation = _draw(connection, storage, beyond=beyond)
            before = _target(connection, storage)
            until = max(to_micros(kept_until), (before and before.kept_until) or 0)
            c = warehouse_targets.c
            connection.execute(warehouse_targets.update().where(c.storage == storage).values(kept_until=until))
            details = {"target": storage, "generation": generation}
            now = self._database.now(connection)
            audit.record(connection, None, actor=actor, action="target_adopted", details=details, now=now)
            return generation

        return self._database.write(work)

    def newest(self) -> datetime | None:
        """The newest moment that the catalog knows something of; None when it knows of none."""

        def read(connection: Connection) -> list[int]:
            s = sessions.c
            of_sessions = connection.execute(select(func.max(s.expires_at), func.max(s.ended_at))).one()
            a = tables.audit.c
            at = connection.execute(select(a.at).order_by(a.id.desc()).limit(1)).scalar()
            return [moment for moment in (*of_sessions, at) if moment is not None]

        moments = self._database.read(read)
        return from_micros(max(moments)) if moments else None

    def _made(self, connection: Connection) -> Row[Any]:
        if not self._database.is_sqlite:
            # rows of two ids would both be new to their key
            connection.execute(text("LOCK TABLE warehouse IN SHARE ROW EXCLUSIVE MODE"))
        found = _row(connection)
        if found is None:
            now = self._database.now(connection)
            connection.execute(warehouse.insert(), {"warehouse_id": uuid.uuid4().hex, "generation": 0, "created_at": now})
            found = _row(connection)
        if found is None:
            raise KeyError("warehouse")
        return found

    def _compare(self, row: Row[Any] | None, seen: tuple[str, int] | None) -> None:
        """Keep what was read, if it goes on from what had been seen before it was."""
        now = None if row is None else (str(row.warehouse_id), int(row.generation))
        if seen is not None and (now is None or now[0] != seen[0] or now[1] < seen[1]):
            raise self._database.replacement.found("was replaced by another, or set back to an older state,")
        with self._lock:
            self._seen = max(filter(None, (self._seen, now)), key=lambda one: one[1], default=None)


def _row(connection: Connection) -> Row[Any] | None:
    return connection.execute(select(warehouse)).first()


def _target(connection: Connection, storage: str) -> Row[Any] | None:
    return connection.execute(select(warehouse_targets).where(warehouse_targets.c.storage == storage)).first()


def _draw(connection: Connection, storage: str, *, beyond: int) -> int:
    c = warehouse.c
    row = connection.execute(warehouse.update().values(generation=c.generation + 1).returning(c.generation)).one()
    generation = int(row.generation)
    if generation <= beyond:
        generation = beyond + 1
        connection.execute(warehouse.update().values(generation=generation))
    made = {"storage": storage, "generation": generation}
    upsert(connection, warehouse_targets, [made], keys=["storage"], set_={"generation": lambda _old, new: new.generation})
    return generation

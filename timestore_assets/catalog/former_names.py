"""Names that no dataset has now and one had, and the names of dropped datasets' rows.

A running process, or a file that was left in place, still declares what was dropped or renamed. That does not bring it back:
only what was declared after does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import upsert
from timestore_assets.catalog.records import FormerName
from timestore_assets.catalog.tables import former_names
from timestore_assets.model.errors import DroppedError

c = former_names.c
_DROPPED = "~"


def free_name(name: str, dataset_id: int | str) -> str:
    """What a dropped dataset is called in its row, so that its name is free: no dataset can be declared so."""
    return f"{name}{_DROPPED}{dataset_id}"


def shown_name(name: str) -> str:
    """The name that a dataset's row stands for."""
    return name.partition(_DROPPED)[0]


def listed(connection: Connection) -> list[FormerName]:
    """All, by name."""
    return [_record(row) for row in connection.execute(select(former_names).order_by(c.name))]


def find(connection: Connection, name: str) -> FormerName | None:
    row = connection.execute(select(former_names).where(c.name == name)).one_or_none()
    return None if row is None else _record(row)


def leave(connection: Connection, name: str, *, now_named: str | None, actor: str, now: int) -> None:
    """Note that a dataset gives its name up, for another or, with None, because it is dropped."""
    row = {"name": name, "now_named": now_named, "actor": actor, "at": now}
    taken = {column: (lambda _old, new, column=column: new[column]) for column in ("now_named", "actor", "at")}
    upsert(connection, former_names, [row], keys=["name"], set_=taken)


def take(connection: Connection, name: str, *, written: datetime | None) -> None:
    """Let a dataset have a name; `written`: when it was declared, None for now.

    Raises:
        DroppedError: that was before the last one gave the name up.
    """
    former = find(connection, name)
    if former is None:
        return
    if written is not None and to_micros(written) <= to_micros(former.at):
        raise DroppedError(former.reason)
    # a name that led to this one leads on to what had it: whoever has it now is another dataset
    connection.execute(former_names.update().where(c.now_named == name).values(now_named=former.now_named))
    connection.execute(delete(former_names).where(c.name == name))


def _record(row: Row[Any]) -> FormerName:
    return FormerName(name=row.name, now_named=row.now_named, at=from_micros(row.at))

"""Tags: versions with a name, each kept from being collected by a lease without an end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.leases import require_readable
from timestore_assets.catalog.tables import leases, tags
from timestore_assets.model.errors import ConflictError, RefusedError

FOR_EVER = to_micros(datetime(9999, 12, 31, tzinfo=UTC))
_HOLDER = "tag"
t = tags.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A version that somebody gave a name."""

    name: str
    version: int
    is_legal_hold: bool = False
    """What it shows must be kept, whatever a policy says."""
    note: str = ""
    actor: str
    at: datetime
    """When it was given, or last changed."""


class Tags:
    """Each method is one short transaction; changes are audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, dataset_id: int) -> list[Tag]:
        """A dataset's tags, by name."""
        return self._database.read(lambda connection: listed(connection, dataset_id))

    def find(self, dataset_id: int, name: str) -> Tag | None:
        return self._database.read(lambda connection: find(connection, dataset_id, name))

    def put(
        self,
        dataset_id: int,
        name: str,
        *,
        version: int | None,
        note: str,
        is_legal_hold: bool,
        may_release: bool = False,
        actor: str,
    ) -> Tag:
        """Give a version (None = newest) a name, and keep it; or change the note and the hold of that tag.

        `may_release`: a legal hold may be made an ordinary tag.

        Raises:
            ConflictError: the name stands for another version. RefusedError: the version can't be read any more, never was, or
                a legal hold would end.
        """

        def work(connection: Connection, now: int) -> Tag:
            dataset = datasets.lock(connection, dataset_id)
            known = find(connection, dataset_id, name)
            wanted = known.version if known and version is None else _checked(connection, dataset, version, now=now)
            if known is not None and known.version != wanted:
                raise ConflictError(
                    f"tag {name!r} of dataset {dataset.name!r} stands for version {known.version}; "
                    "delete it first, or choose another name"
                )
            if known is not None and known.is_legal_hold and not is_legal_hold and not may_release:
                raise RefusedError(_held(dataset, name))
            values = {"version": wanted, "is_legal_hold": is_legal_hold, "note": note, "actor": actor, "at": now}
            if known is None:
                connection.execute(tags.insert(), {"dataset_id": dataset_id, "name": name, **values})
                connection.execute(leases.insert(), _lease(dataset_id, name, wanted))
            else:
                connection.execute(tags.update().where(t.dataset_id == dataset_id, t.name == name).values(values))
            details = {"tag": name, "version": wanted, "legal_hold": is_legal_hold, "note": note}
            _tell(connection, dataset, "tagged", details, actor=actor, now=now)
            return Tag(name=name, version=wanted, is_legal_hold=is_legal_hold, note=note, actor=actor, at=from_micros(now))

        return self._database.timed(work)

    def remove(self, dataset_id: int, name: str, *, may_release: bool = False, actor: str) -> Tag | None:
        """Take a name back, so that its version may be collected; returns what it was, None when there is none.

        Raises:
            RefusedError: it is a legal hold, and that may not be released.
        """

        def work(connection: Connection, now: int) -> Tag | None:
            dataset = datasets.lock(connection, dataset_id)
            known = find(connection, dataset_id, name)
            if known is None:
                return None
            if known.is_legal_hold and not may_release:
                raise RefusedError(_held(dataset, name))
            connection.execute(delete(tags).where(t.dataset_id == dataset_id, t.name == name))
            connection.execute(delete(leases).where(leases.c.resource == resource(dataset_id, name)))
            details = {"tag": name, "version": known.version, "legal_hold": known.is_legal_hold}
            _tell(connection, dataset, "untagged", details, actor=actor, now=now)
            return known

        return self._database.timed(work)


def listed(connection: Connection, dataset_id: int) -> list[Tag]:
    rows = connection.execute(select(tags).where(t.dataset_id == dataset_id).order_by(t.name))
    return [_tag(row) for row in rows]


def find(connection: Connection, dataset_id: int, name: str) -> Tag | None:
    row = connection.execute(select(tags).where(t.dataset_id == dataset_id, t.name == name)).one_or_none()
    return None if row is None else _tag(row)


def release_all(connection: Connection, dataset: Row[Any]) -> None:
    """Let go of what a dataset's tags hold, because it is being dropped; its locked row.

    Raises:
        RefusedError: a legal hold is on it.
    """
    known = listed(connection, dataset.id)
    if holds := [tag.name for tag in known if tag.is_legal_hold]:
        names = ", ".join(holds)
        raise RefusedError(f"dataset {dataset.name!r} is under legal hold by tag {names}; release that first, then drop it")
    for tag in known:
        connection.execute(delete(leases).where(leases.c.resource == resource(dataset.id, tag.name)))


def resource(dataset_id: int, name: str) -> str:
    """Of the lease that keeps a tag's version."""
    return f"tag:{dataset_id}:{name}"


def _checked(connection: Connection, dataset: Row[Any], version: int | None, *, now: int) -> int:
    wanted: int = dataset.manifest_version if version is None else version
    if not 0 <= wanted <= dataset.manifest_version:
        raise RefusedError(f"dataset {dataset.name!r} has no version {wanted}; the newest is {dataset.manifest_version}")
    require_readable(connection, dataset, wanted, now=now)
    return wanted


def _held(dataset: Row[Any], name: str) -> str:
    return f"tag {name!r} of dataset {dataset.name!r} is a legal hold; say --yes (over HTTP release=true) to end that"


def _lease(dataset_id: int, name: str, version: int) -> dict[str, Any]:
    lease = {"resource": resource(dataset_id, name), "holder": _HOLDER, "expires_at": FOR_EVER}
    return {**lease, "dataset_id": dataset_id, "version": version}


def _tell(connection: Connection, dataset: Row[Any], action: str, details: dict[str, Any], *, actor: str, now: int) -> None:
    version: int = dataset.manifest_version
    audit.record(connection, dataset.id, actor=actor, action=action, details=details, now=now, manifest_version=version)


def _tag(row: Row[Any]) -> Tag:
    return Tag(
        name=row.name,
        version=row.version,
        is_legal_hold=row.is_legal_hold,
        note=row.note,
        actor=row.actor,
        at=from_micros(row.at),
    )

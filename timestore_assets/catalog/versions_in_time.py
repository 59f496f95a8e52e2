"""Which manifest version was in force at a time, or is meant by a tag.

No table lists versions with their times. Whatever says that a version was there at some moment is a witness, and the greatest
version with a witness by a time was in force then: the audit row of each commit, which is right also when no segment changed
(a retraction, a change of the schema); and, since routine rows of the audit are forgotten in time, the segments that came or
went with a version, and schemas. A version whose every witness is gone had all its segments collected, so that what is found
in its place can't be read either, and is refused.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select, union_all

from timestore_assets.catalog import datasets, tags
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.tables import audit, dataset_schemas, segments
from timestore_assets.catalog.tables import tags as tags_table
from timestore_assets.model.as_of import AsOf, TagName
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_time


class VersionsInTime:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, dataset_id: int, as_of: AsOf) -> int:
        """The version that is meant; whether it can still be read is for who pins it to find out.

        Raises:
            InputError: there is no such tag, or the dataset was not there yet.
        """
        return self._database.read(lambda connection: find(connection, dataset_id, as_of))


def find(connection: Connection, dataset_id: int, as_of: AsOf) -> int:
    """See `VersionsInTime.find`."""
    if isinstance(as_of, TagName):
        return _tagged(connection, dataset_id, as_of.name)
    if isinstance(as_of, datetime):
        return at(connection, dataset_id, as_of)
    return as_of


def at(connection: Connection, dataset_id: int, time: datetime) -> int:
    """The version in force at a time; the newest for times to come."""
    dataset, moment = datasets.row(connection, dataset_id), to_micros(time)
    if moment < dataset.created_at:
        begun = format_time(from_micros(dataset.created_at))
        raise InputError(f"there was no dataset {dataset.name!r} at {format_time(time)}; it was registered at {begun}")
    s, a, d, t = segments.c, audit.c, dataset_schemas.c, tags_table.c
    witnesses = (
        (a.manifest_version, a.dataset_id, a.at),
        (s.added_version, s.dataset_id, s.added_at),
        (s.removed_version, s.dataset_id, s.removed_at),
        (d.manifest_version, d.dataset_id, d.created_at),
        (t.version, t.dataset_id, t.at),
    )
    newest = [
        select(func.max(version).label("version")).where(of == dataset_id, then <= moment) for version, of, then in witnesses
    ]
    found = connection.execute(select(func.max(union_all(*newest).subquery().c.version))).scalar()
    return int(found or 0)


def _tagged(connection: Connection, dataset_id: int, name: str) -> int:
    tag = tags.find(connection, dataset_id, name)
    if tag is not None:
        return tag.version
    known = ", ".join(one.name for one in tags.listed(connection, dataset_id)) or "none"
    dataset = datasets.row(connection, dataset_id)
    raise InputError(f"dataset {dataset.name!r} has no tag {name!r}; its tags: {known}")

"""The objects in a storage target that say whose it is: one for each generation, of which the newest counts.

A mark is an object as any other, made once under a name of its own, so the stores need no other guarantee, however many
processes write. What else lies in the target is told apart by whether the catalog knows it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.object_store import MARKS, ObjectStore, StoredObject, Upload


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """Objects of a target. `known`, `known_bytes`: those that the catalog knows. `orphans`: the others, in name order."""

    known: int
    known_bytes: int
    orphans: tuple[StoredObject, ...]

    @property
    def unknown(self) -> int:
        return len(self.orphans)

    @property
    def unknown_bytes(self) -> int:
        return sum(found.bytes for found in self.orphans)

    @property
    def is_mostly_foreign(self) -> bool:
        """Whether there is more that the catalog does not know than that it does, by number or by bytes."""
        return self.unknown > self.known or self.unknown_bytes > self.known_bytes


def contents_of(catalog: Catalog, store: ObjectStore, target: str, *, before: datetime | None = None) -> Contents:
    """Look through a target. `before`: objects that were written later and that the catalog does not know are left out.

    The listing comes first: an object in it was announced before it appeared, and the catalog knows it from then on until it
    has been collected, so one that is unknown afterwards can never be committed.
    """
    listed = list(store.list())
    known = catalog.objects.known(target) if listed else set()
    gone = {name for storage, name in catalog.objects.collected() if storage == target} if listed else set()
    ours = [found for found in listed if found.name in known]
    orphans = (found for found in listed if found.name not in known and found.name not in gone)
    return Contents(
        known=len(ours),
        known_bytes=sum(found.bytes for found in ours),
        orphans=tuple(found for found in orphans if before is None or found.modified < before),
    )


def still_there(store: ObjectStore, found: Contents) -> Contents:
    """The same without orphans that somebody else has removed meanwhile."""
    names = {one.name for one in store.list()}
    orphans = tuple(one for one in found.orphans if one.name in names)
    return Contents(known=found.known, known_bytes=found.known_bytes, orphans=orphans)


_MARK = re.compile(rf"{MARKS}([0-9a-f]{{32}})/([0-9]{{1,19}})\.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnershipMark:
    """One mark: the target was `warehouse`'s when its catalog was at that generation."""

    warehouse: str
    generation: int

    @property
    def name(self) -> str:
        return f"{MARKS}{self.warehouse}/{self.generation:019d}.json"


def read_marks(store: ObjectStore) -> list[OwnershipMark]:
    """All marks in a target, the oldest of each warehouse first.

    Raises:
        UnavailableError: the target can't be reached.
    """
    found = [_MARK.fullmatch(one.name) for one in store.list(MARKS)]
    marks = [OwnershipMark(warehouse=one[1], generation=int(one[2])) for one in found if one is not None]
    return sorted(marks, key=lambda mark: (mark.warehouse, mark.generation))


def put_mark(store: ObjectStore, mark: OwnershipMark) -> None:
    """Make a mark, durable when this returns.

    Raises:
        ConflictError: another catalog of the same warehouse has made it. UnavailableError, StorageFullError: as `promote`.
    """
    folder = store.staging("mark")
    try:
        staged = folder / "mark.json"
        # the attempt tells our mark from that of a copy of the catalog, to a store that compares contents
        content = {"warehouse": mark.warehouse, "generation": mark.generation, "attempt": token_hex(8)}
        staged.write_text(json.dumps(content) + "\n")
        store.mark(Upload(staged=staged, name=mark.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_marks(store: ObjectStore, marks: Iterable[OwnershipMark]) -> None:
    """Remove marks that newer ones stand for."""
    names = [mark.name for mark in marks]
    if names:
        store.delete(names)

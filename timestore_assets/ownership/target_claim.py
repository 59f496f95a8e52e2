"""Making sure that a storage target is this catalog's, marking that it is, and taking it over.

The marks are read before the catalog: the catalog writes down a generation before it is marked, so what is read there later is
never behind the marks of its own processes, and a mark that is ahead is of a younger catalog. A target is taken over by a new
catalog, or by one that was restored from an older backup.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.identity import Claimed
from timestore_assets.model.errors import ConflictError, OwnershipError
from timestore_assets.ownership.marks import Contents, OwnershipMark, contents_of, put_mark, read_marks, remove_marks
from timestore_assets.storage.object_store import MARKS
from timestore_assets.storage.targets import Storage

SURE_SECONDS = 30.0
"""How long a process relies on its last look: so much of what lands may a restored catalog lack without being found out."""

_LOOKED_AT = 20


def claim(catalog: Catalog, storage: Storage, target: str, *, afresh: bool = False) -> None:
    """Make sure that a target is this catalog's before something is written there, and mark the catalog's next generation.

    Cheap to call before every batch: it looks again after `SURE_SECONDS`, or `afresh`. A target that holds nothing, or nothing
    worth mentioning that the catalog does not know, becomes the catalog's.

    Raises:
        OwnershipError: it is another warehouse's, or of a younger catalog. CatalogReplacedError: the catalog was set back.
        UnavailableError, StorageFullError: the target or the catalog can't be reached, or written.
    """
    key = (catalog.place, target)
    now = time.monotonic()
    if not afresh and now - storage.claimed.get(key, -SURE_SECONDS) < SURE_SECONDS:
        return
    mine, marks = _require_own(catalog, storage, target, make=True)
    if not marks and not _is_marked(storage, target, mine):
        _require_known(catalog, storage, target, mine)
    store = storage.target(target)
    try:
        put_mark(store, OwnershipMark(warehouse=mine.warehouse, generation=catalog.identity.draw(target)))
    except ConflictError:
        raise OwnershipError(
            f"two copies of {catalog.place} write to {_where(storage, target)}: stop the processes of one of them, and see "
            f"`timestore storage adopt {target}`"
        ) from None
    # the newest of those that were there stays: whoever lists them just now must find one
    remove_marks(store, marks[:-1])
    storage.claimed[key] = now


def begin(catalog: Catalog, storage: Storage, target: str) -> None:
    """`claim` at the begin of a session; in a folder of this machine, where it costs next to nothing, always afresh."""
    claim(catalog, storage, target, afresh=storage.target(target).path("mark") is not None)


def confirm(catalog: Catalog, storage: Storage, target: str) -> None:
    """Make sure of a target without writing anything; one without marks is let pass.

    Raises:
        OwnershipError, CatalogReplacedError, UnavailableError: as `claim`.
    """
    _require_own(catalog, storage, target, make=False)


def claim_for_collection(catalog: Catalog, storage: Storage, target: str) -> None:
    """`claim` before objects of a target are removed; one in which nothing lies is left as it is."""
    store = storage.target(target)
    if any(True for _ in store.list(MARKS)) or any(True for _ in store.list()):
        claim(catalog, storage, target, afresh=True)


def _require_own(catalog: Catalog, storage: Storage, target: str, *, make: bool) -> tuple[Claimed, list[OwnershipMark]]:
    """The catalog's claim to a target and its marks there, if nothing speaks against it."""
    marks = read_marks(storage.target(target))
    mine = catalog.identity.claimed(target, make=make)
    others = sorted({mark.warehouse for mark in marks} - {mine.warehouse})
    if others:
        ours = f"that of {mine.warehouse}" if mine.warehouse else "a new one"
        raise OwnershipError(
            f"{_where(storage, target)} belongs to warehouse {others[0]}, and {catalog.place} is {ours}: set "
            f"TIMESTORE_DATABASE_URL to the right catalog, or take the target over by `timestore storage adopt {target}`"
        )
    if marks and marks[-1].generation > mine.generation:
        raise OwnershipError(
            f"{catalog.place} is older than what lies in {_where(storage, target)}, as after restoring a backup "
            f"(generation {mine.generation}, there {marks[-1].generation}): put the newest catalog back, or go on with this one "
            f"by `timestore storage adopt {target}`, which keeps the objects that it does not know"
        )
    return mine, marks


def _is_marked(storage: Storage, target: str, mine: Claimed) -> bool:
    """Whether the newest mark is there although no listing shows it yet."""
    if not mine.generation:
        return False
    newest = OwnershipMark(warehouse=mine.warehouse, generation=mine.generation)
    return storage.target(target).size(newest.name) is not None


def _require_known(catalog: Catalog, storage: Storage, target: str, mine: Claimed) -> None:
    """A target without marks is taken over in silence when the catalog knows the most of it: it may be older than marks."""
    store = storage.target(target)
    found = contents_of(catalog, store, target)
    lost = set() if found.known or not mine.generation else catalog.objects.known(target)
    # another process may have begun to use it just now, and listings may lag
    if lost and not read_marks(store) and all(store.size(name) is None for name in sorted(lost)[:_LOOKED_AT]):
        raise OwnershipError(
            f"{_where(storage, target)} holds none of the {len(lost):,} objects that {catalog.place} names there: is it mounted, "
            f"and the right place? If it is, take it over by `timestore storage adopt {target}`"
        )
    if found.is_mostly_foreign:
        raise OwnershipError(_foreign(catalog, storage, target, found))


def _foreign(catalog: Catalog, storage: Storage, target: str, found: Contents) -> str:
    return (
        f"{_where(storage, target)} holds {found.unknown:,} objects that {catalog.place} does not know, and {found.known:,} that "
        "it does: set TIMESTORE_DATABASE_URL to the catalog that they belong to, or take the target over by "
        f"`timestore storage adopt {target}`"
    )


def _where(storage: Storage, target: str) -> str:
    place = storage.target(target).address("x").removesuffix("/x")
    return f"storage target {target} ({place.removeprefix('file://')})"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptionReport:
    """Whose a target was, and what is in it.

    `warehouse`: whose it is now. `before`: ids of the warehouses it was of. `generation`: the catalog's, from now on above all
    that were in it. `known_files`: objects that the catalog knows. `unknown_files`, `unknown_bytes`: the others, which the
    collector keeps. `missing_files`: those that the catalog names and that are not there.
    """

    target: str
    warehouse: str
    before: tuple[str, ...]
    generation: int
    known_files: int
    unknown_files: int
    unknown_bytes: int
    missing_files: int


def adopt(catalog: Catalog, storage: Storage, target: str, *, actor: str) -> AdoptionReport:
    """Let a target be this catalog's, whatever lies in it. No object is removed, now or by later collections that nobody told to.

    Killed in between, the target is still refused, and adopting it again ends it.

    Raises:
        InputError: no such target. UnavailableError: it can't be reached. StorageFullError: it takes no mark.
    """
    store = storage.target(target)
    marks = read_marks(store)
    mine = catalog.identity.claimed(target).warehouse
    found = contents_of(catalog, store, target)
    # by the store's clock and ours, whichever is ahead
    until = max([datetime.now(UTC), *(one.modified for one in found.orphans)])
    beyond = max((mark.generation for mark in marks), default=0)
    generation = catalog.identity.adopt(target, beyond=beyond, kept_until=until, actor=actor)
    put_mark(store, OwnershipMark(warehouse=mine, generation=generation))
    remove_marks(store, marks)
    return AdoptionReport(
        target=target,
        warehouse=mine,
        before=tuple(sorted({mark.warehouse for mark in marks})),
        generation=generation,
        known_files=found.known,
        unknown_files=found.unknown,
        unknown_bytes=found.unknown_bytes,
        missing_files=len(catalog.objects.known(target)) - found.known,
    )

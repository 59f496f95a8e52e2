"""Moving a dataset to another storage target, while it is landed into, built and queried.

New objects go there from the beginning. Those that there are get copied in batches, and each batch changes place in one
transaction; then the old copies are left to the collector, which gives running readers time. Killed in between, moving again
goes on with what is not there yet, and what was copied for nothing is collected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from secrets import token_hex

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import TTL, LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.stored_objects import StoredFile, TargetContents
from timestore_assets.model.errors import MissingObjectError, UnavailableError
from timestore_assets.model.window import Partition
from timestore_assets.ownership.target_claim import begin, claim
from timestore_assets.storage.object_store import ObjectStore, Upload, damaged, sha256_of
from timestore_assets.storage.remote.transfers import in_parallel
from timestore_assets.storage.targets import Storage

BATCH_OBJECTS = 200
BATCH_BYTES = 2_000_000_000
_AT_A_TIME = 8
"""Objects on this machine's disk at the same time, on their way."""
_MOVED = re.compile(r"\.moved-[0-9a-f]{12}$")

Progress = Callable[["MoveReport"], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MovePlan:
    """What moving would do. `new_objects_go_to`: the dataset's target now. `held`: what is where, the wanted target left out."""

    dataset: str
    target: str
    new_objects_go_to: str
    held: Mapping[str, TargetContents]

    @property
    def objects(self) -> int:
        return sum(one.objects for one in self.held.values())

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.held.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveReport:
    """What was moved. `gone`: objects that the collector removed before their turn came."""

    dataset: str
    target: str
    objects: int = 0
    bytes: int = 0
    gone: int = 0


def plan_move(catalog: Catalog, storage: Storage, record: DatasetRecord, target: str) -> MovePlan:
    """What `move` would copy, from where.

    Raises:
        InputError: the target, or one that holds something, is not set up. UnavailableError: it can't be opened.
    """
    held = {name: one for name, one in catalog.moving.held(record.id).items() if name != target}
    for name in (target, *held):
        storage.target(name)
    return MovePlan(dataset=record.name, target=target, new_objects_go_to=record.storage, held=held)


def move(
    catalog: Catalog,
    storage: Storage,
    record: DatasetRecord,
    target: str,
    *,
    holder: str,
    actor: str,
    progress: Progress | None = None,
) -> MoveReport:
    """Let new objects of a dataset go to a target, and bring there what is elsewhere.

    Sessions that were under way may still write to the old place; moving again brings that too.

    Raises:
        InputError: no such target is set up. MissingObjectError: an object that the catalog names is lost. DamagedError: one
            has other bytes than were committed. OwnershipError: the target is not this catalog's; nothing was changed.
        UnavailableError, StorageFullError: a target can't be reached, or is full; what was switched by then stays so.
    """
    mover = _Mover(catalog, storage, record, target, actor)
    begin(catalog, storage, target)
    if record.storage != target:
        catalog.policies.put(record.id, "storage_target", {"target": target}, actor=actor)
    return _moved_all(mover, catalog, record, target, holder=holder, progress=progress)


def move_partition(
    catalog: Catalog, storage: Storage, record: DatasetRecord, partition: Partition, target: str, *, holder: str, actor: str
) -> MoveReport:
    """Bring the live segments of one partition to a target; new objects of the dataset go where they went. Errors as `move`."""
    begin(catalog, storage, target)
    mover = _Mover(catalog, storage, record, target, actor, partition=partition)
    return _moved_all(mover, catalog, record, target, holder=holder)


def _moved_all(
    mover: _Mover,
    catalog: Catalog,
    record: DatasetRecord,
    target: str,
    *,
    holder: str,
    progress: Progress | None = None,
) -> MoveReport:
    report = MoveReport(dataset=record.name, target=target)
    with LeaseKeeper(catalog) as keeper, keeper.session(record.id, "move", holder=holder, ttl=TTL) as session:
        while batch := mover.next_batch():
            report = mover.moved(session.id, batch, report)
            if progress is not None:
                progress(report)
    return report


class _Mover:
    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        record: DatasetRecord,
        target: str,
        actor: str,
        *,
        partition: Partition | None = None,
    ) -> None:
        self._partition = partition
        self._catalog, self._storage, self._record, self._target, self._actor = catalog, storage, record, target, actor
        self._store: ObjectStore = storage.target(target)

    def next_batch(self) -> list[StoredFile]:
        """Some objects that are elsewhere, of about as many bytes as one transaction should stand for."""
        batch: list[StoredFile] = []
        for file in self._elsewhere():
            if batch and sum(one.bytes for one in batch) + file.bytes > BATCH_BYTES:
                break
            batch.append(file)
        return batch

    def _elsewhere(self) -> list[StoredFile]:
        moving = self._catalog.moving
        return moving.elsewhere(self._record.id, self._target, limit=BATCH_OBJECTS, partition=self._partition)

    def moved(self, session: int, batch: Sequence[StoredFile], before: MoveReport) -> MoveReport:
        """Copy a batch and switch it; returns the report with it."""
        names = {file: _fresh(file.name) for file in batch}
        claim(self._catalog, self._storage, self._target)
        self._catalog.sessions.announce(session, list(names.values()), storage=self._target)
        there = in_parallel(lambda file: self._copied(file, names[file]), batch, limit=_AT_A_TIME)
        copies = {file: names[file] for file, copied in zip(batch, there, strict=True) if copied}
        self._require_collected([file for file in batch if file not in copies])
        switched = self._catalog.moving.switch(
            session, copies, dataset_id=self._record.id, target=self._target, actor=self._actor
        )
        return replace(
            before,
            objects=before.objects + len(switched),
            bytes=before.bytes + sum(file.bytes for file in switched),
            gone=before.gone + len(batch) - len(switched),
        )

    def _copied(self, file: StoredFile, name: str) -> bool:
        """Copy an object by way of this machine's disk; False when there is none any more."""
        staged = self._store.staging("move") / PurePosixPath(name).name
        try:
            self._storage.target(file.storage).fetch(file.name, staged)
            if staged.stat().st_size != file.bytes:
                raise UnavailableError(f"object {file.name} has not the size that it should; run `timestore verify`")
            if file.sha256 not in (None, sha256_of(staged)):
                what = "it stays where it is; restore it from a copy, `timestore verify` says what else is"
                raise damaged("object", file.name, what)
            self._store.promote([Upload(staged=staged, name=name, sha256=file.sha256)])
        except MissingObjectError:
            return False
        finally:
            staged.unlink(missing_ok=True)
            staged.parent.rmdir()
        return True

    def _require_collected(self, missing: Sequence[StoredFile]) -> None:
        if not missing:
            return
        left = set(self._elsewhere()).intersection(missing)
        for file in left:
            raise MissingObjectError(
                f"object {file.name} of dataset {self._record.name!r} is missing from storage target {file.storage}; "
                "run `timestore verify`"
            )


def _fresh(name: str) -> str:
    """A name that no attempt ever had: an object left by an earlier one may be about to be collected under its own."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{_MOVED.sub('', path.stem)}.moved-{token_hex(6)}{path.suffix}"))

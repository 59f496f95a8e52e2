"""Backfills that schema versions ask for: how they stand, whether they may be done, and doing them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timestore_assets.catalog.backfill_records import (
    APPROVED,
    OPEN,
    Backfill,
    BackfillProgress,
    BackfillState,
    cause_in_words,
    land_again,
)
from timestore_assets.model.errors import DamagedError, InputError, RefusedError, TimestoreError
from timestore_assets.model.window import Partition, format_time
from timestore_assets.verbs.reload_verbs import ReloadVerbs

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport

_APART = (DamagedError, RefusedError)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackfillStatus:
    """A request, how far it has come, and what a person types to do it where nothing else does."""

    backfill: Backfill
    progress: BackfillProgress
    commands: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """For instance `37 of 200 partitions rewritten`."""
        progress, done = self.progress, "landed again" if self.backfill.is_reload else "rewritten"
        if not progress.of and self.backfill.is_reload:
            return f"not {done} yet, as far as anybody has said"
        said = f"{progress.done:,} of {progress.of:,} {self._noun}{'' if progress.of == 1 else 's'} {done}"
        others = self.backfill.others
        return f"{said}; {others:,} values came by requests, and no source has them" if others else said

    @property
    def _noun(self) -> str:
        if not self.backfill.is_reload:
            return "partition"
        return "file" if not self.backfill.ranges else "window" if not self.backfill.reloads else "file and window"


class BackfillVerbs(ReloadVerbs):
    """Requests for backfills, and building what approved ones ask for."""

    def backfills(self, name: str | None = None, *, states: Collection[BackfillState] | None = None) -> list[BackfillStatus]:
        """How the requests of a dataset, or of all declared ones, stand; in these states where that is said."""
        if name is not None:
            found = self.catalog.backfills.listed(dataset_ids=[self.resolve(name)[1].id], states=states)
        else:
            found = [one for one in self.catalog.backfills.listed(states=states) if one.dataset in self.datasets]
        return [self._status(one) for one in found]

    def backfill(self, backfill_id: int) -> BackfillStatus:
        """How one stands; InputError when there is none of that id."""
        found = self.catalog.backfills.find(backfill_id)
        if found is None:
            raise InputError(f"there is no backfill {backfill_id}; `timestore backfills list --all` shows those that there are")
        return self._status(found)

    def decide_backfill(self, backfill_id: int, state: BackfillState, *, actor: str) -> bool:
        """Approve it, refuse it, or say that it is done; whether that changes anything.

        Raises:
            InputError: there is none of that id. ConflictError: it has ended.
        """
        self.backfill(backfill_id)
        match state:
            case "approved":
                return self.catalog.backfills.approve(backfill_id, actor=actor)
            case "refused":
                return self.catalog.backfills.refuse(backfill_id, actor=actor)
            case "done":
                return self.catalog.backfills.done(backfill_id, actor=actor)
            case "asked":
                raise InputError("a backfill is asked for by a schema version, not by a person")

    def settle_backfills(self, name: str) -> list[int]:
        """End the dataset's requests of which nothing is left; their ids."""
        return self.catalog.backfills.settle(self.resolve(name)[1].id)

    def approved_partitions(self, name: str) -> list[Partition]:
        """What approved backfills have still to build in a dataset, in order of time."""
        dataset, record = self.resolve(name)
        approved = self.catalog.backfills.listed(dataset_ids=[record.id], states=APPROVED)
        left = {start for one in approved for start in self.catalog.backfills.progress(one).partitions}
        return [Partition(window=dataset.window, start=start) for start in sorted(left)]

    def run_backfills(self, name: str, *, actor: str = "command line") -> Iterator[BuildReport | TimestoreError]:
        """Build what approved backfills of a dataset ask for, and end those of which nothing is left.

        A partition that is damaged, is being built by somebody else, or has a value that can't be computed gives its error, and
        the others are built. Broken off it goes on where it was, since what is left is told from what there is. A partition that
        still takes rows is not sealed by it.
        """
        yield from self.build_each(name, self.approved_partitions(name), close=False, apart=_APART, actor=actor)
        self.settle_backfills(name)

    def _status(self, backfill: Backfill) -> BackfillStatus:
        found = self.catalog.backfills.progress(backfill)
        if backfill.state == "done":
            found = BackfillProgress(done=found.of, of=found.of)
        return BackfillStatus(backfill=backfill, progress=found, commands=_commands(backfill, found))


def backfill_to_plain(status: BackfillStatus) -> dict[str, Any]:
    """A request as JSON values, for the command line and HTTP."""
    one = status.backfill
    return {
        "id": one.id,
        "dataset": one.dataset,
        "schema_version": one.schema_version,
        "state": one.state,
        "why": cause_in_words(one.cause),
        "cause": dict(one.cause),
        "done": status.progress.done,
        "of": status.progress.of,
        "summary": status.summary,
        "cost": dict(one.cost),
        "commands": list(status.commands),
        "actor": one.actor,
        "created_at": format_time(one.created_at),
        "updated_at": format_time(one.updated_at),
    }


def _commands(backfill: Backfill, progress: BackfillProgress) -> tuple[str, ...]:
    """None for what a build does; of a reload the first lines that land what is left."""
    if not backfill.is_reload or backfill.state not in OPEN:
        return ()
    return tuple(land_again(backfill.dataset, [str(file["address"]) for file in progress.files], progress.ranges))

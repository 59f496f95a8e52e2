"""Late data: what came after its partition was closed, and what of it is held until somebody decides."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.late_records import LateCount
    from timestore_assets.landing.dead_letters.held_batches import HeldBatch
    from timestore_assets.landing.dead_letters.replay import ReplayReport


class LateVerbs(Workplace):
    """The ledger of late data, and the review of what is held."""

    def late(self, name: str, partition: str | None = None) -> list[LateCount]:
        """The ledger of a dataset, or of one partition by its key, in order of time; see `catalog.late_records`.

        Raises:
            InputError: there is no such dataset or partition.
        """
        dataset, record = self.resolve(name)
        only = None if partition is None else dataset.partition(partition)
        return self.catalog.late.of(record.id, window=dataset.window, partition=only)

    def held(self, name: str, *, limit: int, samples: int) -> tuple[list[HeldBatch], int]:
        """The oldest batches of records that are held for being late, and how many there are; see `held_batches`."""
        from timestore_assets.landing.dead_letters.held_batches import held_batches

        _, record = self.resolve(name)
        return held_batches(self.catalog, self.storage, record.id, limit=limit, samples=samples)

    def accept_held(self, name: str, batches: Collection[int] | None = None, *, actor: str = "command line") -> ReplayReport:
        """Land held records, those of these batches or all, each once: a replay for which lateness does not count.

        Raises:
            InputError: one of the batches is not held, or not any more. Errors as `LandingVerbs.replay` beside.
        """
        from timestore_assets.landing.dead_letters.held_batches import require_held
        from timestore_assets.landing.dead_letters.replay import Replayer, Selection

        dataset, record = self._in_use(name)
        if batches is not None:
            require_held([file for _, file, _ in self.catalog.dead_letters.of(record.id)], batches, dataset=name)
        selection = Selection(kind="held", ids=None if batches is None else frozenset(batches))
        return Replayer(self.writing).replay(dataset, selection, actor=actor)

    def refuse_held(self, name: str, batches: Collection[int] | None = None, *, actor: str = "command line") -> int:
        """Drop held records for being late, those of these batches or all; returns how many. Their bytes stay dead letters.

        Raises:
            InputError: one of the batches is not held, or not any more.
        """
        _, record = self.resolve(name)
        return self.catalog.dead_letters.refuse_held(record.id, batches, actor=actor)

"""What goes in time: partitions that expire or move, and rows that are to be erased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError
from timestore_assets.model.retention import Retention, check_retention
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.service_records import Policy
    from timestore_assets.upkeep.erase import EraseReport
    from timestore_assets.upkeep.expiring import RetentionReport


class UpkeepVerbs(Workplace):
    """How long datasets keep what they have."""

    def retention(self, name: str) -> Retention:
        """What counts for a dataset: what was set for it, else what is declared."""
        from timestore_assets.upkeep.expiring import retention_of

        return retention_of(self.catalog, self.resolve(name)[1])

    def with_retention(self) -> Sequence[str]:
        """Registered datasets of this process of which partitions may expire or move, by name."""
        from timestore_assets.upkeep.expiring import retentions

        return [record.name for record, found in retentions(self.catalog) if found.acts and record.name in self.datasets]

    def kept_versions(self) -> Mapping[int, timedelta]:
        """How long superseded segments stay, of the datasets that say so themselves, by their id."""
        from timestore_assets.upkeep.expiring import kept_versions

        return kept_versions(self.catalog)

    def set_retention(self, name: str, wanted: Retention | None, *, actor: str, if_version: int | None = None) -> Policy:
        """Let a retention stand in for the declared one, or with None let that count again; audited with what was before.

        Raises:
            InputError: it can't be meant, or a tier is no storage target. StaleVersionError: it was set anew since `if_version`.
        """
        _, record = self.resolve(name)
        if wanted is not None:
            check_retention(wanted)
            for tier in wanted.tier:
                self.storage.target(tier.to)
        value = None if wanted is None else wanted.to_policy()
        return self.catalog.policies.put(record.id, "retention", value, actor=actor, if_version=if_version)

    def apply_retention(
        self, name: str, *, execute: bool, moves: bool = True, actor: str = "command line", now: datetime | None = None
    ) -> RetentionReport:
        """Let partitions of a dataset expire and move as its retention says; without `execute` only say which would.

        `moves`: False leaves what is to move for another time: it may take hours. Errors as `upkeep.expiring.apply_retention`.
        """
        from timestore_assets.upkeep.expiring import apply_retention, would_do

        _, record = self.resolve(name)
        now = now or datetime.now(UTC)
        if not execute:
            return would_do(self.catalog, record, now=now)
        return apply_retention(self.catalog, self.storage, record, now=now, holder=self.holder, actor=actor, moves=moves)

    def erase(
        self,
        name: str,
        where: str,
        *,
        execute: bool,
        dead_letters: bool = False,
        archives: bool = False,
        actor: str = "command line",
    ) -> EraseReport:
        """Erase the rows of a dataset for which a SQL condition is true; without `execute` only say what would go.

        Errors as `upkeep.erase.Eraser`.
        """
        from timestore_assets.upkeep.erase import Eraser

        eraser = Eraser(self.writing, *self.resolve(name), where)
        return eraser.erase(dead_letters=dead_letters, archives=archives, actor=actor) if execute else eraser.look()

    def check_erasure(self, name: str, where: str) -> None:
        """InputError when the condition is none over the dataset's columns; nothing is looked at."""
        from timestore_assets.upkeep.erase import Eraser

        Eraser(self.writing, *self.resolve(name), where)

    def reopen(self, name: str, keys: Sequence[str], *, actor: str = "command line") -> list[str]:
        """Let rows land in expired partitions again; the keys of those that had expired. What they held does not come back.

        Raises:
            InputError: one is no partition of the dataset; nothing was changed.
        """
        dataset, record = self.resolve(name)
        if not keys:
            raise InputError("name the partitions that rows may land in again")
        partitions = [dataset.partition(key) for key in keys]
        return [one.key for one in partitions if self.catalog.expiry.reopen(record.id, one, actor=actor)]

    def landed_into(self, name: str, keys: Sequence[str]) -> list[str]:
        """Command lines that land again what these partitions hold or held, the first ones, as far as the audit goes back."""
        from timestore_assets.catalog.backfill_records import land_again

        if not keys:
            return []
        return land_again(name, *self.catalog.expiry.landed_into(self.resolve(name)[1].id, keys))

"""Versions of a dataset: which one is meant, which have names, and going back to one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from timestore_assets.model.as_of import Version, parse_as_of, parse_tag
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.rollbacks import Rollback
    from timestore_assets.catalog.tags import Tag
    from timestore_assets.model.as_of import AsOf


class HistoryVerbs(Workplace):
    """Tags, and going back."""

    def version_of(self, name: str, as_of: Version | AsOf) -> int:
        """The manifest version of a dataset that is meant; whether it can still be read is for who asks it to find out.

        Raises:
            InputError: it is no version, time or tag of that dataset.
        """
        _, record = self.resolve(name)
        meant = parse_as_of(as_of) if isinstance(as_of, (int, str, datetime)) else as_of
        return meant if isinstance(meant, int) else self.catalog.in_time.find(record.id, meant)

    def tags(self, name: str) -> Sequence[Tag]:
        """A dataset's tags, by name."""
        return self.catalog.tags.of(self.resolve(name)[1].id)

    def tag(
        self,
        name: str,
        tag: str,
        *,
        version: Version | None = None,
        note: str = "",
        is_legal_hold: bool = False,
        may_release: bool = False,
        actor: str,
    ) -> Tag:
        """Give a version (None = newest, or the one that the tag has) a name, and keep it; see `catalog.tags.Tags.put`.

        Raises:
            InputError: the name can't be one. ConflictError: it stands for another version. RefusedError: the version can't be
                read any more, or a legal hold would end.
        """
        meant = None if version is None else self.version_of(name, version)
        _, record = self.resolve(name)
        return self.catalog.tags.put(
            record.id,
            parse_tag(tag).name,
            version=meant,
            note=note,
            is_legal_hold=is_legal_hold,
            may_release=may_release,
            actor=actor,
        )

    def untag(self, name: str, tag: str, *, may_release: bool = False, actor: str) -> Tag | None:
        """Take a tag back, so that its version may be collected; what it was, None when there was none.

        Raises:
            RefusedError: it is a legal hold, and that may not be released.
        """
        return self.catalog.tags.remove(self.resolve(name)[1].id, tag, may_release=may_release, actor=actor)

    def rollback(
        self,
        name: str,
        to: Version,
        *,
        dry_run: bool = False,
        with_landings: bool = False,
        may_lose: bool = False,
        may_null: bool = False,
        actor: str = "command line",
    ) -> Rollback:
        """Show the rows of an earlier version again, and what landed since; see `catalog.rollbacks.Rollbacks.roll_back`.

        Args:
            dry_run: only say what would change. with_landings: what landed since goes too, and lands again from files and topics.
            may_lose: rows that came over HTTP since may go with it.
            may_null: rows that landed since may have no value in columns that come back.

        Raises:
            InputError: it is no version, time or tag of that dataset. RefusedError: it can't be gone back to.
        """
        version = self.version_of(name, to)
        _, record = self.resolve(name)
        if dry_run:
            return self.catalog.rollbacks.plan(record.id, version, with_landings=with_landings, may_null=may_null)
        from timestore_assets.migrating.declaration_changes import redeclared

        done = self.catalog.rollbacks.roll_back(
            record.id,
            version,
            with_landings=with_landings,
            may_lose=may_lose,
            may_null=may_null,
            redeclare=redeclared,
            actor=actor,
        )
        if done.schema_version is not None:
            self._registry.refresh_now()
        return done

"""Changing a dataset's columns as a manifest says: trying it, doing it, and what was done before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.archives import Archive
    from timestore_assets.catalog.commit_values import SchemaChange
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.catalog.schema_migrations import CutOver, MigrationRecord
    from timestore_assets.migrating.applying import Applied
    from timestore_assets.migrating.archive_listing import ArchivedColumn
    from timestore_assets.migrating.archive_place import ArchivePlace
    from timestore_assets.migrating.dry_run import BrokenQuery, DryRun
    from timestore_assets.migrating.migration_manifest import MigrationManifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """A migration that was carried out.

    `tried`: None when it had been before. `archives`: that were written now. `is_archived`: none is left to be written.
    """

    done: CutOver
    tried: DryRun | None
    archives: Sequence[Archive] = ()
    is_archived: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreTrial:
    """What taking migrations back would change. `refusals`: why it would not be done."""

    changes: Sequence[SchemaChange] = ()
    refusals: Sequence[str] = ()


class MigrationVerbs(Workplace):
    """Migrations of schemas."""

    def try_migration(
        self,
        manifest: MigrationManifest,
        *,
        sample: int | None = None,
        allow_broken_queries: bool = False,
        archive_to: ArchivePlace | None = None,
    ) -> DryRun:
        """What a migration would do; nothing is written.

        Args:
            sample: try about so many rows, all when it is None.
            archive_to: where archives of dropped columns go, see `migrating.archive_place.place_of`.

        Raises:
            InputError: there is no such dataset or storage target, or an operation is not possible.
        """
        return self._tried(manifest, sample, allow_broken_queries=allow_broken_queries, archive_to=archive_to)[0]

    def migrate(
        self,
        manifest: MigrationManifest,
        *,
        sample: int | None = None,
        allow_broken_queries: bool = False,
        archive_to: ArchivePlace | None = None,
        actor: str,
    ) -> Migration:
        """Carry out a migration after having tried it; the same again, however often, is done once.

        Archives are written after it, from the version before it; the same again goes on with those that are left.

        Raises:
            InputError: as `try_migration`; or the folder of archives can't be written.
            RefusedError: what it would lose or break, see `DryRun.refusals`.
            ConflictError: another migration came in between, or other columns under the same names.
        """
        record = self._migrated(manifest.dataset)
        done, tried = self._known(manifest), None
        if done is None:
            try:
                done, tried = self._carried_out(
                    record, manifest, sample, allow_broken_queries, archive_to=archive_to, actor=actor
                )
            except (InputError, RefusedError):
                # somebody else may have carried out the same just now: then its names are not there any more
                done = self._known(manifest)
                if done is None:
                    raise
        written = self._archived(manifest.dataset, archive_to, actor=actor) if archive_to is not None else []
        left = self.catalog.archives.pending(record.id)
        return Migration(done=done, tried=tried, archives=written, is_archived=not left)

    def _known(self, manifest: MigrationManifest) -> CutOver | None:
        from timestore_assets.catalog.schema_migrations import CutOver

        known = self.migrated_before(manifest)
        return None if known is None else CutOver(record=known, is_new=False)

    def _archived(self, name: str, place: ArchivePlace, *, actor: str) -> Sequence[Archive]:
        from timestore_assets.migrating.archiving import write_archives

        record = self._migrated(name)
        return write_archives(self.writing, record, place, actor=actor)

    def _carried_out(
        self,
        record: DatasetRecord,
        manifest: MigrationManifest,
        sample: int | None,
        allow_broken_queries: bool,
        *,
        archive_to: ArchivePlace | None,
        actor: str,
    ) -> tuple[CutOver, DryRun]:
        from timestore_assets.catalog.schema_migrations import MigrationOrder
        from timestore_assets.migrating.applying import apply
        from timestore_assets.migrating.declaration_changes import redeclared
        from timestore_assets.migrating.dry_run import rewrites_all
        from timestore_assets.querying.planning import syntax

        tried, applied = self._tried(manifest, sample, allow_broken_queries=allow_broken_queries, archive_to=archive_to)
        if tried.refusals:
            raise RefusedError(f"dataset {manifest.dataset!r} is not migrated: {'; '.join(tried.refusals)}")
        order = MigrationOrder(
            manifest=manifest.plain,
            digest=manifest.digest,
            ticket=manifest.governance.ticket,
            approved_by=manifest.governance.approved_by,
            base=applied.before.schema,
            rewrites_all=rewrites_all(manifest),
            cost=asdict(tried.cost),
            actor=actor,
        )
        con = syntax.parser()
        done = self.catalog.migrations.cut_over(record.id, order, lambda state: apply(con, state, manifest).migrated, redeclared)
        self._registry.refresh_now()
        return done, tried

    def try_restore(self, name: str, schema_version: int, *, may_null: bool = False) -> RestoreTrial:
        """What `restore_schema` would change, and why it would be refused; nothing is done.

        Raises:
            InputError: there is no such version.
        """
        record = self._migrated(name)
        try:
            return RestoreTrial(changes=self.catalog.schema_restores.plan(record.id, schema_version, may_null=may_null))
        except RefusedError as error:
            return RestoreTrial(refusals=(str(error),))

    def restore_schema(
        self,
        name: str,
        schema_version: int,
        *,
        may_null: bool = False,
        ticket: str = "",
        approved_by: str = "",
        actor: str,
    ) -> MigrationRecord:
        """Take migrations back: the columns of an earlier schema version, as a new one. Rows stay.

        Args:
            may_null: nullable columns may be null in rows that have landed since, where nothing says how to compute them.

        Raises:
            InputError: there is no such version. RefusedError: rows that have landed since have no value for a column.
        """
        from timestore_assets.migrating.declaration_changes import redeclared

        record = self._migrated(name)
        done = self.catalog.schema_restores.restore(
            record.id,
            schema_version,
            may_null=may_null,
            redeclare=redeclared,
            ticket=ticket,
            approved_by=approved_by,
            actor=actor,
        )
        self._registry.refresh_now()
        return done

    def migrated_before(self, manifest: MigrationManifest) -> MigrationRecord | None:
        """The same migration as it was carried out, None when it was not, or was taken back."""
        record = self._migrated(manifest.dataset)
        return self.catalog.migrations.done(record.id, manifest.digest)

    def migrations(self, name: str) -> Sequence[MigrationRecord]:
        """What was migrated in a dataset, and taken back, the newest first."""
        record = self._migrated(name)
        return self.catalog.migrations.of(record.id)

    def archives(self, name: str) -> Sequence[ArchivedColumn]:
        """Columns of a dataset that were dropped to be archived, with the files that hold their values."""
        from timestore_assets.migrating.archive_listing import archived_columns

        return archived_columns(self.catalog, self._migrated(name))

    def _migrated(self, name: str) -> DatasetRecord:
        """The record of a dataset that is to be migrated, also under a file that is ahead: a migration is the way out of that."""
        return self._registry.as_it_stands(name)[1]

    def _tried(
        self, manifest: MigrationManifest, sample: int | None, *, allow_broken_queries: bool, archive_to: ArchivePlace | None
    ) -> tuple[DryRun, Applied]:
        from timestore_assets.migrating.archive_place import InTarget
        from timestore_assets.migrating.dry_run import dry_run
        from timestore_assets.migrating.saved_query_check import broken_queries
        from timestore_assets.querying.reading.querier import Querier

        record = self._migrated(manifest.dataset)
        if isinstance(archive_to, InTarget):
            self.storage.target(archive_to.target)
        saved = [one for one in self.catalog.saved_queries.listed() if manifest.dataset in one.datasets]

        def broken(applied: Applied) -> Sequence[BrokenQuery]:
            if not saved:
                return ()
            with closing(Querier(self.catalog, self.storage, self.limits, holder=self.holder)) as querier:
                return broken_queries(querier, saved, self._registry.resolved(), applied, manifest.dataset)

        return dry_run(
            self.catalog,
            self.storage,
            self.limits,
            record,
            manifest,
            holder=self.holder,
            broken=broken,
            sample=sample,
            allow_broken_queries=allow_broken_queries,
            archives=archive_to is not None,
        )

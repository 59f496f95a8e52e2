"""`schema migrate` and `schema migrations`: changing columns as a manifest says, tried first, and what was done before."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.archive_list import place_in_words
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import NOTHING, count, counted, duration, print_json, print_table, size, stdout
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timestore_assets.catalog.schema_migrations import MigrationRecord
    from timestore_assets.migrating.archive_place import ArchivePlace
    from timestore_assets.migrating.dry_run import ColumnTrial, DryRun
    from timestore_assets.migrating.migration_manifest import MigrationManifest
    from timestore_assets.verbs.migration_verbs import Migration
    from timestore_assets.warehouse import Warehouse

HELP = """Rename, transform, cast, drop or add columns as a manifest says.

Nothing is done without --execute, or `execution: {dryRun: false}` in the manifest: what it would do is shown, with what it costs
and why it would be refused (exit code 3). No partition is touched when it is done: older rows are read as the new columns, and
where that takes computing, a backfill is asked for. Migrate first, then deploy the changed declaration."""


class ArchiveSuffix(StrEnum):
    """What archives are."""

    JSONL = "jsonl"
    PARQUET = "parquet"


ManifestFile = Annotated[
    Path,
    typer.Option(
        "--manifest", metavar="FILE", help="The manifest, in YAML or JSON.", exists=True, dir_okay=False, show_default=False
    ),
]
OnlyTry = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do, whatever the manifest says.")]
Execute = Annotated[bool, typer.Option("--execute", help="Do it, whatever the manifest says.")]
SampleRows = Annotated[
    int | None,
    typer.Option("--sample", min=1, metavar="N", help="Try about N rows of all partitions, to be quick; all by default."),
]
ArchiveFolder = Annotated[
    Path | None,
    typer.Option("--archive-dir", metavar="DIR", help="Folder that archives of dropped columns go to.", show_default=False),
]
ArchiveTarget = Annotated[
    str | None,
    typer.Option("--archive-to", metavar="TARGET", help="Storage target that they go to instead.", show_default=False),
]
ArchiveKind = Annotated[
    ArchiveSuffix | None, typer.Option("--archive-format", help="What they are; JSON lines by default.", show_default=False)
]
AllowBroken = Annotated[bool, typer.Option("--allow-broken-queries", help="Do it although saved queries fail afterwards.")]
REFUSED = 3


def migrate(
    manifest: ManifestFile,
    dry_run: OnlyTry = False,
    execute: Execute = False,
    sample: SampleRows = None,
    archive_dir: ArchiveFolder = None,
    archive_to: ArchiveTarget = None,
    archive_format: ArchiveKind = None,
    allow_broken_queries: AllowBroken = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.catalog.schema_migrations import CutOver
    from timestore_assets.migrating.manifest_file import read_manifest
    from timestore_assets.verbs.migration_verbs import Migration

    if dry_run and execute:
        raise InputError("--dry-run and --execute exclude each other")
    try:
        wanted = read_manifest(manifest.read_text(encoding="utf-8"), file=str(manifest))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{manifest} can't be read: {error}") from None
    place = _archive_place(wanted, archive_dir, archive_to, archive_format)
    options: dict[str, Any] = {"sample": sample, "allow_broken_queries": allow_broken_queries, "archive_to": place}
    with open_warehouse() as warehouse:
        if dry_run or (wanted.dry_run and not execute):
            known = warehouse.migrated_before(wanted)
            if known is not None:
                _tell(warehouse, wanted, Migration(done=CutOver(record=known, is_new=False), tried=None), json=json)
            else:
                _show(warehouse.try_migration(wanted, **options), manifest, json=json)
            return
        done = warehouse.migrate(wanted, **options, actor=actor())
        _tell(warehouse, wanted, done, json=json)


def _archive_place(
    wanted: MigrationManifest, folder: Path | None, target: str | None, suffix: ArchiveSuffix | None
) -> ArchivePlace | None:
    from timestore_assets.migrating.archive_place import place_of

    given = {"--archive-dir": folder, "--archive-to": target, "--archive-format": suffix}
    said = next((option for option, value in given.items() if value is not None), None)
    if said is not None and not any(getattr(one, "archive", None) for one in wanted.operations):
        raise InputError(f"{said} is for a manifest in which a `drop` says `archive: true`")
    return place_of(wanted, folder=folder, target=target, format=None if suffix is None else suffix.value)


RESTORE_HELP = """Take migrations back: put the columns of an earlier schema version in force again, as a new version.

Rows stay. Those that have landed since are computed by the `inverse` that the migration named; without one it is refused. Run it
with the version of before to go forward again."""
ToSchema = Annotated[int, typer.Option("--to", min=1, metavar="N", help="The schema version.", show_default=False)]
Nulls = Annotated[bool, typer.Option("--nulls", help="Nullable columns may be null in rows that have landed since.")]
OnlyTryRestore = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]
Ticket = Annotated[str, typer.Option("--ticket", help="Ticket that asks for it.", show_default=False)]
ApprovedBy = Annotated[str, typer.Option("--approved-by", help="Who has approved it.", show_default=False)]


def restore(
    dataset: DatasetName,
    to: ToSchema,
    dry_run: OnlyTryRestore = False,
    nulls: Nulls = False,
    ticket: Ticket = "",
    approved_by: ApprovedBy = "",
    json: AsJson = False,
) -> None:
    if dry_run:
        _try_restore(dataset, to, nulls=nulls, json=json)
        return
    with open_warehouse() as warehouse:
        said: dict[str, Any] = {"may_null": nulls, "ticket": ticket, "approved_by": approved_by}
        done = warehouse.restore_schema(dataset, to, **said, actor=actor())
    if json:
        print_json(done)
        return
    from timestore_assets.catalog.schema_events import change_sentence

    _say(f"{dataset} has the columns of schema version {to} again, as version {done.schema_version}.")
    for change in done.changes:
        _say(f"  {change_sentence(change)}")


def _try_restore(dataset: str, to: int, *, nulls: bool, json: bool) -> None:
    from timestore_assets.catalog.schema_events import change_sentence

    with open_warehouse() as warehouse:
        tried = warehouse.try_restore(dataset, to, may_null=nulls)
    if json:
        print_json(tried)
    else:
        for change in tried.changes:
            _say(f"  {change_sentence(asdict(change))}")
        for refusal in tried.refusals:
            _say(f"Refused: {refusal}.")
        if not tried.refusals:
            _say("Nothing was done; the same without --dry-run does it.")
    if tried.refusals:
        raise typer.Exit(REFUSED)


def migrations(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        found = warehouse.migrations(dataset)
    if json:
        print_json([asdict(one) for one in found])
    elif not found:
        stdout().print(f"{dataset} was never migrated.", markup=False)
    else:
        print_table([">schema", "at", "ticket", "approved by", "by", "~change"], (row for one in found for row in _history(one)))


def _history(one: MigrationRecord) -> Iterator[list[str]]:
    from timestore_assets.catalog.schema_events import change_sentence

    changes = [change_sentence(change) for change in one.changes] or [one.kind]
    yield [str(one.schema_version), f"{one.at:%Y-%m-%d %H:%M:%S}", one.ticket, one.approved_by, one.actor, changes[0]]
    for change in changes[1:]:
        yield ["", "", "", "", "", change]


def _show(run: DryRun, manifest: Path, *, json: bool) -> None:
    if json:
        print_json(run)
    else:
        _print(run, manifest)
    if run.refusals:
        raise typer.Exit(REFUSED)


def _print(run: DryRun, manifest: Path) -> None:
    from timestore_assets.catalog.schema_events import change_sentence

    _say(f"{run.dataset}: what schema version {run.schema_version + 1} would change")
    print_table(["column", "~change"], ([change.column, change_sentence(asdict(change))] for change in run.changes))
    if run.computed:
        tried = count(run.rows_tried) if run.rows_tried == run.rows else f"{count(run.rows_tried)} of {count(run.rows)}"
        _say(f"Computed for older rows, tried on {tried}:")
        print_table(["column", "~values", ">lost", ">NULL"], (_computed(one) for one in run.computed))
        print_table(["column", "~before", "~after"], (row for one in run.computed for row in _samples(one)))
    _say(_cost(run))
    for note in run.notes:
        _say(f"Mind: {note}.")
    for query in run.broken_queries:
        _say(f"Saved query {query.name} would fail: {query.problem}")
    if run.refusals:
        for refusal in run.refusals:
            _say(f"Refused: {refusal}.")
    else:
        _say(f"Nothing was done; `{timestore('schema', 'migrate', '--manifest', str(manifest), '--execute')}` does it.")


def _computed(one: ColumnTrial) -> list[str]:
    source = f"{one.source} {one.source_type} → " if one.source else ""
    return [one.column, f"{source}{one.type}: {one.expression}", count(one.lost), count(one.nulls)]


def _samples(one: ColumnTrial) -> Iterator[list[str]]:
    for sample in (*one.samples, *one.lost_samples):
        yield [one.column, sample.before or NOTHING, sample.after or "NULL"]


def _cost(run: DryRun) -> str:
    if not run.cost.partitions:
        return "Nothing has to be rewritten: older rows are read as they are."
    what = f"{counted(run.cost.partitions, 'partition')} with {counted(run.cost.rows, 'row')} ({size(run.cost.bytes)})"
    takes = duration(max(run.cost.seconds, 0.01))
    return f"To be rewritten when a backfill is approved: {what}, {takes}; until then values are computed."


def _tell(warehouse: Warehouse, manifest: MigrationManifest, done: Migration, *, json: bool) -> None:
    record, tried = done.done.record, done.tried
    lines = list(tried.lines) if tried else []
    file = warehouse.file_of(manifest.dataset)
    if json:
        answer: dict[str, Any] = {
            "dataset": manifest.dataset,
            "schema_version": record.schema_version,
            "manifest_version": record.manifest_version,
            "is_new": done.done.is_new,
            "changes": list(record.changes),
            "lines": lines,
            "archives": list(done.archives),
            "is_archived": done.is_archived,
            "file": str(file.path) if file else None,
            "dry_run": tried,
        }
        print_json(answer)
        return
    if not done.done.is_new:
        _say(f"{manifest.dataset} was migrated so before, to schema version {record.schema_version}.")
        _tell_archives(done)
        return
    _say(
        f"{manifest.dataset} has schema version {record.schema_version}, in force from version {record.manifest_version} of its "
        f"rows on ({manifest.governance.ticket}, approved by {manifest.governance.approved_by})."
    )
    if tried is not None and tried.cost.partitions:
        _say(f"A rewrite of {counted(tried.cost.partitions, 'partition')} is asked for.")
    _tell_archives(done)
    if file is not None and lines:
        _say(f"Now write this into {file.path}, and deploy it:")
        for line in lines:
            _say(line)


def _tell_archives(done: Migration) -> None:
    if done.archives:
        places = ", ".join(sorted({place_in_words(one.storage) for one in done.archives}))
        rows = counted(sum(one.rows for one in done.archives), "row")
        _say(f"Archived {rows} in {counted(len(done.archives), 'file')} in {places}.")
    if not done.is_archived:
        _say("Archives are left to be written: run it again with --archive-to or --archive-dir.")


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)

"""`erase`: rows go from every version, with what may hold them beside segments."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, counted, print_json, print_table, stdout
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.upkeep.erase import EraseReport

ERASE_HELP = """Erase the rows of a dataset for which a condition is true, for good.

The partitions that hold some are written anew without them. From then on no older version can be read, tagged or rolled back to,
and their files go at once. A legal hold refuses it. There is no undo.

Not reached: backups, the sources themselves, and what they send again; see the chapter on retention."""

NOT_REACHED = (
    "not reached: backups and copies of the bucket, the sources (files and topics keep their records, and land them again when "
    "they are reloaded), read caches of other machines, answers that were saved, and the history of your shell"
)

Condition = Annotated[
    str, typer.Option("--where", metavar="SQL", help="Which rows: a condition over the columns.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DeadLetters = Annotated[
    bool, typer.Option("--dead-letters", help="Also remove all dead letters of the dataset, which may hold such rows.")
]
Archives = Annotated[bool, typer.Option("--archives", help="Also remove the archives of its dropped columns.")]


def add_to(app: typer.Typer) -> None:
    app.command("erase", help=ERASE_HELP)(erase)


def erase(
    dataset: DatasetName,
    where: Condition,
    dry_run: DryRun = False,
    yes: Yes = False,
    dead_letters: DeadLetters = False,
    archives: Archives = False,
    json: AsJson = False,
) -> None:
    with open_warehouse() as warehouse:
        if not dry_run and not yes:
            _ask(warehouse.erase(dataset, where, execute=False), dataset)
        report = warehouse.erase(dataset, where, execute=not dry_run, dead_letters=dead_letters, archives=archives, actor=actor())
    if json:
        from timestore_assets.model.schema import to_plain

        print_json({**to_plain(report), "not_reached": NOT_REACHED})
        return
    _print(report)


def _ask(looked: EraseReport, dataset: str) -> None:
    if not sys.stdin.isatty():
        raise InputError("nobody is there to be asked; look with --dry-run, then say --yes")
    _print(looked)
    if not typer.confirm(f"Erase them from {dataset} for good?", default=False):
        raise typer.Abort


def _print(report: EraseReport) -> None:
    if report.partitions:
        print_table(["partition", ">stored rows"], ([one.partition, count(one.rows)] for one in report.partitions))
    for line in (*_done(report), *_beside(report), NOT_REACHED):
        stdout().print(line, markup=False, soft_wrap=True)


def _done(report: EraseReport) -> list[str]:
    if report.nothing:
        return [f"{report.dataset}: no stored row matches; no version was touched"]
    if report.dry_run:
        rows = sum(one.rows for one in report.partitions)
        old = f", {counted(report.old_rows, 'row')} that only older versions show" if report.old_rows else ""
        tags = f"; tags on older versions go: {', '.join(report.tags)}" if report.tags else ""
        return [f"{report.dataset}: {counted(rows, 'stored row')} would go{old}{tags}; nothing was changed"]
    lines = [
        f"{report.dataset}: {counted(report.erased_rows, 'row')} went in {report.passes} pass{'' if report.passes == 1 else 'es'}"
        f"; {report.floor_version} is the oldest version that can be read, {counted(report.collected_files, 'file')} went"
    ]
    if report.tags:
        lines.append(f"tags on older versions went: {', '.join(report.tags)}")
    if report.held_files:
        held = counted(report.held_files, "file")
        lines.append(f"{held} of older versions are still held by readers or sessions; `{timestore('gc')}` removes them then")
    return lines


def _beside(report: EraseReport) -> list[str]:
    lines = []
    if report.dead_letters:
        what = f"{counted(report.dead_letters, 'file')} of dead letters"
        stays = f"{what} may hold such rows; --dead-letters removes all of the dataset's"
        lines.append(f"removed: {what}" if report.removed_dead_letters else stays)
    if report.archives:
        what = f"{counted(report.archives, 'archive')} of dropped columns"
        stays = f"{what} may hold such rows; --archives removes them"
        lines.append(f"removed: {what}" if report.removed_archives else stays)
    return lines

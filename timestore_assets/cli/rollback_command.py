"""`rollback`: a dataset's rows as an earlier version had them, and what landed since."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, counted, print_json, print_table, stdout

if TYPE_CHECKING:
    from timestore_assets.catalog.rollbacks import Rollback

HELP = """Show the rows of an earlier version again, as a new version.

What builds and retractions have done since is undone; what landed since stays, as it landed, and is built again. Nothing is
copied, so it takes a moment; the way forward is a rollback to the version before. Migrations since are taken back with it.
With --and-landings what landed since goes too, and files and topics land again."""

To = Annotated[str, typer.Option("--to", metavar="VERSION|TAG|TIME", help="The version to go back to.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
AndLandings = Annotated[bool, typer.Option("--and-landings", help="What landed since goes too; files and topics land again.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Rows may go that came over HTTP and don't come again.")]
Nulls = Annotated[bool, typer.Option("--nulls", help="Rows landed since may have no value in columns that come back.")]
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    app.command("rollback", help=HELP)(rollback)


def rollback(
    dataset: DatasetName,
    to: To,
    dry_run: DryRun = False,
    and_landings: AndLandings = False,
    yes: Yes = False,
    nulls: Nulls = False,
    json: AsJson = False,
) -> None:
    options = {"dry_run": dry_run, "with_landings": and_landings, "may_lose": yes, "may_null": nulls}
    with open_warehouse() as warehouse:
        done = warehouse.rollback(dataset, to, **options, actor=actor())
    if json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    if done.version == done.start_version:
        _say_expired(done)
        _say(f"{dataset} is as version {done.to_version} had it; nothing changes.")
        return
    _show(done)
    if dry_run:
        _say("Nothing was changed: this was a dry run.")
        return
    forward = timestore("rollback", dataset, "--to", str(done.start_version))
    _say(f"Version {done.version} of {dataset} shows the rows of version {done.to_version}; `{forward}` goes forward again.")


def _show(done: Rollback) -> None:
    rows = (
        [one.partition, one.state, *map(count, (one.segments_out, one.rows_out, one.segments_in, one.rows_in, one.landed_rows))]
        for one in done.partitions[:_SHOWN]
    )
    print_table(["partition", "state then", ">segments\nout", ">rows\nout", ">segments\nin", ">rows\nin", ">landed\nsince"], rows)
    if len(done.partitions) > _SHOWN:
        _say(f"… and {counted(len(done.partitions) - _SHOWN, 'partition')} more; --json has them all.")
    if done.retractions_back or done.retractions_off:
        _say(f"{counted(done.retractions_off, 'retraction')} taken back, {done.retractions_back} in force again.")
    if done.files:
        _say(f"{counted(len(done.files), 'file')} to land again: {', '.join(done.files[:_SHOWN])}")
    if done.topics:
        _say(f"Checkpoints set back, to be read from there again: {', '.join(done.topics)}")
    if done.schema_version is not None:
        _say(f"Columns are those of schema version {done.schema_version} again: migrations since are taken back.")
    _say_expired(done)
    if done.lost_requests:
        _say(f"{counted(done.lost_requests, 'row')} that came over HTTP go and don't come again by themselves.")


def _say_expired(done: Rollback) -> None:
    if not done.expired:
        return
    more = len(done.expired) - _SHOWN
    named = ", ".join(done.expired[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    again = timestore("retention", done.dataset, "--reopen", "KEY")
    _say(f"Expired since, so their rows stay away: {named}; `{again}` lets rows land there again.")


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)

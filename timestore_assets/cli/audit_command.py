"""`audit`: who or what changed which partition, when and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, OptionalDatasetName
from timestore_assets.cli.output import print_json, print_table, stderr, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment

HELP = """Show who or what changed what, the newest first: landings, builds, failures, and everything that people did.

Batches that landed and partitions that were built stay there for TIMESTORE_AUDIT_KEEP_SECONDS; the rest stays for good."""
Partition = Annotated[str | None, typer.Option("--partition", metavar="KEY", help="Only what names this partition.")]
Ticket = Annotated[
    str | None, typer.Option("--ticket", metavar="ID", help="Only what was done for this ticket: migrations and their rewrites.")
]
Action = Annotated[list[str] | None, typer.Option("--action", metavar="NAME", help="Only this: built, landed, … (repeatable).")]
Actor = Annotated[str | None, typer.Option("--actor", help="Only what was done by those whose name begins so.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only from this time on: 2013-01-01, -1d, …")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only before this time.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many rows at most.")]
Before = Annotated[int | None, typer.Option("--before", min=1, metavar="ID", help="Only rows older than this one.")]


def add_to(app: typer.Typer) -> None:
    app.command("audit", help=HELP)(audit)


def audit(
    dataset: OptionalDatasetName = None,
    partition: Partition = None,
    ticket: Ticket = None,
    action: Action = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    before: Before = None,
    json: AsJson = False,
) -> None:
    from timestore_assets.catalog.audit import AuditFilter

    first, last = _times(since, until)
    only = AuditFilter(partition=partition, ticket=ticket, actions=tuple(action or ()), actor=actor, since=first, until=last)
    with open_warehouse() as warehouse:
        rows = warehouse.audit(dataset, only=only, limit=limit, before=before)
    if json:
        print_json(rows)
        return
    if not rows:
        stdout().print("nothing of that kind stands in the audit", markup=False)
        return
    shown = [[str(row["id"]), _at(row["at"]), row["dataset"] or "", row["summary"]] for row in rows]
    print_table([">id", "at", "dataset", "~what"], shown)
    if len(rows) == limit:
        older = timestore("audit", *([dataset] if dataset else []), "--before", str(rows[-1]["id"]))
        stderr().print(f"There may be older ones: {older}, with the same options", markup=False, soft_wrap=True)


def _at(text: str) -> str:
    return text[:19].replace("T", " ")


def _times(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    now = datetime.now(UTC)
    first, last = (None if text is None else parse_moment(text, now=now) for text in (since, until))
    if first and last and first >= last:
        raise InputError(f"--since {since} is not before --until {until}")
    return first, last

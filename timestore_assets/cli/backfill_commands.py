"""`backfills list`, `show`, `approve`, `refuse`, `done` and `run`: what schema versions ask for, and whether it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.catalog.backfill_records import APPROVED, OPEN, BackfillState, cause_in_words
from timestore_assets.cli.build import counted_reports, print_reports, reports_to_plain
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, OptionalDatasetName
from timestore_assets.cli.output import NOTHING, count, counted, duration, print_json, print_table, size, stderr, stdout
from timestore_assets.model.errors import DamagedError, TimestoreError

if TYPE_CHECKING:
    from timestore_assets.verbs.backfill_verbs import BackfillStatus
    from timestore_assets.warehouse import Warehouse

LIST_HELP = """Show backfills that are asked for or approved, with their cost and how far they are.

A schema version that computes columns asks for its older partitions to be rewritten; queries are right without it, and slower."""

REFUSE_HELP = """Let backfills not be done, or not go on.

Queries compute what is missing for as long as it is. What is refused can be approved later."""

RUN_HELP = """Build, or land again, what approved backfills ask for, here and now.

The sensors `timestore_backfills` and `timestore_reloads` do the same in Dagster. Broken off, it goes on where it was when it is
run again."""

Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="As `backfills list` shows them.", show_default=False)]
Id = Annotated[int, typer.Argument(metavar="ID", help="As `backfills list` shows it.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Also those that are done or refused.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show what schema versions ask to be rewritten, approve or refuse it, do it.")
    group.command("list", help=LIST_HELP)(list_backfills)
    group.command("show", help="Show one backfill with the partitions or files that are left.")(show)
    group.command("approve", help="Let backfills be done: Dagster, `backfills run` or `build` does them.")(approve)
    group.command("refuse", help=REFUSE_HELP)(refuse)
    group.command("done", help="Say that backfills are done, of which the catalog can't tell.")(done)
    group.command("run", help=RUN_HELP)(run)
    app.add_typer(group, name="backfills")


def list_backfills(dataset: OptionalDatasetName = None, all: All = False, json: AsJson = False) -> None:
    from timestore_assets.verbs.backfill_verbs import backfill_to_plain

    with open_warehouse() as warehouse:
        found = warehouse.backfills(dataset, states=None if all else OPEN)
    if json:
        print_json([backfill_to_plain(one) for one in found])
    elif not found:
        where = f" of {dataset}" if dataset else ""
        stdout().print(f"No backfill{where} is {'known' if all else 'asked for or approved'}.", markup=False)
    else:
        print_table(["id", "dataset", "state", "~why", "~progress", ">rows", ">bytes", ">estimate"], map(_row, found))
        _tell_commands(found)


def show(backfill: Id, json: AsJson = False) -> None:
    from timestore_assets.model.window import Window
    from timestore_assets.verbs.backfill_verbs import backfill_to_plain

    with open_warehouse() as warehouse:
        found = warehouse.backfill(backfill)
        window: Window = warehouse.declared(found.backfill.dataset).window
    left = [window.key_of(start) for start in found.progress.partitions]
    if json:
        print_json({**backfill_to_plain(found), "left": left or [dict(file) for file in found.progress.files]})
        return
    plain = backfill_to_plain(found)
    cost = plain["cost"]
    rows = [
        ["backfill", str(backfill)],
        ["dataset", plain["dataset"]],
        ["state", f"{plain['state']} by {plain['actor']}"],
        ["why", plain["why"]],
        ["schema version", str(plain["schema_version"])],
        ["progress", plain["summary"]],
        ["holds", f"{count(cost.get('rows'))} rows, {size(cost.get('bytes'))}"],
        ["estimate", _estimate(found) + (f", {cost['basis']}" if cost.get("basis") else "")],
        ["left", _ends(left)],
    ]
    print_table(["", "~"], rows)
    _tell_commands([found])


def approve(backfills: Ids, json: AsJson = False) -> None:
    _decide(backfills, "approved", json)


def refuse(backfills: Ids, json: AsJson = False) -> None:
    _decide(backfills, "refused", json)


def done(backfills: Ids, json: AsJson = False) -> None:
    _decide(backfills, "done", json)


def run(dataset: OptionalDatasetName = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        names = [dataset] if dataset else _waiting(warehouse)
        told = [_run_one(warehouse, name, json) for name in names]
        left = [one for name in names for one in warehouse.backfills(name, states=APPROVED)]
    if json:
        print_json([plain for plain, _ in told])
    elif not told:
        stdout().print("Nothing to do: no backfill is approved.")
    else:
        _tell_commands(left)
    codes = [error.exit_code for _, errors in told for error in errors]
    if codes:
        raise typer.Exit(codes[0])


def _run_one(warehouse: Warehouse, name: str, json: bool) -> tuple[dict[str, object], Sequence[TimestoreError]]:
    """Its reports as JSON values, and why partitions could not be built."""
    wanted = warehouse.approved_partitions(name)
    built = counted_reports(warehouse.run_backfills(name, actor=actor()), total=len(wanted), shown=not json)
    reports = [one for one in built if not isinstance(one, TimestoreError)]
    errors = [one for one in built if isinstance(one, TimestoreError)]
    if not json:
        stdout().print(f"{name}: {counted(len(reports), 'partition')} built", markup=False)
        if reports:
            print_reports(reports)
    again = warehouse.carry_out_reloads(name, actor=actor())
    for one in [] if json else again:
        stdout().print(f"{name}: {counted(one.counters.landed, 'row')} landed again for backfill {one.backfill}", markup=False)
    for problem in (*map(str, errors), *(f"backfill {one.backfill}: {reason}" for one in again for reason in one.left)):
        stderr().print(f"error: {problem}", markup=False, soft_wrap=True)
    plain = reports_to_plain(name, reports, [one for one in errors if isinstance(one, DamagedError)], None)
    refused = [str(one) for one in errors if not isinstance(one, DamagedError)]
    return {**plain, "refused": refused, "landed_again": [asdict(one) for one in again]}, errors


def _waiting(warehouse: Warehouse) -> list[str]:
    return list(dict.fromkeys(one.backfill.dataset for one in warehouse.backfills(states=APPROVED)))


def _decide(ids: Sequence[int], state: BackfillState, json: bool) -> None:
    with open_warehouse() as warehouse:
        changed = {one: warehouse.decide_backfill(one, state, actor=actor()) for one in dict.fromkeys(ids)}
        found = [warehouse.backfill(one) for one in changed]
    if json:
        print_json([{"id": one, "state": state, "changed": was} for one, was in changed.items()])
        return
    for one, was in changed.items():
        stdout().print(f"Backfill {one} {'is' if was else 'was already'} {state}.", markup=False)
    if state == "approved" and any(not one.backfill.is_reload for one in found):
        run_it = timestore("backfills", "run")
        stdout().print(f"Dagster's sensor timestore_backfills does it, or `{run_it}` here.", markup=False, soft_wrap=True)
    _tell_commands(found)


def _row(one: BackfillStatus) -> list[str]:
    found, cost = one.backfill, one.backfill.cost
    why = cause_in_words(found.cause)
    figures = [count(cost.get("rows")), size(cost.get("bytes")), _estimate(one)]
    return [str(found.id), found.dataset, found.state, why, one.summary, *figures]


def _estimate(one: BackfillStatus) -> str:
    seconds = one.backfill.cost.get("seconds")
    return NOTHING if seconds is None else duration(seconds)


def _ends(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= 6 else f"{len(keys):,} partitions, from {keys[0]} to {keys[-1]}"


def _tell_commands(found: Sequence[BackfillStatus]) -> None:
    for one in found:
        if one.commands:
            stdout().print(f"Backfill {one.backfill.id} is done by landing again:", markup=False)
            for line in one.commands:
                stdout().print(f"  {line}", markup=False, soft_wrap=True)

"""`storage list` and `storage move`: where segments live, and bringing a dataset elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.numbers import count, size
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table, stderr, stdout
from timestore_assets.cli.session import actor, open_warehouse

if TYPE_CHECKING:
    from timestore_assets.catalog.moving import Held
    from timestore_assets.upkeep.moving import MovePlan, MoveReport, Progress
    from timestore_assets.warehouse import Warehouse

MOVE_HELP = """Bring a dataset to another storage target.

New segments go there from now on; those that there are, and the dead letters, are copied and take their place batch by batch,
beside landing, builds and queries. `timestore gc` removes the old copies after a while. Run it again after an interruption:
it goes on with the rest."""

Target = Annotated[str, typer.Argument(metavar="TARGET", help="Name of a storage target.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved, from where to where.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show the storage targets, and move datasets between them.")
    group.command("list", help="Show every storage target, where it is and what is in it.")(list_targets)
    group.command("move", help=MOVE_HELP)(move)
    app.add_typer(group, name="storage")


def list_targets(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        rows = _targets(warehouse)
    if json:
        print_json(rows)
        return
    heads = ["target", "driver", "~place", "~datasets", ">objects", ">bytes"]
    print_table(heads, ([*_texts(row), count(row["objects"]), size(row["bytes"])] for row in rows))


def _targets(warehouse: Warehouse) -> list[dict[str, Any]]:
    from timestore_assets.storage.target_settings import configured_targets, place_of

    records = warehouse.catalog.datasets()
    held = [warehouse.catalog.moving.held(record.id) for record in records]
    rows = []
    for name, target in configured_targets(warehouse.settings).items():
        found = [one[name] for one in held if name in one]
        rows.append(
            {
                "target": name,
                "driver": target.driver,
                "place": place_of(target),
                "endpoint": target.endpoint,
                "datasets": sorted(record.name for record in records if record.storage == name),
                "objects": sum(one.objects for one in found),
                "bytes": sum(one.bytes for one in found),
            }
        )
    return rows


def _texts(row: dict[str, Any]) -> list[str]:
    place = f"{row['place']} at {row['endpoint']}" if row["endpoint"] else row["place"]
    return [row["target"], row["driver"], place, ", ".join(row["datasets"])]


def move(dataset: DatasetName, target: Target, dry_run: DryRun = False, json: AsJson = False) -> None:
    from timestore_assets.upkeep.moving import move as move_objects
    from timestore_assets.upkeep.moving import plan_move

    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        plan = plan_move(warehouse.catalog, warehouse.storage, record, target)
        if dry_run:
            _print_plan(plan, json=json)
            return
        with _progress(plan, shown=not json) as progress:
            report = move_objects(
                warehouse.catalog, warehouse.storage, record, target, holder=warehouse.holder, actor=actor(), progress=progress
            )
    _print_report(report, json=json)


def _print_plan(plan: MovePlan, *, json: bool) -> None:
    if json:
        from timestore_assets.model.definition import to_plain

        print_json({**to_plain(plan), "objects": plan.objects, "bytes": plan.bytes, "dry_run": True})
        return
    print_table(["from", "to", ">objects", ">bytes"], (_held_row(name, plan.target, held) for name, held in plan.held.items()))
    where = "already go" if plan.new_objects_go_to == plan.target else f"go to {plan.new_objects_go_to} now and would go"
    stdout().print(f"new objects of {plan.dataset} {where} to {plan.target}; nothing was changed", markup=False, soft_wrap=True)


def _held_row(name: str, target: str, held: Held) -> list[str]:
    return [name, target, count(held.objects), size(held.bytes)]


def _print_report(report: MoveReport, *, json: bool) -> None:
    if json:
        print_json(report)
        return
    gone = f"; {count(report.gone)} had been collected meanwhile" if report.gone else ""
    moved = f"moved {count(report.objects)} objects ({size(report.bytes)}) of {report.dataset} to {report.target}{gone}"
    rest = "`timestore gc` removes the old copies after a while" if report.objects else "new objects go there"
    stdout().print(f"{moved}; {rest}", markup=False, soft_wrap=True)


@contextmanager
def _progress(plan: MovePlan, *, shown: bool) -> Iterator[Progress | None]:
    """A bar of bytes moved of all bytes; nothing when nobody looks."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task(f"moving to {plan.target}", total=plan.bytes)
        yield lambda report: bar.update(task, completed=report.bytes)

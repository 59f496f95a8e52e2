"""`storage list`, `move` and `adopt`: where segments live, bringing a dataset elsewhere, whose a target is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, print_json, print_table, size, stderr, stdout
from timestore_assets.model.errors import TimestoreError

if TYPE_CHECKING:
    from timestore_assets.catalog.stored_objects import TargetContents
    from timestore_assets.upkeep.move_dataset import MovePlan, MoveReport, Progress
    from timestore_assets.warehouse import Warehouse

MOVE_HELP = """Bring a dataset to another storage target.

New segments go there from now on; those that there are, and the dead letters, are copied and take their place batch by batch,
beside landing, builds and queries. `timestore gc` removes the old copies after a while. Run it again after an interruption:
it goes on with the rest."""

ADOPT_HELP = """Let a storage target belong to this catalog.

For when timestore refuses to work because the target is another warehouse's, or was written to by a younger catalog than this
one, as after restoring a backup. Nothing is removed: files that this catalog does not know stay until `timestore gc
--delete-orphans`. The warehouse it belonged to can't use it any more until it is adopted back."""

Target = Annotated[str, typer.Argument(metavar="TARGET", help="Name of a storage target.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved, from where to where.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show the storage targets, move datasets between them, take one over.")
    group.command("list", help="Show every storage target, where it is and what is in it.")(list_targets)
    group.command("move", help=MOVE_HELP)(move)
    group.command("adopt", help=ADOPT_HELP)(adopt)
    app.add_typer(group, name="storage")


def list_targets(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        rows = _targets(warehouse)
    if json:
        print_json(rows)
        return
    heads = ["target", "driver", "~place", "~datasets", ">objects", ">bytes", "~belongs to"]
    print_table(heads, ([*_texts(row), count(row["objects"]), size(row["bytes"]), row["belongs_to"]] for row in rows))


def _targets(warehouse: Warehouse) -> list[dict[str, Any]]:
    from timestore_assets.storage.target_settings import configured_targets, place_of

    records = warehouse.catalog.datasets.all()
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
                "belongs_to": _owner(warehouse, name),
            }
        )
    return rows


def _owner(warehouse: Warehouse, target: str) -> str:
    """Whose a target is, as far as it can be seen now."""
    from timestore_assets.ownership.marks import read_marks

    try:
        owners = sorted({mark.warehouse for mark in read_marks(warehouse.storage.target(target))})
    except TimestoreError:
        return "not reachable"
    if not owners:
        return "nobody yet"
    mine = warehouse.catalog.identity.known_id()
    return ", ".join("this warehouse" if owner == mine else f"warehouse {owner}" for owner in owners)


def _texts(row: dict[str, Any]) -> list[str]:
    place = f"{row['place']} at {row['endpoint']}" if row["endpoint"] else row["place"]
    return [row["target"], row["driver"], place, ", ".join(row["datasets"])]


def move(dataset: DatasetName, target: Target, dry_run: DryRun = False, json: AsJson = False) -> None:
    from timestore_assets.upkeep.move_dataset import move as move_objects
    from timestore_assets.upkeep.move_dataset import plan_move

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
        from timestore_assets.model.schema import to_plain

        print_json({**to_plain(plan), "objects": plan.objects, "bytes": plan.bytes, "dry_run": True})
        return
    print_table(["from", "to", ">objects", ">bytes"], (_held_row(name, plan.target, held) for name, held in plan.held.items()))
    where = "already go" if plan.new_objects_go_to == plan.target else f"go to {plan.new_objects_go_to} now and would go"
    stdout().print(f"new objects of {plan.dataset} {where} to {plan.target}; nothing was changed", markup=False, soft_wrap=True)


def _held_row(name: str, target: str, held: TargetContents) -> list[str]:
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


def adopt(target: Target, json: AsJson = False) -> None:
    from timestore_assets.ownership.target_claim import adopt as adopt_target

    with open_warehouse() as warehouse:
        report = adopt_target(warehouse.catalog, warehouse.storage, target, actor=actor())
    if json:
        print_json(report)
        return
    others = [one for one in report.before if one != report.warehouse]
    was = f", before of {' and '.join(others)}" if others else ""
    rest = f"{report.unknown_files:,} unknown ones ({size(report.unknown_bytes)}), which stay"
    lost = f"; {report.missing_files:,} that it names are not there, see `{timestore('verify')}`" if report.missing_files else ""
    stdout().print(
        f"storage target {target} is warehouse {report.warehouse}'s from now on{was}: "
        f"{report.known_files:,} files that its catalog knows and {rest}{lost}",
        markup=False,
        soft_wrap=True,
    )

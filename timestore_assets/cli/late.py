"""`timestore late`: the ledger of late data, and what is held until somebody accepts or refuses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from timestore_assets.cli.deadletters_replay import print_replay
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import NOTHING, count, counted, print_json, print_table, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.late_words import how_late, lateness_range

if TYPE_CHECKING:
    from timestore_assets.catalog.late_records import LateCount
    from timestore_assets.landing.dead_letters.held_batches import HeldBatch

_SHOWN = 40
_SAMPLE = 70
_WAYS = ("corrected", "dropped", "held")

Partition = Annotated[str | None, typer.Option("--partition", metavar="KEY", help="Only of this partition.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most batches.")]
Batches = Annotated[list[int] | None, typer.Option("--batch", metavar="ID", help="A batch that `late review` shows; repeat it.")]
All = Annotated[bool, typer.Option("--all", help="Every batch that is held.")]

REVIEW_HELP = "List what is held for being late: batches with their partitions, how late they were, and their first records."
ACCEPT_HELP = """Land records that are held for being late, each once, and have their partitions built again.

What the declaration refuses by now stays held, with the reason. It may be interrupted and run again at any time."""
REFUSE_HELP = """Drop records that are held for being late. They count as dropped, and their original bytes stay dead letters
of the kind `late_dropped`."""


class _ShowByDefault(TyperGroup):
    """`late DATASET` is `late show DATASET`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(cls=_ShowByDefault, help="What came late, how late, and what became of it; decide about what is held.")
    group.command("show", help="Show how many records came late, and how late. `late DATASET` does the same.")(show)
    group.command("review", help=REVIEW_HELP)(review)
    group.command("accept", help=ACCEPT_HELP)(accept)
    group.command("refuse", help=REFUSE_HELP)(refuse)
    app.add_typer(group, name="late")


def show(dataset: DatasetName, partition: Partition = None, json: AsJson = False) -> None:
    from timestore_assets.dataset_status import late_to_plain

    with open_warehouse() as warehouse:
        found = warehouse.late(dataset, partition)
    if json:
        print_json(late_to_plain(found))
    elif not found:
        stdout().print(f"Nothing came late to {dataset}" + (f" in {partition}." if partition else "."), markup=False)
    else:
        _print_ledger(dataset, found)


def _print_ledger(dataset: str, found: Sequence[LateCount]) -> None:
    by_lateness: dict[int, Counter[str]] = {}
    by_place: dict[tuple[str, str], list[LateCount]] = {}
    for one in found:
        by_lateness.setdefault(one.lateness, Counter())[one.disposition] += one.rows
        by_place.setdefault((one.partition.key, one.source), []).append(one)
    heads = ["how late", *(f">{way}" for way in _WAYS)]
    print_table(heads, ([lateness_range(late), *_numbers(rows)] for late, rows in sorted(by_lateness.items())))
    places = list(by_place.items())[-_SHOWN:]
    more = f"the latest {len(places)} of {len(by_place):,}" if len(places) < len(by_place) else ""
    heads = ["partition", "~source", *(f">{way}" for way in _WAYS), "at most", "last came"]
    print_table(heads, (_place_row(*where, cells) for where, cells in places), title=more)
    if any(one.disposition == "held" for one in found):
        look = timestore("late", "review", dataset)
        stdout().print(f"Look at what is held: {look}", markup=False, soft_wrap=True)


def _place_row(partition: str, source: str, cells: Sequence[LateCount]) -> list[str]:
    rows = Counter[str]()
    for one in cells:
        rows[one.disposition] += one.rows
    latest = max(one.lateness for one in cells)
    last = max(one.last_at for one in cells)
    return [partition, source, *_numbers(rows), lateness_range(latest), f"{last:%Y-%m-%d %H:%M:%S}"]


def _numbers(rows: Counter[str]) -> list[str]:
    return [count(rows[way]) if rows[way] else NOTHING for way in _WAYS]


def review(dataset: DatasetName, limit: Limit = 20, json: AsJson = False) -> None:
    from timestore_assets.dataset_status import held_to_plain

    with open_warehouse() as warehouse:
        window = warehouse.declared(dataset).window
        batches, all_of_them = warehouse.held(dataset, limit=limit, samples=3)
    if json:
        print_json([held_to_plain(one, window) for one in batches])
        return
    if not batches:
        stdout().print(f"{dataset} holds nothing.", markup=False)
        return
    heads = [">batch", "~source", ">records", "~partitions", "how late", "held at", "~first records"]
    print_table(heads, (_held_row(one, held_to_plain(one, window)) for one in batches))
    if all_of_them > len(batches):
        stdout().print(f"{counted(all_of_them - len(batches), 'batch')} more; `--limit` shows them.", markup=False)
    for verb in ("accept", "refuse"):
        command = timestore("late", verb, dataset, "--batch", str(batches[0].id))
        stdout().print(f"{verb.capitalize()} one: {command}; all: --all", markup=False, soft_wrap=True)


def _held_row(batch: HeldBatch, plain: dict[str, Any]) -> list[str]:
    places = [f"{one['partition']} ({count(one['rows'])})" for one in plain["partitions"]]
    shown = ", ".join(places[:5]) + (f" and {len(places) - 5:,} more" if len(places) > 5 else "")
    latest = how_late(max(one.lateness for one in batch.partitions)) if batch.partitions else NOTHING
    samples = [(letter.raw or b"")[: 4 * _SAMPLE].decode("utf-8", errors="replace") for letter in batch.samples]
    texts = ["".join(char if char.isprintable() else "·" for char in text)[:_SAMPLE] for text in samples]
    held_at = f"{batch.held_at:%Y-%m-%d %H:%M:%S}"
    return [str(batch.id), batch.source, count(batch.records), shown or NOTHING, latest, held_at, "\n".join(texts)]


def accept(dataset: DatasetName, batch: Batches = None, all: All = False, json: AsJson = False) -> None:
    wanted = _wanted(batch, everything=all)
    with open_warehouse() as warehouse:
        report = warehouse.accept_held(dataset, wanted, actor=actor())
    print_replay(report, json=json)


def refuse(dataset: DatasetName, batch: Batches = None, all: All = False, json: AsJson = False) -> None:
    wanted = _wanted(batch, everything=all)
    with open_warehouse() as warehouse:
        dropped = warehouse.refuse_held(dataset, wanted, actor=actor())
    if json:
        print_json({"dataset": dataset, "late_dropped": dropped})
    else:
        stdout().print(f"{dataset}: {counted(dropped, 'held record')} dropped for being late.", markup=False)


def _wanted(batches: list[int] | None, *, everything: bool) -> list[int] | None:
    if bool(batches) == everything:
        raise InputError("which batches? Write --batch ID, as `late review` shows them, or --all")
    return batches or None

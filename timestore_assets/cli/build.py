"""`build`: turn a dataset's deltas into sealed segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from timestore_assets.cli.land import exit_code
from timestore_assets.cli.open_warehouse import actor, open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName, span
from timestore_assets.cli.output import count, counted, duration, make_table, print_json, size, stderr, stdout
from timestore_assets.model.errors import DamagedError, InputError

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport
    from timestore_assets.catalog.records import PartitionRecord
    from timestore_assets.landing.files.land_report import LandReport
    from timestore_assets.model.window import Partition
    from timestore_assets.warehouse import Warehouse

T = TypeVar("T")

HELP = """Build partitions: merge, deduplicate, sort and publish.

Without options every partition that is not sealed, has rows that are not built, or is asked for by an approved backfill. What
is built here is sealed; a row that arrives later makes the partition stale until the next build."""

Keys = Annotated[list[str] | None, typer.Option("--partition", metavar="KEY", help="Build this partition; repeatable.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Build partitions from this time on.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Build partitions before this time.")]
Reload = Annotated[bool, typer.Option("--reload", help="First land what the file sources hold of that time and is new.")]


def add_to(app: typer.Typer) -> None:
    app.command("build", help=HELP)(build)


def build(
    dataset: DatasetName,
    partition: Keys = None,
    start: From = None,
    end: To = None,
    reload: Reload = False,
    json: AsJson = False,
) -> None:
    with open_warehouse() as warehouse:
        landed = _reloaded(warehouse, dataset, keys=partition or [], start=start, end=end) if reload else None
        chosen = choose(warehouse, dataset, keys=partition or [], start=start, end=end)
        running = warehouse.build_each(dataset, chosen, close=True, apart=DamagedError, actor=actor())
        built = counted_reports(running, total=len(chosen), shown=not json)
        warehouse.settle_backfills(dataset)
    reports = [one for one in built if not isinstance(one, DamagedError)]
    errors = [one for one in built if isinstance(one, DamagedError)]
    if json:
        print_json(reports_to_plain(dataset, reports, errors, landed))
    elif reports:
        print_reports(reports)
    elif not errors:
        stdout().print(f"Nothing to build: no partition of {dataset} that was asked for holds unbuilt rows.")
    for error in errors:
        stderr().print(f"error: {error}", markup=False, soft_wrap=True)
    if errors:
        raise typer.Exit(DamagedError.exit_code)
    if landed is not None and (code := exit_code(landed)):
        raise typer.Exit(code)


def _reloaded(warehouse: Warehouse, dataset: str, *, keys: list[str], start: str | None, end: str | None) -> LandReport:
    """Land what the sources hold of the time that is about to be built."""
    from timestore_assets.reload import merged_reports

    declared = warehouse.declared(dataset)
    spans = [(one.start, one.end) for one in map(declared.partition, dict.fromkeys(keys))] if keys else [span(start, end)]
    found = [warehouse.unsettled_files(dataset, first, last) for first, last in spans]
    report = merged_reports([warehouse.land_unsettled(dataset, files, actor=actor()) for files in found])
    console = stderr()
    for file in report.files:
        console.print(f"{file.state}: {file.address}" + (f": {file.reason}" if file.reason else ""), markup=False, soft_wrap=True)
    return report


def choose(warehouse: Warehouse, dataset: str, *, keys: list[str], start: str | None, end: str | None) -> list[Partition]:
    """The partitions that the options name, or all with something unbuilt and those that approved backfills ask for.

    Raises:
        InputError: no partition has such a key, the times are none, or both kinds of option are given.
    """
    declared, record = warehouse.resolve(dataset)
    if keys and (start or end):
        raise InputError("give either --partition or --from/--to, not both")
    if keys:
        return [declared.partition(key) for key in dict.fromkeys(keys)]
    known = warehouse.catalog.partitions.of(record.id)
    if start or end:
        first, last = span(start, end)
        wanted = set(declared.partitions_between(first, last, datetime.now(UTC)))
        return [found.partition for found in known if found.partition in wanted]
    asked = set(warehouse.approved_partitions(dataset))
    return [found.partition for found in known if _is_unbuilt(found) or found.partition in asked]


def _is_unbuilt(found: PartitionRecord) -> bool:
    return found.state not in ("sealed", "expired") or found.deltas > 0 or found.retracted


def counted_reports(reports: Iterator[T], *, total: int, shown: bool) -> list[T]:
    """The reports, with a bar on a terminal while they come in."""
    from rich.progress import track

    console = stderr()
    hidden = not (shown and console.is_terminal)
    return list(track(reports, "building", total=total, console=console, transient=True, disable=hidden))


def reports_to_plain(
    dataset: str, reports: Iterable[BuildReport], errors: Sequence[DamagedError], landed: LandReport | None
) -> dict[str, Any]:
    from timestore_assets.model.counters import NO_COUNTS
    from timestore_assets.model.schema import to_plain

    built = list(reports)
    return {
        "dataset": dataset,
        # what every command that moves records gives; a build reads none from a source unless it is told to
        **dict((NO_COUNTS if landed is None else landed.counters).items()),
        **{outcome: sum(report.outcome == outcome for report in built) for outcome in ("built", "unchanged", "empty")},
        "rows": sum(report.rows for report in built),
        "bytes": sum(report.bytes for report in built),
        "superseded_rows": sum(report.superseded_rows for report in built),
        "seconds": round(sum(report.seconds for report in built), 3),
        "partitions": [{**to_plain(report), "partition": report.partition.key} for report in built],
        "damaged": [{"object": error.object, "error": str(error)} for error in errors],
    }


def print_reports(reports: list[BuildReport]) -> None:
    outcomes = Counter(report.outcome for report in reports)
    table = make_table(
        ["partition", "outcome", "state", ">rows", ">bytes", ">segments", ">superseded", ">time"],
        (
            [
                report.partition.key,
                report.outcome,
                str(report.state),
                count(report.rows),
                size(report.bytes),
                count(report.segments),
                count(report.superseded_rows),
                duration(report.seconds),
            ]
            for report in reports
        ),
        total=[
            counted(len(reports), "partition"),
            ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()),
            "",
            count(sum(report.rows for report in reports)),
            size(sum(report.bytes for report in reports)),
            count(sum(report.segments for report in reports)),
            count(sum(report.superseded_rows for report in reports)),
            duration(sum(report.seconds for report in reports)),
        ],
    )
    stdout().print(table)

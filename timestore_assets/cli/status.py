"""`status` and `partitions`: what there is, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName, OptionalDatasetName
from timestore_assets.cli.output import NOTHING, count, counted, print_json, print_table, size, stdout, without_empty
from timestore_assets.model.counters import COUNTERS
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from timestore_assets.catalog.records import PartitionRecord
    from timestore_assets.dataset_status import DatasetStats, SourceStats

_HEADS = {"duplicates": "dupli-\ncates", "late_dropped": "late", "dead_letters": "dead\nletters"}
SOURCE_COLUMNS = (
    "dataset",
    "~source",
    *(f">{_HEADS.get(name, name)}" for name in COUNTERS),
    ">lag",
    ">last\nminute",
    "watermark",
)


STATUS_HELP = """Show per source: records by disposition, lag, rows landed in the last minute, watermark."""
Last = Annotated[int | None, typer.Option("--last", min=1, metavar="N", help="Only the latest so many.")]


def add_to(app: typer.Typer) -> None:
    app.command("status", help=STATUS_HELP)(status)
    app.command("partitions", help="List a dataset's partitions: state, rows, bytes, segments.")(partitions)


def status(dataset: OptionalDatasetName = None, json: AsJson = False) -> None:
    from timestore_assets.dataset_status import stats_to_plain

    with open_warehouse() as warehouse:
        names = sorted(warehouse.datasets) if dataset is None else [dataset]
        datasets = [warehouse.status(name) for name in names]
        identity = warehouse.catalog.identity.known_id()
    if json:
        print_json({"warehouse": identity, "datasets": [stats_to_plain(one) for one in datasets]})
        return
    if not datasets:
        stdout().print(f"No dataset is declared; `{timestore('init', 'FILE')}` proposes one for a file of yours.")
        return
    print_table(["dataset", ">version", ">partitions", ">rows", ">unbuilt", ">bytes"], map(_dataset_row, datasets))
    sources = (_source_row(one.dataset, source) for one in datasets for source in one.sources)
    print_table(*without_empty(SOURCE_COLUMNS, sources, nothing=(NOTHING,)))
    for one in datasets:
        if one.notice:
            stdout().print(f"{one.notice}.", markup=False, soft_wrap=True)
        for source in one.sources:
            if source.record.paused:
                text = f"{one.dataset}: landing {source.name} is paused: {source.record.paused}"
                stdout().print(text, markup=False, soft_wrap=True)


def _dataset_row(stats: DatasetStats) -> list[str]:
    totals = stats.totals
    numbers = (stats.manifest_version, totals.partitions, totals.rows, totals.unbuilt_rows)
    return [stats.dataset + (" (retired)" if stats.is_retired else ""), *map(count, numbers), size(totals.bytes)]


def _source_row(dataset: str, source: SourceStats) -> list[str]:
    unseen = {"late_dropped", "held"}  # these columns are shown once there is something in them
    record = source.record
    return [
        dataset,
        source.name + (" (paused)" if record.paused else ""),
        *(count(number or (None if name in unseen else 0)) for name, number in record.counters.items()),
        count(source.lag),
        count(source.rows_last_minute or None),
        format_time(record.watermark) if record.watermark else NOTHING,
    ]


def partitions(dataset: DatasetName, last: Last = None, json: AsJson = False) -> None:
    from timestore_assets.dataset_status import PartitionTotals, partitions_to_plain

    with open_warehouse() as warehouse:
        every = warehouse.partitions(dataset)
    found = every if last is None else every[-last:]
    if json:
        print_json(partitions_to_plain(found))
        return
    if not found:
        stdout().print(f"{dataset} has no partition yet; `{timestore('land', dataset, 'FILE')}` makes the first.")
        return
    totals = PartitionTotals.of(found)
    more = f" of {len(every):,}" if len(found) < len(every) else ""
    sums = [count(totals.rows), size(totals.bytes), count(totals.segments), count(totals.deltas)]
    print_table(
        ["partition", "state", ">rows", ">bytes", ">segments", ">deltas", ">schema", ">superseded"],
        map(_partition_row, found),
        total=[counted(len(found), "partition") + more, "", *sums, "", ""],
    )


def _partition_row(found: PartitionRecord) -> list[str]:
    return [
        found.partition.key,
        found.state,
        count(found.rows),
        size(found.bytes),
        count(found.segments),
        count(found.deltas),
        str(found.schema_version),
        count(found.superseded_rows),
    ]

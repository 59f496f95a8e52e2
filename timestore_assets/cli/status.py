"""`status` and `partitions`: what there is, and how far it has come."""

from __future__ import annotations

from typing import Any

import typer

from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.numbers import NOTHING, count, counted, rate, size
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table, stdout, without_empty
from timestore_assets.cli.session import open_warehouse

SOURCE_COLUMNS = (
    *("dataset", "~source", ">read", ">landed", ">dupli-\ncates", ">late", ">held", ">dead\nletters"),
    *(">lag", ">speed", "watermark"),
)


def add_to(app: typer.Typer) -> None:
    app.command("status", help="Show per source: records by disposition, lag, throughput, watermark.")(status)
    app.command("partitions", help="List a dataset's partitions: state, rows, bytes, segments.")(partitions)


def status(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        report = warehouse.status()
    if json:
        print_json(report)
        return
    if not report["datasets"]:
        stdout().print(f"No dataset is declared; `{timestore('init', 'FILE')}` proposes one for a file of yours.")
        return
    print_table(
        ["dataset", ">version", ">partitions", ">rows", ">unbuilt", ">bytes"],
        (_dataset_row(entry) for entry in report["datasets"]),
    )
    sources = (_source_row(entry["dataset"], source) for entry in report["datasets"] for source in entry["sources"])
    print_table(*without_empty(SOURCE_COLUMNS, sources, nothing=(NOTHING,)))
    for entry in report["datasets"]:
        for source in entry["sources"]:
            if source.get("paused_reason"):
                text = f"{entry['dataset']}: landing {source['source']} is paused: {source['paused_reason']}"
                stdout().print(text, markup=False, soft_wrap=True)


def _dataset_row(entry: dict[str, Any]) -> list[str]:
    numbers = [count(entry[name]) for name in ("manifest_version", "partitions", "rows", "unbuilt_rows")]
    return [entry["dataset"], *numbers, size(entry["bytes"])]


def _source_row(dataset: str, source: dict[str, Any]) -> list[str]:
    names = ("read", "landed", "duplicates", "late_dropped", "held", "dead_letters")
    unseen = {"late_dropped", "held"}  # these columns are shown once there is something in them
    per_second = source.get("rows_per_second")
    return [
        dataset,
        str(source["source"]) + (" (paused)" if source.get("paused") else ""),
        *(count(source[name] or (None if name in unseen else 0)) for name in names),
        count(source.get("lag")),
        rate(per_second) if per_second else NOTHING,
        source.get("watermark") or NOTHING,
    ]


def partitions(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        rows = warehouse.partition_rows(dataset)
    if json:
        print_json(rows)
        return
    if not rows:
        stdout().print(f"{dataset} has no partition yet; `{timestore('land', dataset, 'FILE')}` makes the first.")
        return
    print_table(
        ["partition", "state", ">rows", ">bytes", ">segments", ">deltas", ">schema", ">superseded"],
        (_partition_row(row) for row in rows),
        total=[counted(len(rows), "partition"), "", *_sums(rows), "", ""],
    )


def _partition_row(row: dict[str, Any]) -> list[str]:
    return [
        row["partition"],
        row["state"],
        count(row["rows"]),
        size(row["bytes"]),
        count(row["segments"]),
        count(row["deltas"]),
        str(row["schema_version"]),
        count(row["superseded_rows"]),
    ]


def _sums(rows: list[dict[str, Any]]) -> list[str]:
    def total(key: str) -> int:
        return sum(row[key] for row in rows)

    return [count(total("rows")), size(total("bytes")), count(total("segments")), count(total("deltas"))]

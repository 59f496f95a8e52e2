"""`datasets` and `describe`: what is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import NOTHING, print_json, print_table, stdout
from timestore_assets.cli.retention_commands import retention_text
from timestore_assets.model.window import Window, format_duration

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.model.dataset import Dataset, Dedupe, Source
    from timestore_assets.model.schema import Checks, Schema


def add_to(app: typer.Typer) -> None:
    app.command("datasets", help="List the declared datasets.")(datasets)
    app.command("describe", help="Show a dataset's schema, sources, policies and storage.")(describe)


def datasets(json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        declared = sorted(warehouse.datasets.values(), key=lambda dataset: dataset.name)
        retired = {dataset.name for dataset in declared if warehouse.is_retired(dataset.name)}
    if json:
        print_json([{**_summary(dataset), "retired": dataset.name in retired} for dataset in declared])
        return
    if not declared:
        stdout().print(f"No dataset is declared; `{timestore('init', 'FILE')}` proposes one for a file of yours.")
        return
    rows = ([str(cell) for cell in _summary(dataset).values()] for dataset in declared)
    marked = ([name + (" (retired)" if name in retired else ""), *cells] for name, *cells in rows)
    print_table(["dataset", "window", "time", ">columns", ">sources", "start", "~description"], marked)


def _summary(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "window": dataset.window.value,
        "time": dataset.time,
        "columns": len(dataset.schema.columns),
        "sources": len(dataset.sources),
        "start": f"{dataset.start:%Y-%m-%d}",
        "description": dataset.description,
    }


def describe(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        declared, record = warehouse.resolve(dataset)
        declared = replace(declared, retention=warehouse.retention(dataset))  # what counts, whoever set it
    if json:
        found = {"manifest_version": record.manifest_version, "storage": record.storage, "schema": _columns(record.schema)}
        print_json({**declared.definition(), **found})
        return
    _print_description(declared, record)


def _columns(schema: Schema) -> dict[str, Any]:
    from timestore_assets.model.schema import schema_to_plain

    return {"version": schema.version, "columns": schema_to_plain(schema)}


def _print_description(dataset: Dataset, record: DatasetRecord) -> None:
    console = stdout()
    console.print(f"[bold]{dataset.name}[/bold]", style="cyan")
    if dataset.description:
        console.print(dataset.description, markup=False)
    print_table(["", "~"], _policies(dataset, record))
    print_column_table(record.schema)


def print_column_table(schema: Schema) -> None:
    """The columns of a schema with their constraints."""
    rows = [
        [
            column.name,
            str(column.type),
            "null" if column.nullable else "",
            column.unit,
            "; ".join(text for text in (_constraints(column.checks), str(column.default or "")) if text),
            column.description or ("found in the data" if column.origin == "inferred" else ""),
        ]
        for column in schema
    ]
    print_table(["column", "type", "null?", "unit", "~allowed", "~description"], rows, title=f"schema version {schema.version}")


def _each(window: Window) -> str:
    return "for all times" if window is Window.ALL else f"a {window}"


def _policies(dataset: Dataset, record: DatasetRecord) -> list[list[str]]:
    late, evolution = dataset.late, dataset.evolution
    rows = [
        ["owners", ", ".join(dataset.owners) or NOTHING],
        ["time", f"{dataset.time}, one partition {_each(dataset.window)} from {dataset.start:%Y-%m-%d}" + _until(dataset)],
        ["partition_by", ", ".join(dataset.partition_by) or NOTHING],
        ["order", dataset.order],
        ["dedupe", _dedupe(dataset.dedupe)],
        ["late", f"{late.policy}, {format_duration(late.allowed)} allowed"],
        ["evolution", f"new columns: {evolution.columns}, types: {evolution.types}"],
        ["segments", f"{dataset.segments.format}, sorted by {', '.join(dataset.sort_columns)}"],
        ["retention", retention_text(dataset.retention)],
        ["storage", record.storage],
        ["manifest version", str(record.manifest_version)],
    ]
    return rows + [["source", _source(source)] for source in dataset.sources]


def _source(source: Source) -> str:
    from timestore_assets.model.dataset import HttpSource

    form = "" if isinstance(source, HttpSource) else f" ({source.format})"
    return f"{source.kind} {source.address}{form}"


def _dedupe(dedupe: Dedupe | None) -> str:
    if dedupe is None:
        return NOTHING
    return f"{', '.join(dedupe.keys)}: keep {dedupe.keep}" + (f" by {dedupe.by}" if dedupe.by else "")


def _until(dataset: Dataset) -> str:
    return f" to {dataset.end:%Y-%m-%d}" if dataset.end else ""


def _constraints(checks: Checks) -> str:
    parts = [f"{sign} {bound}" for sign, bound in _bounds(checks) if bound is not None]
    if checks.isin is not None:
        parts.append("one of " + ", ".join(str(value) for value in checks.isin))
    if checks.matches is not None:
        parts.append(f"matches {checks.matches}")
    return "; ".join(parts)


def _bounds(checks: Checks) -> list[tuple[str, Any]]:
    return [
        ("≥", checks.ge),
        (">", checks.gt),
        ("≤", checks.le),
        ("<", checks.lt),
        ("length ≥", checks.min_length),
        ("length ≤", checks.max_length),
    ]

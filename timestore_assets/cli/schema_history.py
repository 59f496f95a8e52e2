"""`schema show` and `schema history`: how a dataset's columns came to be."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from timestore_assets.cli import schema_migrate
from timestore_assets.cli.describe import print_column_table
from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table
from timestore_assets.cli.schema_changes import change_in_words
from timestore_assets.model.errors import InputError

Version = Annotated[int | None, typer.Option("--version", min=1, help="An earlier version instead of the current one.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show a dataset's schema and its history, and change it.")
    group.command("show", help="Show the columns as they are stored now, evolved ones included.")(show)
    group.command("history", help="Show every version of the schema and what changed.")(history)
    group.command("migrate", help=schema_migrate.HELP)(schema_migrate.migrate)
    group.command("restore", help=schema_migrate.RESTORE_HELP)(schema_migrate.restore)
    group.command("migrations", help="Show what was migrated, for whom, and what was taken back.")(schema_migrate.migrations)
    app.add_typer(group, name="schema")


def show(dataset: DatasetName, version: Version = None, json: AsJson = False) -> None:
    from timestore_assets.model.schema import schema_to_plain

    with open_warehouse() as warehouse:
        declared, record = warehouse.resolve(dataset)
        schema = record.schema
        if version is not None and version > schema.version:
            raise InputError(f"dataset {declared.name!r} has schema versions 1 to {schema.version}; there is no {version}")
        if version is not None and version != schema.version:
            schema = warehouse.catalog.datasets.schema(record.id, version)
    if json:
        print_json({"dataset": declared.name, "version": schema.version, "columns": schema_to_plain(schema)})
    else:
        print_column_table(schema)


def history(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        versions = warehouse.catalog.datasets.schema_history(record.id)
    if json:
        print_json(versions)
        return
    print_table([">version", "since", "by", "~change"], (row for version in versions for row in _rows(version)))


def _rows(version: dict[str, Any]) -> list[list[str]]:
    changes = [change_in_words(change) for change in version["changes"]] or [f"{len(version['columns'])} columns declared"]
    first, *rest = changes
    since = str(version["created_at"])[:19].replace("T", " ")
    return [[str(version["version"]), since, str(version["actor"]), first], *(["", "", "", change] for change in rest)]

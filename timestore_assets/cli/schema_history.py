"""`schema show`, `schema history` and `schema events`: how a dataset's columns came to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from timestore_assets.cli import archive_list, schema_migrate
from timestore_assets.cli.describe import print_column_table
from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import NOTHING, print_json, print_table, stdout
from timestore_assets.model.errors import InputError

Version = Annotated[int | None, typer.Option("--version", min=1, help="An earlier version instead of the current one.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="So many versions at most.")]
DECLARATION_HELP = """Print what a declaration says of columns, as the catalog has them now: columns, time, keys and order.

A file that is behind, because its dataset was migrated or is declared anew by another process, gets it in place of its own."""
Found = Annotated[bool, typer.Option("--found", help="With the columns that were found in the data, which declares them.")]
Before = Annotated[int | None, typer.Option("--before", min=1, help="Only versions older than this one.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show a dataset's schema and its history, and change it.")
    group.command("show", help="Show the columns as they are stored now, evolved ones included.")(show)
    group.command("history", help="Show every version of the schema and what changed.")(history)
    group.command("migrate", help=schema_migrate.HELP)(schema_migrate.migrate)
    group.command("restore", help=schema_migrate.RESTORE_HELP)(schema_migrate.restore)
    group.command("migrations", help="Show what was migrated, for whom, and what was taken back.")(schema_migrate.migrations)
    group.command("archives", help=archive_list.HELP)(archive_list.archives)
    group.command("events", help="Show what made each version of the schema: source, record, a sample of the value.")(events)
    group.command("reloads", help="Show what is to be landed again since columns that were left out are wanted now.")(reloads)
    group.command("declaration", help=DECLARATION_HELP)(declaration)
    app.add_typer(group, name="schema")


def show(dataset: DatasetName, version: Version = None, json: AsJson = False) -> None:
    from timestore_assets.dataset_status import behind_notice
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
        return
    print_column_table(schema)
    if declared.is_behind:
        _say(f"Mind: {behind_notice(declared.name)}.")


def declaration(dataset: DatasetName, found: Found = False, json: AsJson = False) -> None:
    from timestore_assets.migrating.present_declaration import present_attributes, present_lines

    with open_warehouse() as warehouse:
        served, record = warehouse.as_it_stands(dataset)
        # of one that is refused, what it says of columns that are still called so
        attributes = present_attributes(record, served or warehouse.datasets.get(dataset), found=found)
    if json:
        print_json(attributes)
        return
    for line in present_lines(attributes):
        _say(line)


def history(dataset: DatasetName, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        versions = warehouse.catalog.datasets.schema_history(record.id)
    if json:
        print_json(versions)
        return
    print_table([">version", "since", "by", "~change"], (row for version in versions for row in _rows(version)))


def events(dataset: DatasetName, limit: Limit = 20, before: Before = None, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        found = warehouse.catalog.datasets.schema_events(record.id, limit=limit, before=before)
    if json:
        print_json(found)
        return
    header = [">version", "since", "by", "~change", "~cause", "~record", "sample"]
    print_table(header, (row for event in found for row in _event_rows(event)))


def reloads(dataset: DatasetName, json: AsJson = False) -> None:
    from timestore_assets.catalog.left_out_columns import sentence

    with open_warehouse() as warehouse:
        _, record = warehouse.resolve(dataset)
        found = warehouse.catalog.datasets.wanted_reloads(record.id)
    if json:
        print_json(found)
        return
    if not found:
        _say(f"Nothing of {dataset} is to be landed again.")
    for one in found:
        _say(f"Schema version {one['schema_version']}: {sentence(one)}.")
        for line in one["commands"]:
            _say(f"  {line}")


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)


def _rows(version: dict[str, Any]) -> list[list[str]]:
    from timestore_assets.catalog.schema_events import change_sentence

    changes = [change_sentence(change) for change in version["changes"]] or [f"{len(version['columns'])} columns declared"]
    first, *rest = changes
    begun = [str(version["version"]), _since(version["created_at"]), str(version["actor"]), first]
    return [begun, *(["", "", "", change] for change in rest)]


def _event_rows(event: dict[str, Any]) -> Iterator[list[str]]:
    from timestore_assets.catalog.schema_events import cause_sentence, change_sentence, place_sentence

    cause = event["cause"]
    row = [str(event["version"]), _since(event["at"]), str(event["actor"])]
    if not event["changes"]:
        yield [*row, NOTHING, cause_sentence(cause), "", ""]
    for number, change in enumerate(event["changes"]):
        column = str(change["column"])
        sample = dict(cause.get("columns", {})).get(column, {}).get("sample", "")
        begun = row if number == 0 else ["", "", ""]
        yield [*begun, change_sentence(change), cause_sentence(cause), place_sentence(cause, column), sample]


def _since(time: Any) -> str:
    return str(time)[:19].replace("T", " ")

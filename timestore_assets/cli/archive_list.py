"""`schema archives`: what dropped columns held, and where it is kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, print_json, print_table, size, stdout

if TYPE_CHECKING:
    from timestore_assets.catalog.archives import Archive
    from timestore_assets.migrating.archive_listing import ArchivedColumn
    from timestore_assets.warehouse import Warehouse

HELP = """Show what dropped columns held: partitions, rows, bytes, and where the files are."""
Files = Annotated[bool, typer.Option("--files", help="Show each file, with its address.")]


def archives(dataset: DatasetName, files: Files = False, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        found = warehouse.archives(dataset)
        if json:
            print_json([_plain(warehouse, one) for one in found])
        elif not found:
            stdout().print(f"Nothing of {dataset} was archived.", markup=False)
        elif files:
            rows = [
                [one.column, str(one.schema_version), count(file.rows), size(file.bytes), _address(warehouse, file)]
                for one in found
                for file in one.files
            ]
            print_table(["column", ">schema", ">rows", ">bytes", "~where"], rows)
        else:
            print_table(["column", ">schema", ">partitions", ">rows", ">bytes", "~where"], map(_line, found))
            for one in found:
                if not one.is_whole:
                    again = "send its migration again with --archive-to or --archive-dir"
                    stdout().print(f"{one.column}: not all of it is written yet; {again}.", markup=False, soft_wrap=True)


def place_in_words(storage: str) -> str:
    """Where an archive is: a storage target, or a folder."""
    return storage if Path(storage).is_absolute() else f"storage target {storage}"


def _line(one: ArchivedColumn) -> list[str]:
    places = ", ".join(map(place_in_words, one.places))
    return [one.column, str(one.schema_version), count(len(one.files)), count(one.rows), size(one.bytes), places]


def _plain(warehouse: Warehouse, one: ArchivedColumn) -> dict[str, Any]:
    return {
        "column": one.column,
        "schema_version": one.schema_version,
        "is_whole": one.is_whole,
        "partitions": len(one.files),
        "rows": one.rows,
        "bytes": one.bytes,
        "places": list(one.places),
        "files": [{**asdict(file), "address": _address(warehouse, file)} for file in one.files],
    }


def _address(warehouse: Warehouse, file: Archive) -> str:
    """A path, or the URI of an object; its target and name where the target is not set up here."""
    if Path(file.storage).is_absolute():
        return str(Path(file.storage, file.name))
    known = file.storage in warehouse.storage.names
    return warehouse.storage.address(file) if known else f"{file.storage}: {file.name}"

"""`views`: one DuckDB file through which any DuckDB tool reads the datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, given_path
from timestore_assets.cli.output import count, print_json, print_table, stderr, stdout
from timestore_assets.cli.placed_file import placed
from timestore_assets.cli.shell_completion import dataset_names
from timestore_assets.model.errors import RefusedError

HELP = """Write a DuckDB file with a view for each dataset, over the segments where they lie.

The views show the data as of now: deduplicated, without what was retracted, times in UTC. Builds replace segments and gc removes
the old ones, so write it again with --refresh after them; a program that has the file open keeps the old one until it opens it
again."""

File = Annotated[str, typer.Argument(metavar="FILE", help="The file, for instance warehouse.duckdb.", show_default=False)]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", metavar="NAME", help="Only this one; repeatable.", autocompletion=dataset_names),
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Replace the file of an earlier call.")]


def add_to(app: typer.Typer) -> None:
    app.command("views", help=HELP)(views)


def views(file: File, dataset: Datasets = None, refresh: Refresh = False, json: AsJson = False) -> None:
    from timestore_assets.querying.rendering.view_file import write_views

    path = given_path(file)
    _refuse_to_replace(path, refresh=refresh)
    with open_warehouse() as warehouse:
        chosen = list(dict.fromkeys(dataset)) if dataset else sorted(warehouse.datasets)
        found = {name: warehouse.resolve(name) for name in chosen}
        with placed(path) as partial:
            written = write_views(partial, warehouse.querier, found)
    for one in written:
        if one.left_out:
            stderr().print(f"{one.dataset} is left out: {one.left_out}", markup=False, soft_wrap=True)
    if json:
        print_json({"file": str(path), "views": written})
        return
    made = [one for one in written if not one.left_out]
    print_table(["view", ">version", ">segments"], ([one.dataset, count(one.version), count(one.segments)] for one in made))
    again = timestore("views", file, *(part for name in dataset or () for part in ("--dataset", name)), "--refresh")
    stdout().print(f"Open {path} with any DuckDB tool; after builds: {again}", markup=False, soft_wrap=True)


def _refuse_to_replace(path: Path, *, refresh: bool) -> None:
    """Nothing is replaced but an earlier file of this command, and that only when it is asked for.

    Raises:
        RefusedError: there is another file, or `refresh` was not asked for.
    """
    from timestore_assets.querying.rendering.view_file import is_view_file

    if not path.exists() or path.is_dir():
        return
    if not is_view_file(path):
        raise RefusedError(f"{path} is there and was not written by `timestore views`; choose another name, or remove it first")
    if not refresh:
        raise RefusedError(f"{path} is there; --refresh replaces it")

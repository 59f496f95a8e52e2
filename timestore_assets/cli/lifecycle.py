"""`drop`, `rename` and `retire`: what ends a dataset, or its name."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import counted, print_json, size, stdout
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from timestore_assets.catalog.dataset_life import Belongings
    from timestore_assets.warehouse import Warehouse

DROP_HELP = """Drop a dataset: its rows and dead letters, and its declaration if it was made over HTTP.

Nobody sees it from then on; the next `timestore gc` removes its files. Whatever lands or builds in it at the moment commits
nothing any more. Declared again it begins empty, and files that had landed land again."""

RENAME_HELP = """Give a dataset another name.

Rows, checkpoints, dead letters and watched prefixes stay as they are; so do scopes of tokens. Saved queries have to be changed.
In Dagster it is another asset."""

RETIRE_HELP = """Let nothing land in a dataset any more; what it has can be read, built and dropped.

Its alerts are quiet. `--undo` lets it be used again."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
RemoveFile = Annotated[
    bool, typer.Option("--remove-file", help="Remove the file that declares it, too, if that is in TIMESTORE_HOME/defs.")
]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="What it is to be called.", show_default=False)]
Undo = Annotated[bool, typer.Option("--undo", help="Let it be used again.")]


def add_to(app: typer.Typer) -> None:
    app.command("drop", help=DROP_HELP)(drop)
    app.command("rename", help=RENAME_HELP)(rename)
    app.command("retire", help=RETIRE_HELP)(retire)


def drop(dataset: DatasetName, yes: Yes = False, remove_file: RemoveFile = False, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        told = warehouse.belongings(dataset)
        if not json:
            _say(f"{dataset} has {_belongings(told)}.")
            _warn_of_queries(told.queries, "which fail from then on")
        _ask(f"Drop {dataset}?", yes)
        warehouse.drop(dataset, actor=actor())
        declared = warehouse.file_of(dataset)
        left = _file_after_drop(warehouse, declared.path if declared else None, remove_file)
    if json:
        print_json({"dataset": dataset, **asdict(told), "file": str(left) if left else None})
        return
    _say(f"Dropped; its files go with the next `{timestore('gc')}`.")
    if left is not None:
        _say(f"{left} still declares it and is ignored until it is written again: remove it.")


def _file_after_drop(warehouse: Warehouse, path: Path | None, remove_file: bool) -> Path | None:
    """The file that is left."""
    from timestore_assets.cli.declaration_edits import is_ours, remove

    if path is None or not remove_file or not is_ours(path, warehouse.settings):
        return path
    remove(path)
    return None


def rename(old: DatasetName, new: NewName, yes: Yes = False, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        declared = warehouse.file_of(new if warehouse.declarations.now_named(old) == new else old)
        queries: Sequence[str] = ()
        # one that was killed before it came to the file is finished
        if warehouse.declarations.now_named(old) != new:
            queries = warehouse.belongings(old).queries
            if not json:
                _warn_of_queries(queries, f"which have to say {new} from then on")
            _ask(f"Rename {old} to {new}?", yes)
            warehouse.rename(old, new, actor=actor())
        written, left = _file_after_rename(warehouse, declared.path if declared else None, new)
    if json:
        print_json({"dataset": new, "was": old, "queries": list(queries), "file": str(written or left or "") or None})
        return
    _say(f"{old} is called {new} now. In Dagster it is another asset: reload its definitions.")
    if written is not None:
        _say(f"Changed: {written}")
    if left:
        _say(f"{left}. Until then it counts under the new name.")


def _file_after_rename(warehouse: Warehouse, path: Path | None, new: str) -> tuple[Path | None, str]:
    """Where a changed file is, or what is to be done about one that was left."""
    from timestore_assets.cli.declaration_edits import is_ours, rename_in

    if path is None:
        return None, ""
    if not is_ours(path, warehouse.settings):
        return None, f"{path} still has the old name; write `name: {new}` there"
    try:
        return rename_in(path, new), ""
    except InputError as error:
        return None, str(error)


def retire(dataset: DatasetName, undo: Undo = False, json: AsJson = False) -> None:
    with open_warehouse() as warehouse:
        changed = warehouse.retire(dataset, actor=actor(), undo=undo)
    if json:
        print_json({"dataset": dataset, "retired": not undo, "changed": changed})
    elif undo:
        _say(f"{dataset} is in use again." if changed else f"{dataset} was not retired.")
    else:
        _say(f"Nothing lands in {dataset} any more; `{timestore('retire', dataset, '--undo')}` ends that.")


def _belongings(told: Belongings) -> str:
    rows = f"{counted(told.rows, 'row')} in {counted(told.partitions, 'partition')} ({size(told.bytes)})"
    return f"{rows} and {counted(told.dead_letters, 'dead letter')}" if told.dead_letters else rows


def _warn_of_queries(queries: Sequence[str], what: str) -> None:
    if queries:
        _say(f"Saved queries read it, {what}: {', '.join(queries)}.")


def _ask(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is there to be asked; say --yes")
    if not typer.confirm(question, default=False):
        raise typer.Abort


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)

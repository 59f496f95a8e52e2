"""`init`: propose a declaration for a person's own file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.numbers import count
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import escaped, print_json, print_table, stdout
from timestore_assets.model.errors import DeclarationError, InputError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from timestore_assets.cli.proposal.guess import Guess
    from timestore_assets.cli.proposal.propose import Proposal, Wishes
    from timestore_assets.model.dataset import Dataset
    from timestore_assets.settings import Settings

HELP = """Look at a CSV, JSON-lines or Parquet file, propose a declaration for it and say what to type next.

The file may be gzip, zstd or zip compressed; only its beginning is read. Nothing is landed yet."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of records with a time in each.", show_default=False)]
Name = Annotated[str | None, typer.Option("--name", help="Name of the dataset; from the file's name by default.")]
Time = Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="The time column; the likeliest by default.")]
WindowName = Annotated[str | None, typer.Option("--window", metavar="hour|day|week|month", help="Length of a partition.")]
Defs = Annotated[
    Path | None, typer.Option("--defs", metavar="FOLDER", help="Where it is written; TIMESTORE_HOME/defs by default.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a declaration that is there already.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")]


def add_to(app: typer.Typer) -> None:
    app.command("init", help=HELP)(init)


def init(
    file: File,
    name: Name = None,
    time: Time = None,
    window: WindowName = None,
    defs: Defs = None,
    force: Force = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.cli.proposal.propose import Wishes, name_of
    from timestore_assets.cli.proposal.rendering import declaration_path, to_yaml
    from timestore_assets.settings import Settings

    settings = Settings.load()
    folder = (defs or settings.home_folder / "defs").expanduser()
    declared = _declared(settings, folder)
    watched = _watched(declared.values(), but=name or name_of(file))
    proposal = look_at(file, settings, Wishes(name=name, time=time, window=window, watched=watched))
    text = to_yaml(proposal)
    path = declaration_path(folder, proposal.name)
    _check(text)
    _refuse_taken(declared, proposal.name, path, force=force)
    if not json:
        _show(proposal, text)
    if not (yes or json) and sys.stdin.isatty() and not typer.confirm(f"Write {path}?", default=True):
        raise typer.Abort
    _write(path, text)
    commands = _commands(proposal, settings, folder)
    if json:
        print_json(_as_json(proposal, path, text, commands))
    else:
        _say_next(path, commands)


def look_at(file: Path, settings: Settings, wishes: Wishes) -> Proposal:
    """Read the file's beginning and propose; InputError when it can't be read or has no time column."""
    from timestore_assets.cli.proposal.propose import propose
    from timestore_assets.cli.proposal.sample import take
    from timestore_assets.storage.engine import connect

    with connect(settings.engine_limits()) as con:
        return propose(take(file.expanduser(), con), con, wishes)


def _check(text: str) -> None:
    """What we write has to load; the one thing a person can get wrong here is the name."""
    from timestore_assets.model.declaration import parse_declaration

    try:
        parse_declaration(text)
    except DeclarationError as error:
        raise InputError(f"--{error.key} {error.problem}") from None


def _declared(settings: Settings, folder: Path) -> dict[Path, Dataset]:
    """Datasets that are declared already, by the file that declares them."""
    from timestore_assets.declarations import declaration_files, read_declaration

    return {path.resolve(): read_declaration(path) for path in declaration_files([*settings.declaration_folders, folder])}


def _watched(datasets: Iterable[Dataset], but: str) -> tuple[str, ...]:
    return tuple(source.prefix for dataset in datasets if dataset.name != but for source in dataset.file_sources)


def _refuse_taken(declared: Mapping[Path, Dataset], name: str, path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise RefusedError(f"{path} exists; choose another --name, or overwrite it with --force")
    for other, dataset in declared.items():
        if other != path.resolve() and dataset.name == name:
            raise RefusedError(f"a dataset {name!r} is already declared in {other}; choose another --name")


def _show(proposal: Proposal, text: str) -> None:
    sample = proposal.sample
    console = stdout()
    amount = count(sample.rows) if sample.complete else f"the first {count(sample.rows)} of about {count(sample.estimated_rows)}"
    span = f"{proposal.first:%Y-%m-%d} to {proposal.last:%Y-%m-%d}"
    console.print(f"[bold]{escaped(sample.path.name)}[/bold]: {sample.format}, {amount} records, {span}")
    if sample.refused:
        console.print(f"{count(sample.refused)} of them are malformed and would become dead letters.", style="yellow")
    print_table(
        ["column", "type", ">missing", "~example", "~"],
        (_row(proposal, guess) for guess in sample.guesses),
    )
    console.print(text, markup=False, soft_wrap=True)


def _row(proposal: Proposal, guess: Guess) -> list[str]:
    missing = count(guess.missing + guess.tokens) if guess.missing + guess.tokens else ""
    return [guess.name, guess.kind, missing, guess.example, _remark(proposal, guess.name, guess.note)]


def _remark(proposal: Proposal, name: str, note: str) -> str:
    if name == proposal.time.name:
        return "the time"
    return "could be the time: --time " + shlex.quote(name) if name in proposal.other_times else note


def _write(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path} can't be written: {error.strerror}; choose another folder with --defs") from None


def _commands(proposal: Proposal, settings: Settings, folder: Path) -> list[str]:
    from timestore_assets.cli.proposal.rendering import next_commands

    commands = next_commands(proposal)
    known = {known.resolve() for known in settings.declaration_folders}
    if folder.resolve() not in known:
        folders = os.pathsep.join(filter(None, [settings.defs, str(folder.absolute())]))
        commands.insert(0, f"export TIMESTORE_DEFS={shlex.quote(folders)}")
    return commands


def _as_json(proposal: Proposal, path: Path, text: str, commands: list[str]) -> dict[str, Any]:
    sample = proposal.sample
    return {
        "dataset": proposal.name,
        "file": str(path),
        "time": proposal.time.name,
        "window": proposal.window.value,
        "first": proposal.first,
        "last": proposal.last,
        "records": sample.rows,
        "complete": sample.complete,
        "columns": [{"name": guess.name, "type": guess.kind, "missing": guess.missing} for guess in sample.guesses],
        "declaration": text,
        "next": commands,
    }


def _say_next(path: Path, commands: list[str]) -> None:
    console = stdout()
    console.print(f"Written: {path}\nNext:", markup=False, soft_wrap=True)
    for command in commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)

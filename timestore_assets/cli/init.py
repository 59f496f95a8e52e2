"""`init`: propose a declaration for a person's own file."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.options import AsJson, given_path
from timestore_assets.cli.output import count, escaped, print_json, print_table, stdout
from timestore_assets.file_access import hand_over, make_folder
from timestore_assets.model.errors import DeclarationError, InputError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from timestore_assets.cli.proposal.column_guesses import Guess
    from timestore_assets.cli.proposal.propose import Proposal, ProposalOptions
    from timestore_assets.model.dataset import Dataset
    from timestore_assets.settings import Settings

HELP = """Look at a file, propose a declaration for it and say what to type next.

CSV and other delimited text, JSON (lines, an array, an array inside a document), Parquet, Arrow, ORC, Avro, Excel, OpenDocument.
Text may be gzip, zstd or zip compressed; of a large file only the beginning is read. Nothing is landed yet."""

File = Annotated[
    Path, typer.Argument(parser=given_path, metavar="FILE", help="A file of records with a time in each.", show_default=False)
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the dataset; from the file's name by default.")]
Time = Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="The time column; the likeliest by default.")]
TimeFormat = Annotated[
    str | None,
    typer.Option("--time-format", metavar="FORMAT", help="How times are written, e.g. '%d/%m/%Y %H:%M'; tried out by default."),
]
WindowName = Annotated[str | None, typer.Option("--window", metavar="hour|…|year|all", help="Length of a partition.")]
Defs = Annotated[
    Path | None,
    typer.Option(
        "--defs",
        parser=given_path,
        metavar="FOLDER",
        help="Where it is written; TIMESTORE_HOME/defs, or a Dagster project's own, by default.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a declaration that is there already.")]
Replace = Annotated[bool, typer.Option("--replace", help="Later records with equal keys replace earlier ones.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")]


def add_to(app: typer.Typer) -> None:
    app.command("init", help=HELP)(init)


def init(
    file: File,
    name: Name = None,
    time: Time = None,
    time_format: TimeFormat = None,
    window: WindowName = None,
    defs: Defs = None,
    replace: Replace = False,
    force: Force = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.cli.proposal.proposal_yaml import declaration_path, to_yaml
    from timestore_assets.cli.proposal.propose import ProposalOptions, name_of
    from timestore_assets.settings import Settings

    settings = Settings.load()
    folder = (defs or settings.project_defs or settings.home_folder / "defs").expanduser()
    declared = _declared(settings, folder)
    watched = _watched((dataset for _, dataset in declared), but=name or name_of(file))
    options = ProposalOptions(name=name, time=time, time_format=time_format, window=window, replace=replace, watched=watched)
    proposal = look_at(file, settings, options)
    text = to_yaml(proposal)
    path = declaration_path(folder, proposal.name)
    _check(text)
    _refuse_taken(declared, proposal.name, path, force=force)
    if not json:
        _show(proposal, text)
    if not (yes or json) and sys.stdin.isatty():
        text = to_yaml(_with_answer(proposal))
        if not typer.confirm(f"Write {path}?", default=True):
            raise typer.Abort
    _write(path, text, home=settings.home_folder)
    commands = _commands(proposal, settings, folder)
    if json:
        print_json(_as_json(proposal, path, text, commands))
    else:
        _say_next(path, commands)


def _with_answer(proposal: Proposal) -> Proposal:
    """The proposal as the person wants equal keys to be meant; nothing is replaced by default, and no row lost."""
    if proposal.replace or not proposal.keys:
        return proposal
    names = " and ".join(proposal.keys)
    question = f"No two records have the same {names}. Shall a later one with the same {names} replace the earlier one?"
    return dataclasses.replace(proposal, replace=typer.confirm(question, default=False))


def look_at(file: Path, settings: Settings, wishes: ProposalOptions) -> Proposal:
    """Read the file's beginning and propose; InputError when it can't be read or has no time column."""
    from timestore_assets.cli.proposal.propose import propose
    from timestore_assets.cli.proposal.sample import take
    from timestore_assets.segments.engine import EngineLimits, connect

    with connect(EngineLimits.of(settings)) as con:
        return propose(take(file.expanduser(), con), con, wishes)


def _check(text: str) -> None:
    """What we write has to load; the one thing a person can get wrong here is the name."""
    from timestore_assets.declaration.from_yaml import parse_declaration

    try:
        parse_declaration(text)
    except DeclarationError as error:
        raise InputError(f"--{error.key} {error.problem}") from None


def _declared(settings: Settings, folder: Path) -> list[tuple[Path, Dataset]]:
    """Datasets that are declared already, each with the file that declares it."""
    from timestore_assets.declarations import datasets_in_project, declaration_files, read_declaration

    project = settings.project_defs
    declared = [(path.resolve(), dataset) for dataset, path in datasets_in_project(project)] if project is not None else []
    folders = [*settings.declaration_folders, *([folder] if folder != project else [])]
    return [*declared, *((path.resolve(), read_declaration(path)) for path in declaration_files(folders))]


def _watched(datasets: Iterable[Dataset], but: str) -> tuple[str, ...]:
    return tuple(source.prefix for dataset in datasets if dataset.name != but for source in dataset.file_sources)


def _refuse_taken(declared: Iterable[tuple[Path, Dataset]], name: str, path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise RefusedError(f"{path} exists; choose another --name, or overwrite it with --force")
    for other, dataset in declared:
        if other != path.resolve() and dataset.name == name:
            raise RefusedError(f"a dataset {name!r} is already declared in {other}; choose another --name")


def _show(proposal: Proposal, text: str) -> None:
    sample = proposal.sample
    console = stdout()
    about = "" if sample.counted else "about "
    amount = count(sample.rows) if sample.complete else f"the first {count(sample.rows)} of {about}{count(sample.estimated_rows)}"
    extent = proposal.extent
    span = f"{extent.first.date()} to {extent.last.date()}" + ("" if extent.whole else " in that part")
    console.print(f"[bold]{escaped(sample.path.name)}[/bold]: {sample.format}, {amount} records, {span}")
    if sample.refused:
        console.print(
            f"{count(sample.refused)} of them are malformed and would become dead letters ({escaped(sample.refusal)}).",
            style="yellow",
        )
    for remark in proposal.remarks:
        console.print(f"{remark[0].upper()}{remark[1:]}.", markup=False, soft_wrap=True)
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
    if name in proposal.consumed:
        return "part of the time"
    return "could be the time: --time " + shlex.quote(name) if name in proposal.other_times else note


def _write(path: Path, text: str, *, home: Path) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        is_ours = path.absolute().is_relative_to(home)
        make_folder(path.parent) if is_ours else path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8")
        if not is_ours:
            hand_over(staged)
        staged.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path} can't be written: {error.strerror}; choose another folder with --defs") from None


def _commands(proposal: Proposal, settings: Settings, folder: Path) -> list[str]:
    from timestore_assets.cli.proposal.proposal_yaml import next_commands

    commands = next_commands(proposal)
    known = {known.resolve() for known in (*settings.declaration_folders, *filter(None, [settings.project_defs]))}
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
        "first": proposal.extent.first,
        "last": proposal.extent.last,
        "whole_range": proposal.extent.whole,
        "end": proposal.end,
        "keys": list(proposal.keys),
        "records": sample.rows,
        "complete": sample.complete,
        "estimated_records": sample.estimated_rows,
        "columns": [{"name": guess.name, "type": guess.kind, "missing": guess.missing} for guess in sample.guesses],
        "remarks": list(proposal.remarks),
        "declaration": text,
        "next": commands,
    }


def _say_next(path: Path, commands: list[str]) -> None:
    console = stdout()
    console.print(f"Written: {path}\nNext:", markup=False, soft_wrap=True)
    for command in commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)

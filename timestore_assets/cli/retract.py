"""`retract`: take rows out that should not be there, see what was taken out, and take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import count, counted, print_json, print_table, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment
from timestore_assets.model.row_selector import Bound, FileRows, RequestRows, RowSelector, SessionRows, TopicRows

if TYPE_CHECKING:
    from timestore_assets.catalog.retractions import RetractionRecord
    from timestore_assets.upkeep.retraction_plan import RetractionPlan

HELP = """Take rows out: those of a range of a topic, of a file, of a request, or of a landing session.

Queries don't show them from then on; the next build drops them, and until then `--undo` brings them back. Say which by exactly
one of `--source`, `--file`, `--key` and `--session`. What lands later is shown, at the same place too."""

SHOWN = 20
"""Partitions that are listed; of more only their number."""

Source = Annotated[
    str | None,
    typer.Option("--source", metavar="TOPIC[/PARTITION]", help="Records of a topic that have landed, between --from and --to."),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="OFFSET|TIME", help="The first one: an offset of one partition, or its time."),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="OFFSET|TIME", help="The one after the last, likewise; a time is that of the record in the topic."
    ),
]
File = Annotated[str | None, typer.Option("--file", metavar="ADDRESS", help="All rows of a file that landed.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="The rows of the request with this idempotency key.")]
Session = Annotated[int | None, typer.Option("--session", metavar="ID", min=1, help="The rows of a landing session.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many rows in which partitions that is, and change nothing.")]
Undo = Annotated[int | None, typer.Option("--undo", metavar="ID", min=1, help="Show the rows of that retraction again.")]
List = Annotated[bool, typer.Option("--list", help="Show the retractions that were made.")]


def add_to(app: typer.Typer) -> None:
    app.command("retract", help=HELP)(retract)


def retract(
    dataset: DatasetName,
    source: Source = None,
    start: From = None,
    end: To = None,
    file: File = None,
    key: Key = None,
    session: Session = None,
    dry_run: DryRun = False,
    undo: Undo = None,
    listed: List = False,
    json: AsJson = False,
) -> None:
    named = [source, file, key, session, undo, listed or None]
    if sum(one is not None for one in named) != 1:
        raise InputError("say what is meant by exactly one of --source, --file, --key and --session, or --list, or --undo ID")
    if (start or end) and source is None:
        raise InputError("--from and --to are those of a topic: name it by --source")
    if listed:
        _list(dataset, json=json)
    elif undo is not None:
        _undo(dataset, undo, json=json)
    else:
        _retract(dataset, _selector(source, start, end, file, key, session), dry_run=dry_run, json=json)


def _selector(
    source: str | None, start: str | None, end: str | None, file: str | None, key: str | None, session: int | None
) -> RowSelector:
    if source is not None:
        return topic_rows(source, start, end)
    if file is not None:
        return FileRows(address=file)
    return RequestRows(key=key) if key is not None else SessionRows(session=session or 0)


def topic_rows(source: str, start: str | None, end: str | None) -> TopicRows:
    """Records of a topic, or of one of its partitions.

    Raises:
        InputError: neither bound is given, or the range is empty.
    """
    topic, _, number = source.rpartition("/")
    one_partition = bool(topic) and number.isdecimal()
    if start is None and end is None:
        raise InputError("say from where to where: --from, --to, or both")
    first, last = _bound(start), _bound(end)
    if first is not None and type(first) is type(last) and first >= last:  # type: ignore[operator] # of one type
        raise InputError(f"--from {start} is not before --to {end}")
    return TopicRows(
        topic=topic if one_partition else source, number=int(number) if one_partition else None, start=first, end=last
    )


def _bound(text: str | None) -> Bound:
    # a year is a time as well, but nobody means one by digits alone where offsets stand
    return None if text is None else int(text) if text.isdecimal() else parse_moment(text)


def _retract(dataset: str, selector: RowSelector, *, dry_run: bool, json: bool) -> None:
    with open_warehouse() as warehouse:
        made: RetractionRecord | None = None
        if dry_run:
            plan = warehouse.plan_retraction(dataset, selector)
        else:
            plan, made = warehouse.retract(dataset, selector, actor=actor())
    again = _landed_again(dataset, selector, plan)
    if json:
        print_json(_as_json(dataset, plan, made, again))
        return
    partitions = {partition.key: rows for partition, rows in plan.wanted.rows.items()}
    verb = "would be" if made is None else "are"
    _say(f"{counted(plan.rows, 'row')} of {dataset} in {counted(len(partitions), 'partition')} {verb} left out.")
    if partitions:
        shown = list(partitions.items())[:SHOWN]
        print_table(["partition", ">rows"], [[key, count(rows)] for key, rows in shown])
    if len(partitions) > SHOWN:
        _say(f"… and {len(partitions) - SHOWN} more")
    if plan.superseded_rows:
        _say(
            f"Builds have removed {counted(plan.superseded_rows, 'row')} there as superseded. Those of them that these rows had "
            "superseded come back only when their own files or records land again."
        )
    if made is not None:
        _say(f"It is retraction {made.id}; until a build drops the rows, {timestore('retract', dataset, '--undo', str(made.id))}")
        _say(f"brings them back, and from then on a rollback to version {made.manifest_version - 1}.")
    _say(f"To land them again: {again}")


def _landed_again(dataset: str, selector: RowSelector, plan: RetractionPlan) -> str:
    """A command line, or what to do."""
    match selector:
        case FileRows():
            return timestore("land", dataset, *plan.files)
        case TopicRows():
            bounds = {name: selector.plain()[name] for name in ("from", "to")}
            given = [word for name, bound in bounds.items() if bound is not None for word in (f"--{name}", str(bound))]
            return timestore("reload", dataset, "--source", selector.name, *given)
        case RequestRows():
            return "send them with another idempotency key: the old one goes on naming what was retracted"
        case SessionRows():
            return "files: retract them by --file as well, then `timestore land` them; requests: send them with other keys"


def _as_json(dataset: str, plan: RetractionPlan, made: RetractionRecord | None, again: str) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "id": None if made is None else made.id,
        "selector": plan.wanted.selector,
        "rows": plan.rows,
        "partitions": {partition.key: rows for partition, rows in plan.wanted.rows.items()},
        "superseded_rows": plan.superseded_rows,
        "manifest_version": None if made is None else made.manifest_version,
        "land_again": again,
    }


def _undo(dataset: str, retraction_id: int, *, json: bool) -> None:
    with open_warehouse() as warehouse:
        undone = warehouse.undo_retraction(dataset, retraction_id, actor=actor())
    if json:
        print_json(undone)
    else:
        _say(f"{counted(undone.rows, 'row')} of {dataset} are shown again.")


def _list(dataset: str, *, json: bool) -> None:
    with open_warehouse() as warehouse:
        found = warehouse.retractions(dataset)
    if json:
        print_json(found)
    elif not found:
        _say(f"Nothing of {dataset} was retracted.")
    else:
        heads = [">id", "at", "by", "~what", ">rows", ">partitions", ">version", "state"]
        print_table(heads, [_row(one) for one in found])


def _row(one: RetractionRecord) -> list[str]:
    what = ", ".join(f"{name} {value}" for name, value in one.selector.items() if value is not None)
    at = f"{one.at:%Y-%m-%d %H:%M:%S}"
    numbers = [count(one.rows), count(len(one.partitions)), count(one.manifest_version)]
    return [str(one.id), at, one.actor, what, *numbers, one.state]


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)

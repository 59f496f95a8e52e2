"""`reload`: a window of a topic, or a file, is read again and takes the place of what it has landed as."""

from __future__ import annotations

from typing import Annotated

import typer

from timestore_assets.cli.error_reports import REFUSED
from timestore_assets.cli.interrupts import asking_to_stop
from timestore_assets.cli.open_warehouse import actor, open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import counted, counter_rows, duration, print_json, print_table, stderr
from timestore_assets.cli.retract import From, To, topic_rows
from timestore_assets.model.errors import InputError

HELP = """Read a window of a topic, or files, again and swap it in: old rows leave with the commit that shows the new ones.

What it was landed as is judged by the declaration of now. The sessions that land the topic are not disturbed. One that is broken
off changes nothing that anybody sees, and the same command goes on with it. A file is swapped in as a whole; one that is not
there any more keeps its rows."""

Source = Annotated[str | None, typer.Option("--source", metavar="TOPIC[/PARTITION]", help="The topic, or one of its partitions.")]
Files = Annotated[list[str] | None, typer.Option("--file", metavar="ADDRESS", help="A file that has landed; repeat for more.")]


def add_to(app: typer.Typer) -> None:
    app.command("reload", help=HELP)(reload)


def reload(
    dataset: DatasetName, source: Source = None, start: From = None, end: To = None, file: Files = None, json: AsJson = False
) -> None:
    if (source is None) == (not file):
        raise InputError("say what is meant by either --source or --file")
    if source is None and (start or end):
        raise InputError("--from and --to are those of a topic: name it by --source")
    if source is None:
        _reload_files(dataset, file or [], json=json)
    else:
        _reload_topic(dataset, source, start, end, json=json)


def _reload_files(dataset: str, files: list[str], *, json: bool) -> None:
    with open_warehouse() as warehouse:
        report = warehouse.reload_files(dataset, files, actor=actor())
    if json:
        print_json({**dict(report.counters.items()), "dataset": dataset, "files": len(report.files), "left": report.left})
    else:
        rows = counter_rows(report.counters, seldom=("duplicates", "late_dropped", "held"))
        print_table([f"{dataset} from {counted(len(report.files), 'file')}", "~"], rows)
    for reason in report.left:
        stderr().print(f"error: {reason}", markup=False, soft_wrap=True)
    if report.left:
        raise typer.Exit(REFUSED)


def _reload_topic(dataset: str, source: str, start: str | None, end: str | None, *, json: bool) -> None:
    selector = topic_rows(source, start, end)
    with open_warehouse() as warehouse, asking_to_stop() as stop:
        report = warehouse.reload_topic(dataset, selector, stop=stop, actor=actor())
    if json:
        print_json({**dict(report.counters.items()), "dataset": dataset, "windows": report.windows, "done": report.is_done})
    else:
        windows = ", ".join(f"{name} {first}-{last}" for name, (first, last) in report.windows.items())
        rows = [*counter_rows(report.counters, seldom=("duplicates", "late_dropped", "held")), ["offsets", windows]]
        print_table([f"{report.dataset} from {report.source}", "~"], [*rows, ["time", duration(report.seconds)]])
    if not report.is_done:
        stderr().print("It was stopped: nothing has changed yet, and the same command goes on.", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED)

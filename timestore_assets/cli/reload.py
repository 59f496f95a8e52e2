"""`reload`: a window of a topic is read again and takes the place of what it has landed as."""

from __future__ import annotations

from typing import Annotated

import typer

from timestore_assets.cli.error_reports import REFUSED
from timestore_assets.cli.interrupts import asking_to_stop
from timestore_assets.cli.open_warehouse import actor, open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import counter_rows, duration, print_json, print_table, stderr
from timestore_assets.cli.retract import From, To, topic_rows

HELP = """Read a window of a topic again, and swap it in at once: its old rows leave with the commit that shows the new ones.

What the window was landed as is judged by the declaration of now. The sessions that land the topic are not disturbed. One that
is broken off changes nothing that anybody sees, and the same command goes on with it. Files are landed again by `retract --file`
and `land`."""

Source = Annotated[str, typer.Option("--source", metavar="TOPIC[/PARTITION]", help="The topic, or one of its partitions.")]


def add_to(app: typer.Typer) -> None:
    app.command("reload", help=HELP)(reload)


def reload(dataset: DatasetName, source: Source, start: From = None, end: To = None, json: AsJson = False) -> None:
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

"""`query` and `sql`: ask, downsample, travel in time."""

from __future__ import annotations

import csv
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import stdout
from timestore_assets.cli.session import open_warehouse
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time

if TYPE_CHECKING:
    from timestore_assets.querying.answer import Answer

FORMATS = ("table", "json", "csv", "parquet", "arrow")
FUNCTIONS = "avg, min, max, sum, median, count, count_distinct, first, last, percentile(p)"
BINARY = ("parquet", "arrow")

From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="First time, e.g. 2013-07-01; all by default.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Time before which rows lie; all by default.")]
Columns = Annotated[str | None, typer.Option("--columns", metavar="A,B", help="Columns, comma-separated; all by default.")]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="Condition, e.g. \"origin = 'JFK' AND temp > 80\".")]
Every = Annotated[str | None, typer.Option("--every", metavar="LENGTH", help="Downsample: 15m, 1h, 1d, week or month.")]
Aggregates = Annotated[str | None, typer.Option("--agg", metavar="FN:COLUMN,…", help=f"Figures: {FUNCTIONS}.")]
By = Annotated[str | None, typer.Option("--by", metavar="A,B", help="One group for each value of these columns.")]
Fill = Annotated[str | None, typer.Option("--fill", metavar="HOW", help="Lengths without rows: null, previous, linear or zero.")]
Limit = Annotated[int | None, typer.Option("--limit", min=0, help="Most rows.")]
AsOf = Annotated[int | None, typer.Option("--as-of", min=0, metavar="VERSION", help="The data as of this manifest version.")]
Format = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}.")]
Statement = Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT; each dataset is a view.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.command("query", help="Ask a dataset: a time range, columns, a condition, aggregates per length of time.")(query)
    app.command("sql", help="Run one read-only SELECT in which each dataset is a view.")(sql)


def query(
    dataset: DatasetName,
    start: From = None,
    end: To = None,
    columns: Columns = None,
    where: Where = None,
    every: Every = None,
    agg: Aggregates = None,
    by: By = None,
    fill: Fill = None,
    limit: Limit = None,
    as_of: AsOf = None,
    format: Format = None,
    json: AsJson = False,
) -> None:
    from timestore_assets.querying.question import Question, parse_aggregates, parse_every, parse_fill

    chosen = output_format(format, json=json)
    question = Question(
        dataset=dataset,
        start=_time(start),
        end=_time(end),
        columns=_names(columns),
        where=where,
        every=parse_every(every) if every else None,
        aggregates=parse_aggregates(agg) if agg else (),
        group_by=_names(by) or (),
        fill=parse_fill(fill) if fill else None,
        limit=limit,
        as_of=as_of,
    )
    with open_warehouse() as warehouse, warehouse.ask(question) as answer:
        write_answer(answer, chosen)


def sql(statement: Statement, format: Format = None, json: AsJson = False) -> None:
    chosen = output_format(format, json=json)
    with open_warehouse() as warehouse, warehouse.sql(statement) as answer:
        write_answer(answer, chosen)


def output_format(text: str | None, *, json: bool) -> str:
    """The format asked for; `--json` is short for `--format json`.

    Raises:
        InputError: the format is not known, or it is binary and would go to a terminal.
    """
    chosen = text or ("json" if json else "table")
    if json and chosen != "json":
        raise InputError(f"--json and --format {chosen} contradict each other; give one of them")
    if chosen not in FORMATS:
        raise InputError(f"--format {chosen!r} is not known; write one of {', '.join(FORMATS)}")
    if chosen in BINARY and sys.stdout.isatty():
        raise InputError(f"--format {chosen} is binary; send it to a file: … --format {chosen} > answer.{chosen}")
    return chosen


def write_answer(answer: Answer, chosen: str) -> None:
    """Write an answer to stdout while it is computed."""
    from timestore_assets.querying import render, terminal

    if chosen == "table":
        terminal.show(answer, stdout())
        return
    writers = {"json": render.write_json, "csv": render.write_csv, "parquet": render.write_parquet, "arrow": render.write_arrow}
    writers[chosen](answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated column names; one with a comma in it goes in double quotes."""
    if text is None:
        return None
    names = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in names if name.strip())

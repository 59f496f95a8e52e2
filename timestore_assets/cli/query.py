"""`query`: a question to one dataset, by options."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.answer_output import AnswerOutput, Escape, Expanded, Format, Limit, NoPager, OutputFile
from timestore_assets.cli.interrupts import ctrl_c_calls
from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName, span
from timestore_assets.cli.shell_completion import aggregate_names, column_names
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.querying.answer import Answer

HELP = """Ask a dataset: a time range, columns, a condition, aggregates per length of time.

Times are ISO 8601 (UTC without a zone), 2015, 2015-12, now, today, yesterday, or so far from now: -30d, -12h, -3mo, -1y."""
FUNCTIONS = "avg (mean), min, max, sum, median, stddev, count, count_distinct, first, last, percentile(95)"
LENGTHS = "15m, 1h, 1d, 2w, or by the calendar day, week, month, quarter, year, 3mo, 1y"

From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="First time, e.g. 2013-07-01 or -30d; all by default.")]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Time before which rows lie, e.g. 2013-08 or now; all by default.")
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B", help="Columns, comma-separated; all by default.", autocompletion=column_names),
]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="Condition, e.g. \"origin = 'JFK' AND temp > 80\".")]
Every = Annotated[str | None, typer.Option("--every", metavar="LENGTH", help=f"Downsample: {LENGTHS}.")]
Timezone = Annotated[
    str | None, typer.Option("--timezone", metavar="ZONE", help="Whose days --every counts, e.g. Europe/Berlin.")
]
Aggregates = Annotated[
    str | None,
    typer.Option(
        "--agg",
        metavar="FN:COLUMN,…",
        autocompletion=aggregate_names,
        help=f"Figures, as avg:temp or max(temp), with a name as in 'max:temp as warmest'. Functions: {FUNCTIONS}.",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="A,B", help="One group for each value of these columns.", autocompletion=column_names),
]
Fill = Annotated[str | None, typer.Option("--fill", metavar="HOW", help="Lengths without rows: null, previous, linear or zero.")]
Last = Annotated[int | None, typer.Option("--last", min=0, metavar="N", help="The latest so many rows, in order of time.")]
Descending = Annotated[bool, typer.Option("--desc", help="The latest rows first.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="VERSION|TIME|TAG", help="The data as of a manifest version, a time or a tag.")
]


def add_to(app: typer.Typer) -> None:
    app.command("query", help=HELP)(query)


def query(
    dataset: DatasetName,
    start: From = None,
    end: To = None,
    columns: Columns = None,
    where: Where = None,
    every: Every = None,
    timezone: Timezone = None,
    agg: Aggregates = None,
    by: By = None,
    fill: Fill = None,
    limit: Limit = None,
    last: Last = None,
    desc: Descending = False,
    as_of: AsOf = None,
    format: Format = None,
    output: OutputFile = None,
    expanded: Expanded = None,
    no_pager: NoPager = False,
    escape_formulas: Escape = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.model.aggregate_text import parse_aggregates
    from timestore_assets.model.question import Question, parse_every, parse_fill

    if limit is not None and last is not None:
        raise InputError("--limit takes the first rows and --last the latest; give one of them")
    chosen = AnswerOutput.chosen(
        format,
        output,
        json=json,
        escape_formulas=escape_formulas,
        expanded=expanded,
        paged=not no_pager,
        limit=limit if last is None else last,
        descending=desc,
    )
    first, after = span(start, end)
    question = Question(
        dataset=dataset,
        start=first,
        end=after,
        columns=_names(columns),
        where=where,
        every=parse_every(every) if every else None,
        timezone=timezone,
        aggregates=parse_aggregates(agg) if agg else (),
        group_by=_names(by) or (),
        fill=parse_fill(fill) if fill else None,
        limit=limit if last is None else last,
        descending=desc or last is not None,
    )
    with open_warehouse() as warehouse:
        if as_of is not None:
            question = replace(question, as_of=warehouse.version_of(dataset, as_of))
        with warehouse.ask(question) as answer, ctrl_c_calls(answer.interrupt):
            chosen.write(answer if desc or last is None else _in_order(answer))


def _in_order(answer: Answer) -> Answer:
    """The same rows the other way round: of the latest ones, the earliest first."""
    import pyarrow as pa

    from timestore_assets.querying.answer import Answer, AnswerDetails

    rows = answer.table()
    turned = rows.take(pa.array(range(rows.num_rows - 1, -1, -1), pa.int64()))
    return Answer(
        schema=answer.schema,
        batches=iter(turned.to_batches()),
        facts=AnswerDetails(
            manifest_versions=answer.manifest_versions,
            scanned=answer.segments_read,
            pruned=answer.scanned + answer.pruned - answer.segments_read,
            series=answer.series,
            warnings=answer.warnings,
        ),
        close=answer.close,
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated column names; one with a comma in it goes in double quotes."""
    if text is None:
        return None
    names = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in names if name.strip())

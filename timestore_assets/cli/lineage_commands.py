"""`lineage columns` and `lineage emit`: where columns come from, and OpenLineage events sent once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from timestore_assets.cli.open_warehouse import open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import counted, print_json, print_table, stderr, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment

EMIT_HELP = """Send OpenLineage events of what landed and was built since they were sent last, to TIMESTORE_OPENLINEAGE.

The sensor `timestore_openlineage` and `timestore serve` do the same every few seconds; this is for cron, and for a try."""
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Once more all of this time and later: 2013-01-01, -1d, …"),
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show where columns come from; send OpenLineage events.")
    group.command("columns", help="Show which fields of which sources, and which columns, each column comes from.")(columns)
    group.command("emit", help=EMIT_HELP)(emit)
    app.add_typer(group, name="lineage")


def columns(dataset: DatasetName, json: AsJson = False) -> None:
    from timestore_assets.model.column_lineage import column_lineage

    with open_warehouse() as warehouse:
        declared, record = warehouse.resolve(dataset)
        origins = column_lineage(declared, record.schema)
    plain = [
        {
            "column": name,
            "fields": [{"source": sent.source.address, "field": sent.field} for sent in origin.fields],
            "columns": list(origin.columns),
            "expression": origin.expression,
        }
        for name, origin in origins.items()
    ]
    if json:
        print_json(plain)
        return
    rows = [
        [name, ", ".join(f"{sent.field} ({sent.source.address})" for sent in origin.fields), origin.expression or ""]
        for name, origin in origins.items()
    ]
    print_table(["column", "~from fields", "~in older rows"], rows)


def emit(since: Since = None, json: AsJson = False) -> None:
    from timestore_assets.lineage import emitting

    with open_warehouse() as warehouse:
        if warehouse.settings.openlineage is None:
            raise InputError("no receiver is set: set TIMESTORE_OPENLINEAGE to https://host, file:///path or kafka://host/topic")
        if since is None:
            done = emitting.emit(warehouse, at_once=True)
        else:
            done = emitting.emit_again(warehouse, parse_moment(since, now=datetime.now(UTC)))
    if json:
        print_json(done)
        return
    told = f"{counted(done.sent, 'event')} sent"
    more = f", {done.refused} refused and left out" if done.refused else ""
    going = f"; {counted(done.open_runs, 'run')} going on" if done.open_runs else ""
    stdout().print(told + more + going, markup=False)
    if done.began:
        again = timestore("lineage", "emit", "--since", "-1d")
        stderr().print(
            f"From now on what lands and is built is told; what was before is by: {again}", markup=False, soft_wrap=True
        )
    if done.problem:
        stderr().print(f"{done.problem}; the rest is tried again", markup=False)

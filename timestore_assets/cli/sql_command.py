"""`sql`: a statement over the datasets, from the command line, from stdin, or at a prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from timestore_assets.cli.answer_output import AnswerOutput, Escape, Expanded, Format, Limit, NoPager, OutputFile
from timestore_assets.cli.interruptible_sql import answered
from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from timestore_assets.querying.answer import Answer

HELP = """Run one read-only statement in which each dataset is a view: SELECT, DESCRIBE, SUMMARIZE, EXPLAIN, SHOW TABLES.

Without one, or with -, it is read from stdin; at a terminal there is a prompt, with completion and history."""

Statement = Annotated[
    str | None, typer.Argument(metavar="STATEMENT", help="One statement; - reads it from stdin.", show_default=False)
]

AsOf = Annotated[
    list[str] | None,
    typer.Option(
        "--as-of",
        metavar="[NAME=]WHEN",
        help="The data as of a time or a tag, of one dataset also a version's number; NAME=WHEN, repeated, for each by name.",
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command("sql", help=HELP)(sql)


def sql(
    statement: Statement = None,
    as_of: AsOf = None,
    limit: Limit = None,
    format: Format = None,
    output: OutputFile = None,
    expanded: Expanded = None,
    no_pager: NoPager = False,
    escape_formulas: Escape = False,
    json: AsJson = False,
) -> None:
    from timestore_assets.model.as_of import parse_as_of_words

    chosen = AnswerOutput.chosen(
        format,
        output,
        json=json,
        escape_formulas=escape_formulas,
        expanded=expanded,
        paged=not no_pager,
        limit=limit,
    )
    is_prompt = statement is None and sys.stdin.isatty() and sys.stdout.isatty()
    if is_prompt and (chosen.format != "table" or chosen.file):
        raise InputError("-o and --format need a statement; at the prompt \\o FILE writes the next answer to a file")
    meant = parse_as_of_words(as_of) if as_of else None
    with open_warehouse() as warehouse:
        if is_prompt:
            from timestore_assets.cli.prompt.prompt_session import SqlPrompt

            SqlPrompt(warehouse, chosen, as_of=meant).run()
            return
        for text in _statements(statement, chosen):
            with answered(warehouse, text, as_of=meant) as answer:
                chosen.write(answer if limit is None else _first(answer, limit))


def _statements(given: str | None, chosen: AnswerOutput) -> tuple[str, ...]:
    """The one of the command line; of stdin as many as there are, if several answers can stand behind each other."""
    from timestore_assets.cli.prompt.statement_split import all_statements

    if given is not None and given != "-":
        return (given,)
    text = sys.stdin.read()
    found = all_statements(text)
    if len(found) > 1 and (chosen.format != "table" or chosen.file):
        raise InputError(f"stdin holds {len(found)} statements; --format and -o take one")
    return found or (text,)


def _first(answer: Answer, most: int) -> Answer:
    """The first rows of an answer; nothing is computed for what follows them."""
    from timestore_assets.querying.answer import Answer, AnswerDetails

    def batches() -> Iterator[pa.RecordBatch]:
        left = most
        for batch in answer.batches() if left else ():
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    return Answer(
        schema=answer.schema,
        batches=batches(),
        facts=AnswerDetails(
            manifest_versions=answer.manifest_versions,
            scanned=answer.scanned,
            pruned=answer.pruned,
            warnings=answer.warnings,
        ),
        close=answer.close,
    )

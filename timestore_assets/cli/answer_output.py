"""Where an answer goes and in which form: a table for people, or a format for programs, to stdout or into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from timestore_assets.cli.options import given_path
from timestore_assets.cli.output import counted, size, stderr, stdout
from timestore_assets.cli.placed_file import written
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.querying.answer import Answer

FORMATS = ("table", "json", "jsonl", "csv", "parquet", "arrow")
BINARY = ("parquet", "arrow")
EXTENSIONS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "table",
}

Format = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}.", autocompletion=lambda: list(FORMATS)),
]
OutputFile = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to this file, in the format that its name ends in."),
]
Escape = Annotated[
    bool, typer.Option("--escape-formulas", help="In CSV, put a ' before texts that a spreadsheet would compute, e.g. =1+1.")
]
Expanded = Annotated[
    bool | None,
    typer.Option(
        "--expanded/--no-expanded",
        "-x",
        help="A line for each value; by itself for a single row that is too wide.",
        show_default=False,
    ),
]
NoPager = Annotated[bool, typer.Option("--no-pager", help="Don't show long answers by PAGER (less, by default).")]
Limit = Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="Most rows; a table shows 40 when none is given.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerOutput:
    """What was asked for by options. `file`: None for stdout. `at_prompt`: more is asked for by commands of the prompt."""

    format: str
    file: Path | None
    escape_formulas: bool = False
    expanded: bool | None = None
    paged: bool = True
    limit: int | None = None
    descending: bool = False
    at_prompt: bool = False

    @classmethod
    def chosen(
        cls,
        format: str | None,
        file: str | None,
        *,
        json: bool,
        escape_formulas: bool = False,
        expanded: bool | None = None,
        paged: bool = True,
        limit: int | None = None,
        descending: bool = False,
    ) -> AnswerOutput:
        """The options as one; `--json` is short for `--format json`, and a file's name says its format.

        Raises:
            InputError: they contradict each other, the format is not known, it is binary and would go to a terminal, or it knows
                no formulas to be escaped.
        """
        path = None if file is None or file == "-" else given_path(file)
        chosen = _format(format, path, json=json)
        if escape_formulas and chosen != "csv":
            raise InputError("--escape-formulas is for spreadsheets, which read CSV; add --format csv")
        if expanded and chosen != "table":
            raise InputError(f"--expanded is for people; --format {chosen} has all columns anyway")
        if chosen in BINARY and path is None and sys.stdout.isatty():
            raise InputError(f"--format {chosen} is binary; send it to a file: … -o answer.{chosen}")
        return cls(
            format=chosen,
            file=path,
            escape_formulas=escape_formulas,
            expanded=expanded,
            paged=paged,
            limit=limit,
            descending=descending,
        )

    def write(self, answer: Answer, *, said: Callable[[], Sequence[str]] = tuple) -> None:
        """Write an answer while it is computed. `said`: more for the last line of a table, asked once all is read."""
        for warning in answer.warnings:
            stderr().print(f"warning: {warning}", markup=False, soft_wrap=True)
        if self.file is None:
            self._write(answer, sys.stdout.buffer, said)
            return
        with written(self.file) as out:
            rows = self._write(answer, out, said)
            out.flush()
            # a pipe or a device has no position
            length = out.tell() if out.seekable() else None
        told = f"{counted(rows, 'row')} in {self.file}" + (f", {size(length)}" if length is not None else "")
        stderr().print(told, markup=False, soft_wrap=True)

    def _write(self, answer: Answer, out: BinaryIO, said: Callable[[], Sequence[str]]) -> int:
        from timestore_assets.querying.rendering import render

        if self.format == "table":
            return self._show(answer, out, said)
        if self.format == "csv":
            return render.write_csv(answer, out, safe=self.escape_formulas)
        writers = {
            "json": render.write_json,
            "jsonl": render.write_json_lines,
            "parquet": render.write_parquet,
            "arrow": render.write_arrow,
        }
        return writers[self.format](answer, out)

    def _show(self, answer: Answer, out: BinaryIO, said: Callable[[], Sequence[str]]) -> int:
        from timestore_assets.cli.rendering.terminal import SHOWN_ROWS, Display, show

        rows = SHOWN_ROWS if self.limit is None else self.limit
        display = Display(rows=rows, expanded=self.expanded, paged=self.paged, descending=self.descending)
        if self.at_prompt:
            display = replace(display, all_rows="\\limit", all_columns="\\x")
        if self.file is None:
            return show(answer, stdout(), display, said=said)
        import io

        from rich.console import Console

        text = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        try:
            return show(answer, Console(file=text, highlight=False), display, said=said)
        finally:
            text.detach()


def _format(text: str | None, path: Path | None, *, json: bool) -> str:
    if json and text not in (None, "json"):
        raise InputError(f"--json and --format {text} contradict each other; give one of them")
    if text is not None and text not in FORMATS:
        raise InputError(f"--format {text!r} is not known; write one of {', '.join(FORMATS)}")
    if json or text is not None:
        return text or "json"
    if path is None:
        return "table"
    known = EXTENSIONS.get(path.suffix.lower())
    if known is None:
        ends = ", ".join(ending for ending, format in EXTENSIONS.items() if format != "table")
        raise InputError(f"-o {path}: its name says no format; end it in one of {ends}, or add --format")
    return known

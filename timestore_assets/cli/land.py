"""`land`: files into a dataset, by the same path as the sensor."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.failures import BAD_INPUT, REFUSED
from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.numbers import count, duration, rate, size
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table, stderr, stdout
from timestore_assets.cli.session import actor, open_warehouse
from timestore_assets.cli.span import span
from timestore_assets.cli.uris import expand
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.landing.report import FileReport, LandReport

FORMATS = ("auto", "csv", "jsonl", "envelopes", "parquet")
HELP = """Land files: read, validate, write delta segments, publish; the rows can be queried at once.

Without files but with --from or --to: what the dataset's own sources hold of that time and is not landed yet. Of a source whose
prefix has a time in it, as raw/{window:%Y/%m/%d}/, only those folders are listed.

Exit code 0: every file is landed, or was before (refused records are dead letters and change nothing about that).
2: a file could not be read and is quarantined. 3: a file's content changed since it was landed and the source's
`on_change: reject` refuses it."""

Uris = Annotated[
    list[str] | None,
    typer.Argument(metavar="[URI]...", help="Files, folders or globs; s3://, gs:// and az:// as well.", show_default=False),
]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Look at the sources from this time on.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Look at the sources before this time.")]
Format = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; the source's by default.")]
ChunkRows = Annotated[int | None, typer.Option("--chunk-rows", min=1, help="Most records a commit; by memory by default.")]


def add_to(app: typer.Typer) -> None:
    app.command("land", help=HELP)(land)


def land(
    dataset: DatasetName,
    uris: Uris = None,
    start: From = None,
    end: To = None,
    format: Format = None,
    chunk_rows: ChunkRows = None,
    json: AsJson = False,
) -> None:
    from timestore_assets.cli.land_progress import progress_bar
    from timestore_assets.reloading import land_found, unsettled_files

    if format is not None and format not in FORMATS:
        raise InputError(f"--format {format!r} is not known; write one of {', '.join(FORMATS)}")
    if bool(uris) == bool(start or end):
        raise InputError("name the files to land, or give --from and --to for what the dataset's sources hold of that time")
    with open_warehouse() as warehouse:
        warehouse.declared(dataset)
        files, problems = expand(uris or [], warehouse.settings)
        found = [] if uris else unsettled_files(warehouse, dataset, *span(start, end))
        shown = [*files, *(file for _, of_source in found for file in of_source)]
        with progress_bar(shown, shown=sys.stderr.isatty()) as progress:
            wishes: dict[str, Any] = {"format": format, "chunk_rows": chunk_rows, "progress": progress, "actor": actor()}
            report = land_found(warehouse, dataset, found, **wishes) if found else warehouse.land(dataset, files, **wishes)
    if json:
        print_json(_as_json(report))
    else:
        _print_report(report)
    _explain_bad_files(report)
    for problem in problems:
        stderr().print(problem, markup=False, soft_wrap=True)
    if code := exit_code(report) or (BAD_INPUT if problems else 0):
        raise typer.Exit(code)


def exit_code(report: LandReport) -> int:
    """0, or 2 when a file can't be read, or 3 when one was refused because its content changed."""
    states = {file.state for file in report.files}
    return BAD_INPUT if "quarantined" in states else REFUSED if "rejected" in states else 0


def _as_json(report: LandReport) -> dict[str, Any]:
    from timestore_assets.model.definition import to_plain

    plain: dict[str, Any] = to_plain(report)
    return {**plain, **plain.pop("counters")}


def _print_report(report: LandReport) -> None:
    counters = report.counters
    states = Counter(file.state for file in report.files)
    total_bytes = sum(file.bytes for file in report.files)
    per_second = counters.landed / report.seconds if report.seconds else None
    rows = [
        ["files", ", ".join(f"{number:,} {state}" for state, number in states.items()) + f" ({size(total_bytes)})"],
        ["read", count(counters.read)],
        ["landed", count(counters.landed)],
        ["duplicates", count(counters.duplicates)],
        *([["late, dropped", count(counters.late_dropped)]] if counters.late_dropped else []),
        *([["held", count(counters.held)]] if counters.held else []),
        ["dead letters", count(counters.dead_letters)],
        ["partitions", count(len(report.partitions))],
        ["manifest version", count(report.manifest_version)],
        ["time", duration(report.seconds) + (f", {rate(per_second)}" if per_second else "")],
    ]
    print_table([report.dataset, "~"], rows)
    console = stdout()
    for change in report.schema_changes:
        before = f"widened from {change.before} to" if change.before else "is new, as"
        console.print(f"column {change.column} {before} {change.after}", markup=False)
    if report.ignored_columns:
        names = ", ".join(report.ignored_columns)
        console.print(f"left out, because the dataset says new_columns: ignore: {names}", markup=False, soft_wrap=True)
    if counters.dead_letters:
        _print_dead_letters(report)
    if counters.landed:
        console.print(f"Next: {timestore('build', report.dataset)}", markup=False, soft_wrap=True)


def _print_dead_letters(report: LandReport) -> None:
    most_first = sorted(report.dead_letter_reasons.items(), key=lambda item: -item[1])
    print_table(["dead letters", ">records"], ([code, count(number)] for code, number in most_first))
    stdout().print(f"Look at them: {timestore('deadletters', 'show', report.dataset)}", markup=False, soft_wrap=True)


def _explain_bad_files(report: LandReport) -> None:
    console = stderr()
    for file in report.files:
        if file.state in ("quarantined", "rejected"):
            console.print(_bad_file_line(file), markup=False, soft_wrap=True)


def _bad_file_line(file: FileReport) -> str:
    return f"{file.state}: {file.address}: {file.reason}"

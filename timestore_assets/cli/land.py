"""`land`: files into a dataset, by the same path as the sensor."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from timestore_assets.cli.error_reports import BAD_INPUT, REFUSED
from timestore_assets.cli.land_paths import expand
from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName, span
from timestore_assets.cli.output import (
    count,
    counted,
    counter_rows,
    duration,
    print_json,
    print_reasons,
    print_schema_changes,
    print_table,
    rate,
    size,
    stderr,
    stdout,
)
from timestore_assets.model.dataset import FileFormat
from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.landing.files.land_report import FileReport, LandReport

FORMATS: tuple[str, ...] = get_args(FileFormat)
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
    from timestore_assets.cli.land_repeats import repeated_rows

    if format is not None and format not in FORMATS:
        raise InputError(f"--format {format!r} is not known; write one of {', '.join(FORMATS)}")
    if bool(uris) == bool(start or end):
        raise InputError("name the files to land, or give --from and --to for what the dataset's sources hold of that time")
    with open_warehouse() as warehouse:
        warehouse.declared(dataset)
        files, problems = expand(uris or [], warehouse.settings)
        found = [] if uris else warehouse.unsettled_files(dataset, *span(start, end))
        shown = [*files, *(file for _, of_source in found for file in of_source)]
        with progress_bar(shown, shown=sys.stderr.isatty()) as progress:
            wishes: dict[str, Any] = {"format": format, "chunk_rows": chunk_rows, "progress": progress, "actor": actor()}
            report = warehouse.land_unsettled(dataset, found, **wishes) if found else warehouse.land(dataset, files, **wishes)
        repeated = 0 if json else repeated_rows(warehouse, report)
    if json:
        print_json(_as_json(report))
    else:
        _print_report(report, repeated)
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
    from timestore_assets.model.schema import to_plain

    plain: dict[str, Any] = to_plain(report)
    return {**plain, **plain.pop("counters")}


def _print_report(report: LandReport, repeated: int) -> None:
    from timestore_assets.landing.files.land_report import unread_path_sentence

    counters = report.counters
    states = Counter(file.state for file in report.files)
    total_bytes = sum(file.bytes for file in report.files)
    per_second = counters.landed / report.seconds if report.seconds else None
    rows = [
        ["files", ", ".join(f"{number:,} {state}" for state, number in states.items()) + f" ({size(total_bytes)})"],
        *counter_rows(counters, seldom=("late_dropped", "held")),
        ["partitions", count(len(report.partitions))],
        ["manifest version", count(report.manifest_version)],
        ["time", duration(report.seconds) + (f", {rate(per_second)}" if per_second else "")],
    ]
    print_table([report.dataset, "~"], rows)
    console = stdout()
    print_schema_changes(report.schema_changes)
    for why, names in _left_out(report):
        console.print(f"left out, {why}: {', '.join(names)}", markup=False, soft_wrap=True)
    for name, values in report.discarded_values.items():
        console.print(
            f"null since they don't fit the type of column {name}: {counted(values, 'value')}", markup=False, soft_wrap=True
        )
    if sentence := unread_path_sentence(report):
        console.print(sentence, markup=False, soft_wrap=True)
    if repeated:
        console.print(
            f"{count(repeated)} rows look like rows that were there before; is this a file that was exported again? "
            "With `dedupe: {keys: …}` later rows replace earlier ones.",
            markup=False,
            soft_wrap=True,
        )
    if counters.dead_letters:
        _print_dead_letters(report)
    if counters.landed:
        console.print(f"Next: {timestore('build', report.dataset)}", markup=False, soft_wrap=True)


def _print_dead_letters(report: LandReport) -> None:
    most_first = sorted(report.dead_letter_reasons.items(), key=lambda item: -item[1])
    print_reasons("dead letters", most_first, look=timestore("deadletters", "show", report.dataset))


def _explain_bad_files(report: LandReport) -> None:
    console = stderr()
    for file in report.files:
        if file.state in ("quarantined", "rejected"):
            console.print(_bad_file_line(file), markup=False, soft_wrap=True)


def _bad_file_line(file: FileReport) -> str:
    return f"{file.state}: {file.address}: {file.reason}"


def _left_out(report: LandReport) -> Iterator[tuple[str, list[str]]]:
    """Columns of the files that are none of the dataset, and why."""
    from timestore_assets.decoding.column_names import PANDAS_INDEX

    index = [name for name in report.ignored_columns if name.startswith(PANDAS_INDEX)]
    others = [name for name in report.ignored_columns if name not in index]
    if index:
        yield "an index without a name", index
    if others:
        yield "dropped columns, or because the dataset says columns: discard_value", others

"""`cache prime`, `status` and `clear`: the read cache of object stores, which lies on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import open_warehouse
from timestore_assets.cli.options import AsJson, DatasetName, span
from timestore_assets.cli.output import count, counted, print_json, print_table, size, stderr, stdout

if TYPE_CHECKING:
    from timestore_assets.querying.reading.priming import PrimeReport
    from timestore_assets.storage.cache.read_cache import ReadCache

PRIME_HELP = """Fetch what questions about a window read, so that they find it on this machine.

With --columns only these and the time are fetched of large Parquet segments: name what is selected and what is filtered by.
Segments on local targets need no fetching."""

From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Begin of the window; all before by default.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End of the window, not part of it.")]
Columns = Annotated[str | None, typer.Option(metavar="NAMES", help="Columns, separated by commas; all by default.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at the read cache of object stores, fill it ahead, empty it.")
    group.command("prime", help=PRIME_HELP)(prime)
    group.command("status", help="Show where the cache is, what it keeps and how much it may.")(status)
    group.command("clear", help="Empty the cache. What is being read stays until it has been read.")(clear)
    app.add_typer(group, name="cache")


def prime(dataset: DatasetName, start: From = None, end: To = None, columns: Columns = None, json: AsJson = False) -> None:
    from timestore_assets.querying.reading.priming import prime as fill

    first, last = span(start, end)
    chosen = None if columns is None else [name.strip() for name in columns.split(",")]
    with open_warehouse() as warehouse, _progress(shown=sys.stderr.isatty() and not json) as progress:
        declared, record = warehouse.resolve(dataset)
        report = fill(
            warehouse.querier,
            declared,
            record,
            start=first,
            end=last,
            columns=chosen,
            room_bytes=warehouse.settings.query_cache_max_bytes,
            progress=progress,
        )
    if json:
        print_json(report)
    else:
        stdout().print(_said(report), markup=False)


def _said(report: PrimeReport) -> str:
    if report.objects == report.local_objects:
        return f"nothing is to be done: {counted(report.objects, 'segment')} of {report.dataset} in that window, none elsewhere"
    remote = report.objects - report.local_objects
    beside = f"; {count(report.local_objects)} more are on this machine anyway" if report.local_objects else ""
    return f"{counted(remote, 'segment')} of {report.dataset} ({size(report.bytes)} as a whole) can be read here{beside}"


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """What is told bytes done, of all."""
    if not shown:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("fetching", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def status(json: AsJson = False) -> None:
    cache = _cache()
    kept = cache.shelf.contents()
    found: dict[str, Any] = {
        "folder": str(cache.folder),
        "files": kept.files,
        "bytes": kept.bytes,
        "max_bytes": cache.max_bytes,
        "unkept_bytes": cache.unkept_bytes(),
    }
    if json:
        print_json(found)
        return
    print_table(
        ["read cache", ""],
        [
            ["folder", found["folder"]],
            ["kept", f"{counted(kept.files, 'file')}, {size(kept.bytes)} of at most {size(cache.max_bytes)}"],
            ["being read, not kept", size(found["unkept_bytes"])],
        ],
    )


def clear(json: AsJson = False) -> None:
    cache = _cache()
    cache.sweep()
    removed = cache.shelf.clear()
    if json:
        print_json(removed)
    else:
        stdout().print(f"removed {counted(removed.files, 'file')}, {size(removed.bytes)}", markup=False)


def _cache() -> ReadCache:
    from timestore_assets.settings import Settings
    from timestore_assets.storage.cache.read_cache import ReadCache

    settings = Settings.load()
    return ReadCache(settings.cache_folder, settings.query_cache_max_bytes)

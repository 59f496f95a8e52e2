"""The progress bars of `land`: bytes read of all bytes, rows a second, time left, and the files under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.cli.output import stderr

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from timestore_assets.landing.files.land_report import FileReport, LandingListener
    from timestore_assets.sources.files.input_file import InputFile


@contextmanager
def progress_bar(files: Sequence[Path | InputFile], *, shown: bool) -> Iterator[LandingListener | None]:
    """What `land` reports its progress to; None when nobody looks."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("landing", total=sum(_size(file) for file in files), rows="")
        yield LandProgress(bar, task, files=len(files))


class LandProgress:
    """Adds up what `landing` says about each file, with a line for each one under way when there are several.

    Implements `landing.files.land_report.LandingListener`.
    """

    def __init__(self, bar: Bar, task: TaskID, *, files: int) -> None:
        self._bar, self._task, self._files = bar, task, files
        self._lines: dict[str, TaskID] = {}
        self._sizes: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._done = 0

    def file_started(self, address: str, size_bytes: int) -> None:
        self._sizes[address] = size_bytes
        if self._files > 1 and address not in self._lines:
            self._lines[address] = self._bar.add_task(_name(address), total=size_bytes, rows="")
        self._show(address)

    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """`bytes_read` and `rows` so far in this file; a compressed one may have read more than its size says."""
        self._read[address] = min(bytes_read, self._sizes.get(address, bytes_read))
        self._rows[address] = rows
        self._show(address)

    def file_done(self, report: FileReport) -> None:
        self._read[report.address] = self._sizes.get(report.address, report.bytes)
        self._done += 1
        line = self._lines.pop(report.address, None)
        if line is not None:
            self._bar.remove_task(line)
        self._show(report.address)

    def _show(self, address: str) -> None:
        rows, seconds = sum(self._rows.values()), self._bar.tasks[0].elapsed or 0.0
        speed = f"{rows:,} rows, {rows / seconds:,.0f}/s" if rows and seconds else ""
        label = _name(address) if self._files == 1 else f"{min(self._done, self._files)} of {self._files} files"
        self._bar.update(self._task, completed=sum(self._read.values()), description=label, rows=speed)
        line = self._lines.get(address)
        if line is not None:
            own = self._rows.get(address, 0)
            self._bar.update(line, completed=self._read.get(address, 0), rows=f"{own:,} rows" if own else "")


def _name(address: str) -> str:
    return address.rsplit("/", 1)[-1]


def _size(file: Path | InputFile) -> int:
    try:
        return file.stat().st_size if isinstance(file, Path) else file.expected_bytes
    except OSError:
        return 0

"""What `land` shows while it works: all files together, and each one under way."""

from __future__ import annotations

from rich.progress import Progress

from timestore_assets.cli.land_progress import LandProgress
from timestore_assets.landing.files.land_report import FileReport


def landed(address: str, size: int) -> FileReport:
    return FileReport(address=address, state="landed", bytes=size)


def lines(bar: Progress) -> dict[str, tuple[float, float | None]]:
    return {task.description: (task.completed, task.total) for task in bar.tasks}


def test_several_files_have_a_line_each_while_they_are_under_way() -> None:
    with Progress(disable=True) as bar:
        shown = LandProgress(bar, bar.add_task("landing", total=300, rows=""), files=2)
        shown.file_started("in/a.csv", 100)
        shown.file_started("in/b.csv", 200)
        shown.advanced("in/a.csv", 60, 6)
        shown.advanced("in/b.csv", 500, 20)  # a compressed file may seem longer than it is
        assert lines(bar) == {"0 of 2 files": (260, 300), "a.csv": (60, 100), "b.csv": (200, 200)}
        shown.file_done(landed("in/b.csv", 200))
        assert lines(bar) == {"1 of 2 files": (260, 300), "a.csv": (60, 100)}
        assert bar.tasks[0].fields["rows"].startswith("26 rows")


def test_a_single_file_is_the_only_line() -> None:
    with Progress(disable=True) as bar:
        shown = LandProgress(bar, bar.add_task("landing", total=100, rows=""), files=1)
        shown.file_started("a.csv", 100)
        shown.file_done(landed("a.csv", 100))
        assert lines(bar) == {"a.csv": (100, 100)}

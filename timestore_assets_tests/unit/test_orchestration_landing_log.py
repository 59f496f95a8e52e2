"""What a landing run says in its log while it works."""

from __future__ import annotations

from typing import cast

import dagster as dg
import pytest

from timestore_assets.landing.files.land_report import FileReport
from timestore_assets.model.counters import Counters
from timestore_assets.orchestration.landing.landing_job import LoggedProgress


class Lines(list[str]):
    """Stands for a run's log."""

    def info(self, line: str) -> None:
        self.append(line)


@pytest.mark.parametrize(("total", "rest"), [(0, ""), (400, ", 75% of 400 bytes, about 3 s left")])
def test_rate_and_time_left_are_told_every_few_seconds_over_all_files(total: int, rest: str) -> None:
    lines, seconds = Lines(), [0.0]
    progress = LoggedProgress(cast("dg.DagsterLogManager", lines), total_bytes=total, clock=lambda: seconds[0])
    progress.file_started("a.csv", 200)
    seconds[0] = 4.0
    progress.advanced("a.csv", 100, 10)
    counters = Counters(read=20, landed=20)
    progress.file_done(FileReport(address="a.csv", state="landed", counters=counters, bytes=200))
    assert len(lines) == 2, "not before five seconds have passed"
    seconds[0] = 10.0
    progress.advanced("b.csv", 100, 30)
    assert lines[-1] == f"b.csv: 30 records, 100 bytes so far; 40 records at 4/s in all{rest}"

"""Lands files one after the other in a process of its own, builds and asks, and prints how much memory each step took at most."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandera.polars  # noqa: F401 - what is imported on first use is no part of a step's memory

from timestore_assets.landing.files.lander import Lander  # noqa: F401 - as above
from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.window import Partition
from timestore_assets.warehouse import Warehouse

PROCESS = Path("/proc/self")


def peak_of(step: Callable[[], object]) -> tuple[int, object]:
    """Bytes by which the process was larger, at most, than before the step, and what the step gave."""
    (PROCESS / "clear_refs").write_text("5")
    before = _status("VmRSS")
    try:
        result = step()
    except TimestoreError as error:
        result = f"{type(error).__name__}: {error}"
    return _status("VmHWM") - before, result


def _status(key: str) -> int:
    line = next(line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def main(dataset: str, files: list[str]) -> None:
    with Warehouse.open() as warehouse:
        for file in files:
            peak, report = peak_of(partial(warehouse.land, dataset, [Path(file)]))
            counters = getattr(report, "counters", None)
            landed = (counters.landed, counters.dead_letters) if counters else str(report)
            _say(f"land {Path(file).name}", peak, landed)
        declared, _ = warehouse.resolve(dataset)
        for partition in declared.window.between(declared.start, declared.start + timedelta(days=4)):
            peak, rows = peak_of(partial(_built, warehouse, dataset, partition))
            _say(f"build {partition.key}", peak, rows)
        question = f"SELECT count(*) AS n, max(length(c)) AS longest FROM {dataset}"
        peak, rows = peak_of(lambda: warehouse.sql(question).table().to_pylist())
        _say("query", peak, rows)


def _built(warehouse: Warehouse, dataset: str, partition: Partition) -> list[int]:
    return [report.rows for report in warehouse.build(dataset, [partition], close=True)]


def _say(step: str, peak: int, result: object) -> None:
    print(json.dumps({"step": step, "peak": peak, "result": result}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

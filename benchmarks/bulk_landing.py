"""Landing a Parquet file into hourly partitions, beside DuckDB's plain `COPY … (PARTITION_BY)` of the same file in the same run.

    python benchmarks/bulk_landing.py --rows 5_000_000

Landing includes identifying the file, validation of two columns, provenance, syncing every segment to disk and the catalog;
the plain copy does none of that. Each repetition runs in a process of its own, whose peak memory is read; the start of the
process and its imports are left out of the times and given apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

HOURS = 168
START = datetime(2024, 1, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--memory", type=int, default=700_000_000, help="DuckDB's memory limit while landing, bytes")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--worker", choices=sorted(WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _compare(options, Path(folder))


def _compare(options: argparse.Namespace, folder: Path) -> None:
    file = folder / "input.parquet"
    make_input(file, options.rows)
    print(f"{options.rows:,} rows x 7 columns, {file.stat().st_size / 1e6:.0f} MB of Parquet, {HOURS} hourly partitions")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WORKERS}
    for number in range(options.repetitions):
        for name, results in found.items():
            results.append(_spawn(options, name, file, folder / f"{name}-{number}"))
    for name, results in found.items():
        seconds = statistics.median(result["seconds"] for result in results)
        start = statistics.median(result["started"] for result in results)
        every = ", ".join(f"{result['seconds']:.2f}" for result in results)
        peak = max(result["peak_mb"] for result in results)
        speed = f"{seconds:6.2f} s  {options.rows / seconds / 1e6:5.2f} M rows/s"
        print(f"{name:5} {speed}  peak {peak:5.0f} MB  (process start {start:.2f} s; all: {every})")
    ratios = [copy["seconds"] / land["seconds"] for copy, land in zip(found["copy"], found["land"], strict=True)]
    print(f"speed of landing relative to the plain copy: {statistics.median(ratios):.2f} (median of pairs)")


def _spawn(options: argparse.Namespace, name: str, file: Path, folder: Path) -> dict[str, float]:
    folder.mkdir()
    command = [sys.executable, __file__, "--worker", name, "--rows", str(options.rows), "--memory", str(options.memory)]
    before = time.time()
    done = subprocess.run(
        [*command, "--file", str(file), "--folder", str(folder)], stdout=subprocess.PIPE, text=True, timeout=1800, check=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return {**result, "started": result["began"] - before}


def make_input(path: Path, rows: int) -> None:
    """Rows in random order over the week, so that every batch touches every partition."""
    import duckdb

    week = HOURS * 3600 * 1_000_000
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (SELECT TIMESTAMP '2024-01-01' + to_microseconds((random() * {week - 1})::BIGINT) AS ts,
                'dev' || (random() * 1000)::INT AS device, random() * 100 AS temp, (random() * 1000)::INT AS n,
                random() AS x, random() * 5 AS y, random() > 0.5 AS ok FROM range({rows})) TO '{path}' (FORMAT parquet)"""
        )


def _copy(options: argparse.Namespace) -> dict[str, float]:
    import duckdb

    def work() -> None:
        with duckdb.connect() as con:
            con.execute(
                f"COPY (SELECT *, date_trunc('hour', ts) AS w FROM '{options.file}') TO '{options.folder / 'out'}'"
                " (FORMAT parquet, PARTITION_BY (w))"
            )

    return _measured(work)


def _land(options: argparse.Namespace) -> dict[str, float]:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.landing.files.lander import Lander
    from timestore_assets.model.dataset import Dataset, FileSource
    from timestore_assets.model.schema import Checks, Column, Schema
    from timestore_assets.model.types import parse_type
    from timestore_assets.model.window import Window
    from timestore_assets.segments.engine import EngineLimits
    from timestore_assets.segments.publishing import WriteContext
    from timestore_assets.sources.folders import local_file
    from timestore_assets.storage.local import LocalStore
    from timestore_assets.storage.targets import Storage

    kinds = {"ts": "timestamp", "device": "string", "temp": "double", "n": "int32", "x": "double", "y": "double", "ok": "bool"}
    checks = {"temp": Checks(ge=-60, le=140), "n": Checks(ge=0)}
    columns = tuple(Column(name=name, type=parse_type(kind), checks=checks.get(name, Checks())) for name, kind in kinds.items())
    dataset = Dataset(name="bulk", schema=Schema(columns=columns), time="ts", start=START, window=Window.HOUR)
    folder: Path = options.folder
    catalog = Catalog.open(f"sqlite:///{folder / 'catalog.db'}")
    store = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
    limits = EngineLimits(memory_bytes=options.memory, threads=2, temp_dir=folder / "temp")
    source = FileSource(prefix="inbox")

    def work() -> None:
        lander = Lander(WriteContext(catalog=catalog, storage=Storage.of(store), limits=limits, holder="benchmark"))
        report = lander.land_files(dataset, source, [local_file(options.file, folder)], actor="benchmark")
        assert report.counters.landed == options.rows, report

    return _measured(work)


def _measured(work: Callable[[], None]) -> dict[str, float]:
    began, started = time.time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return {"began": began, "seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


WORKERS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {"copy": _copy, "land": _land}


if __name__ == "__main__":
    main()

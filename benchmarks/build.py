"""How much a build costs: of large partitions beside `ORDER BY` + `COPY` by hand, and of many small ones.

    python benchmarks/build.py [--days 3] [--rows 864000] [--small 1416] [--small-rows 100] [--repeats 3]
    python benchmarks/build.py --days 0          only the small ones

* large: days of `--rows` rows of 21 columns, as TSBS's cpu-only data has them (ten tags, ten values, 100 hosts), landed and then
  built; by hand DuckDB sorts the same file and writes it, with the same threads. Both as Parquet and as `.duckdb`;
* small: hours of `--small-rows` rows of 5 columns, built by one process, in partitions a second and milliseconds of CPU each.

Prints medians and ratios; by hand and ours take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb

from timestore_assets.model.dataset import Dataset, SegmentPolicy
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import SegmentFormat
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP, literal
from timestore_assets.model.window import Partition, Window
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

START = datetime(2024, 1, 1, tzinfo=UTC)
HOSTS = 100
TAGS = [f"tag{number}" for number in range(10)]
VALUES = [f"value{number}" for number in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--rows", type=int, default=864_000)
    parser.add_argument("--small", type=int, default=1_416)
    parser.add_argument("--small-rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    formats: tuple[SegmentFormat, ...] = ("parquet", "duckdb")
    for format in formats if options.days else ():
        _large(options, format)
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            _small(options, Path(folder))


def _large(options: argparse.Namespace, format: SegmentFormat) -> None:
    ours: list[float] = []
    by_hand: list[float] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            _days(options, Path(folder), format, ours, by_hand)
    mine, hand = statistics.median(ours), statistics.median(by_hand)
    print(f"large, {format}: by hand {hand:.2f} s, build {mine:.2f} s: {hand / mine:.2f} of by hand", flush=True)


def _days(options: argparse.Namespace, folder: Path, format: SegmentFormat, ours: list[float], by_hand: list[float]) -> None:
    with duckdb.connect() as con, _opened(folder, _cpu(format)) as warehouse:
        con.execute(f"SET TimeZone='UTC'; SET threads={warehouse.limits.threads}")
        files = [_write_day(con, folder, day, options.rows) for day in range(options.days)]
        warehouse.land("cpu", files)
        for day, file in enumerate(files):
            partition = Partition(window=Window.DAY, start=START + timedelta(days=day))
            ours.append(_timed(partial(_build, warehouse, "cpu", [partition])))
            by_hand.append(_timed(partial(_by_hand, con, file, folder / f"hand{day}", format)))


def _build(warehouse: Warehouse, name: str, partitions: Sequence[Partition]) -> None:
    for report in warehouse.build(name, partitions, close=True):
        assert report.outcome == "built", report


def _by_hand(con: duckdb.DuckDBPyConnection, file: Path, to: Path, format: SegmentFormat) -> None:
    rows = f"SELECT * FROM {literal(str(file))} ORDER BY tag0, ts"
    if format == "parquet":
        con.execute(f"COPY ({rows}) TO {literal(str(to))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
        return
    con.execute(f"ATTACH {literal(str(to))} AS hand")
    con.execute(f"CREATE TABLE hand.segment AS {rows}")
    con.execute("DETACH hand")


def _write_day(con: duckdb.DuckDBPyConnection, folder: Path, day: int, rows: int) -> Path:
    path = folder / f"day{day}.parquet"
    tags = ", ".join(f"'{tag}_' || (n % {HOSTS})::VARCHAR AS {tag}" for tag in TAGS)
    values = ", ".join(
        f"(hash(n + {number} * 7_777_777 + {day}) % 100)::DOUBLE AS {value}" for number, value in enumerate(VALUES)
    )
    began = literal(f"{START + timedelta(days=day):%Y-%m-%d}")
    seconds = 86_400 * HOSTS // rows
    con.execute(
        f"COPY (SELECT TIMESTAMP {began} + (n // {HOSTS}) * INTERVAL {seconds} SECOND AS ts, {tags}, {values} "
        f"FROM range({rows}) numbers(n)) TO {literal(str(path))} (FORMAT parquet)"
    )
    return path


def _small(options: argparse.Namespace, folder: Path) -> None:
    path = folder / "hours.parquet"
    rows = options.small * options.small_rows
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT TIMESTAMP '2024-01-01' + n * INTERVAL {3_600_000 // options.small_rows} MILLISECOND AS ts, "
            f"'device_' || (n % 10)::VARCHAR AS device, random() AS value, random() AS flow, n % 7 AS status "
            f"FROM range({rows}) numbers(n)) TO {literal(str(path))} (FORMAT parquet)"
        )
    partitions = [Partition(window=Window.HOUR, start=START + timedelta(hours=hour)) for hour in range(options.small)]
    with _opened(folder, _hours()) as warehouse:
        warehouse.land("hours", [path])
        began = time.process_time()
        seconds = _timed(partial(_build, warehouse, "hours", partitions))
        each = (time.process_time() - began) / options.small * 1000
    rate = options.small / seconds
    print(f"small, {options.small} of {options.small_rows} rows: {rate:.0f} partitions/s, {each:.1f} ms CPU each", flush=True)


def _opened(folder: Path, dataset: Dataset) -> Warehouse:
    return Warehouse.open(Settings(home=folder / "home"), datasets={dataset.name: dataset})


def _cpu(format: SegmentFormat) -> Dataset:
    columns = [Column(name="ts", type=TIMESTAMP)]
    columns += [Column(name=name, type=STRING) for name in TAGS] + [Column(name=name, type=DOUBLE) for name in VALUES]
    return Dataset(
        name="cpu",
        schema=Schema(columns=tuple(columns)),
        time="ts",
        start=START,
        partition_by=("tag0",),
        segments=SegmentPolicy(format=format),
    )


def _hours() -> Dataset:
    kinds = {"ts": TIMESTAMP, "device": STRING, "value": DOUBLE, "flow": DOUBLE, "status": INT64}
    columns = tuple(Column(name=name, type=kind) for name, kind in kinds.items())
    return Dataset(name="hours", schema=Schema(columns=columns), time="ts", start=START, window=Window.HOUR)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

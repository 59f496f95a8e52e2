"""What it takes to plan over many segments, in processes that have read nothing before.

    python benchmarks/planning.py [--segments 10000 100000] [--database postgresql://…]

A catalog gets that many sealed segments, of four keys an hour, straight into its tables; there are no files. Each question is
planned in a new process with an open catalog: the first time, again with only the segments known, and another day after it.
Printed are milliseconds of wall and of CPU time, and how much larger the process has become.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.stored_segments import stats_text
from timestore_assets.catalog.tables import datasets, segment_stats, segments
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats
from timestore_assets.model.types import DOUBLE, STRING, TIMESTAMP
from timestore_assets.model.window import Window
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage

START, HOUR, DAY = datetime(2010, 1, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)
KEYS = tuple(f"device-{number:03d}" for number in range(4))
SCHEMA = Schema(
    columns=(
        Column(name="device", type=STRING),
        Column(name="ts", type=TIMESTAMP),
        Column(name="value", type=DOUBLE, nullable=True),
    )
)
MANY = Dataset(
    name="many",
    schema=SCHEMA,
    time="ts",
    start=START,
    window=Window.HOUR,
    partition_by=("device",),
    dedupe=Dedupe(keys=("device", "ts")),
)
QUESTIONS: dict[str, dict[str, Any]] = {
    "one day": {"start": START + 30 * DAY, "end": START + 31 * DAY},
    "one key of all": {"where": f"device = '{KEYS[2]}'"},
    "one key of a year": {"start": START, "end": START + 365 * DAY, "where": f"device = '{KEYS[2]}'"},
    "all": {},
    "first rows of all": {"limit": 100},
    "last rows of all": {"limit": 100, "descending": True},
}
LATER = {"start": START + 60 * DAY, "end": START + 61 * DAY}
PAGE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--database", help="an empty one; SQLite in a temporary folder by default, with one size alone else")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _measure(options.database, options.child)
        return
    for number in options.segments:
        with tempfile.TemporaryDirectory() as folder:
            url = options.database or f"sqlite:///{folder}/catalog.sqlite"
            _fill(url, number)
            print(f"{number:,} segments    {'first':>16} {'again':>16} {'a day after':>16}   milliseconds, of CPU in brackets")
            for name in QUESTIONS:
                command = [sys.executable, __file__, "--database", url, "--child", name]
                print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def _fill(url: str, number: int) -> None:
    with closing(Catalog.open(url)) as catalog:
        record = catalog.datasets.register(MANY, actor="benchmark")
        listed = [_row(record, i) for i in range(number)]
        stats = [{"segment_id": row["id"], "stats": _stats(i)} for i, row in enumerate(listed)]

        def insert(connection: Connection) -> None:
            for first in range(0, number, 10_000):
                connection.execute(segments.insert(), listed[first : first + 10_000])
                connection.execute(segment_stats.insert(), stats[first : first + 10_000])
            connection.execute(datasets.update().where(datasets.c.id == record.id).values(manifest_version=1))

        catalog.manifest._database.write(insert)


def _row(record: DatasetRecord, i: int) -> dict[str, Any]:
    start = to_micros(START + i // len(KEYS) * HOUR)
    return {
        "id": i + 1,
        "dataset_id": record.id,
        "partition_start": start,
        "name": f"many/{START + i // len(KEYS) * HOUR:%Y-%m-%dT%H}/sealed-{i}-0-{i:08x}.parquet",
        "kind": "sealed",
        "format": "parquet",
        "storage": "default",
        "rows": 1_000,
        "bytes": 20_000,
        "min_time": start + 1,
        "max_time": start + 3_599_000_000,
        "schema_version": 1,
        "level": 0,
        "semantic_key": json.dumps([KEYS[i % len(KEYS)]]),
        "sorted_by": json.dumps(["device", "ts"]),
        "deduplicated": True,
        "source_ids": str(i % 100 + 1),
        "content_hash": f"q1f3a:{i:032x}",
        "added_version": 1,
        "added_at": 0,
        "sha256": f"{i:064x}",
    }


def _stats(i: int) -> str:
    key, at = KEYS[i % len(KEYS)], (START + i // len(KEYS) * HOUR).replace(tzinfo=None)
    times = ColumnStats(min=at.isoformat(), max=(at + HOUR).isoformat())
    return stats_text({"device": ColumnStats(min=key, max=key), "ts": times, "value": ColumnStats(min=0.0, max=1.5 * i, nulls=3)})


def _measure(url: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as place, closing(Catalog.open(url)) as catalog:
        folder = Path(place)
        record = catalog.datasets.register(MANY, actor="benchmark")
        storage = Storage.of(LocalStore(folder, staging_root=folder / ".staging"))
        limits = EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=folder)
        querier = Querier(catalog, storage, limits, holder="benchmark")
        querier.plan(
            MANY, record, Question(dataset="many", start=START - DAY, end=START)
        )  # nothing: what is loaded once is loaded
        before, question = _resident(), Question(dataset="many", **QUESTIONS[name])
        first = _timed(lambda: _planned(querier, record, question))
        more = _resident() - before
        querier._planner._plans.clear()
        querier._planner._listed.clear()
        again = _timed(lambda: _planned(querier, record, question))
        later = _timed(lambda: querier.plan(MANY, record, Question(dataset="many", **LATER)))
        shown = " ".join(f"{wall:8.1f} ({cpu:5.1f})" for wall, cpu in (first, again, later))
        print(f"{name:20} {shown}   +{more / 1e6:.0f} MB", flush=True)
        querier.close()


def _planned(querier: Querier, record: DatasetRecord, question: Question) -> Sequence[object]:
    """What is done before the first file is opened."""
    if question.limit is None:
        return querier.plan(MANY, record, question).whole.segments
    with querier.ask(MANY, record, question) as answer:
        steps = answer._batches.gi_frame.f_locals["self"].plan.steps(limit=question.limit, descending=question.descending)
        return next(steps).segments


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    main()

"""A rename, a transform and a drop over many partitions: the cut-over, questions before, during and after it, and the rewrite.

    python benchmarks/migration.py --rows 20_000_000 --partitions 200

Questions go on all the time, in threads of their own. Each must be wholly of before or wholly of after: by names of before, by
names of after, or refused for a name that there is not. Rewriting runs in processes that are killed twice on the way. The cost
of a question over what is not rewritten yet stands beside that of the same question afterwards, in the same run. At the end all
is rolled back and forward again, by content hashes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Aggregate, Question
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

START = datetime(2024, 1, 1, tzinfo=UTC)
NAME = "telemetry"
THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        _rewrite(options.build, options.partitions)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _run(options, Path(folder))


def declared(partitions: int) -> Dataset:
    kinds = {"ts": "timestamp", "device": "string", "temp_f": "double?", "code": "int64?", "note": "string?"}
    columns = tuple(Column(name=n, type=parse_type(k.rstrip("?")), nullable=k.endswith("?")) for n, k in kinds.items())
    end = START + timedelta(days=partitions)
    schema = Schema(columns=columns)
    return Dataset(name=NAME, schema=schema, time="ts", start=START, end=end, sources=(FileSource(prefix="inbox"),))


def opened(home: Path, partitions: int) -> Warehouse:
    dataset = declared(partitions)
    return Warehouse.open(Settings(home=home), datasets={dataset.name: dataset})


MANIFEST: dict[str, Any] = {
    "dataset": NAME,
    "governance": {"ticketId": "BENCH-1", "approvedBy": "benchmark"},
    "operations": [
        {"rename": {"from": "code", "to": "status"}},
        {"rename": {"from": "temp_f", "to": "temp_c", "expression": "(temp_f - 32) / 1.8"}},
        {"drop": {"column": "note", "archive": False}},
    ],
    "execution": {"dryRun": False},
}


def _run(options: argparse.Namespace, home: Path) -> None:
    from timestore_assets.migrating.manifest_file import manifest_of

    print(f"{os.cpu_count()} cores, {options.rows:,} rows, {options.partitions} partitions")
    with opened(home, options.partitions) as warehouse:
        file = _input(home / "input.parquet", options)
        began = time.perf_counter()
        warehouse.land(NAME, [file])
        dataset, record = warehouse.resolve(NAME)
        parts = dataset.partitions_between(None, None, datetime.now(UTC))
        for _ in warehouse.build(NAME, parts, close=True):
            pass
        hashes, version = _hashes(warehouse), warehouse.resolve(NAME)[1].manifest_version
        print(f"landed and built in {time.perf_counter() - began:.1f} s")
        asking = Asking(home, options.partitions)
        with asking:
            asking.wait_for(50)
            manifest = manifest_of(MANIFEST)
            began = time.perf_counter()
            tried = warehouse.try_migration(manifest)
            print(f"dry run over all rows: {time.perf_counter() - began:.1f} s, refusals: {list(tried.refusals)}")
            cut = _cut_over(warehouse, record.id, manifest)
            print(f"cut-over: {cut * 1000:.1f} ms")
            asking.wait_for(50)
            before = [_ask_cost(warehouse) for _ in range(options.repetitions)]
            _rewritten(options, home)
            asking.wait_for(50)
        after = [_ask_cost(warehouse) for _ in range(options.repetitions)]
        print(f"questions meanwhile: {dict(asking.seen)}, halves: {asking.halves}")
        print(
            f"a question over unmigrated segments: {statistics.median(before) * 1000:.0f} ms, rewritten: "
            f"{statistics.median(after) * 1000:.0f} ms, ratio {statistics.median(before) / statistics.median(after):.2f}"
        )
        migrated, to = _hashes(warehouse), warehouse.resolve(NAME)[1].manifest_version
        for name, target, expected in (("back", version, hashes), ("forward again", to, migrated)):
            began = time.perf_counter()
            warehouse.rollback(NAME, target)
            took = time.perf_counter() - began
            print(f"rolled {name} in {took * 1000:.0f} ms, hashes as they were: {_hashes(warehouse) == expected}")


def _input(path: Path, options: argparse.Namespace) -> Path:
    import duckdb

    span = options.partitions * 86_400_000_000
    with duckdb.connect() as con:
        con.execute(
            f"""COPY (
                SELECT TIMESTAMP '{START:%Y-%m-%d}' + to_microseconds(CAST(i * ({span} // {options.rows}) AS BIGINT)) AS ts,
                    'device-' || (i % 1000) AS device,
                    CASE WHEN i % 50 > 0 THEN 32 + (i % 700) / 10.0 END AS temp_f, i % 7 AS code, 'note ' || (i % 13) AS note
                FROM range({options.rows}) t(i)
            ) TO '{path}' (FORMAT parquet)"""
        )
    return path


def _cut_over(warehouse: Warehouse, dataset_id: int, manifest: Any) -> float:
    """Seconds of the transaction alone."""
    from timestore_assets.catalog.schema_migrations import MigrationOrder
    from timestore_assets.migrating.applying import apply
    from timestore_assets.migrating.declaration_changes import redeclared
    from timestore_assets.querying.planning import syntax

    con = syntax.parser()
    order = MigrationOrder(
        manifest=manifest.plain,
        digest=manifest.digest,
        ticket="BENCH-1",
        approved_by="benchmark",
        base=warehouse.catalog.migrations.state(dataset_id).schema,
        actor="benchmark",
    )
    began = time.perf_counter()
    warehouse.catalog.migrations.cut_over(dataset_id, order, lambda state: apply(con, state, manifest).migrated, redeclared)
    return time.perf_counter() - began


class Asking:
    """Questions in threads of their own, each looked at for being wholly of one version."""

    def __init__(self, home: Path, partitions: int) -> None:
        self._home, self._partitions = home, partitions
        self.seen: Counter[str] = Counter()
        self.halves = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._go_on, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        target = sum(self.seen.values()) + more
        deadline = time.monotonic() + 600
        while sum(self.seen.values()) < target:
            if time.monotonic() > deadline:
                raise TimeoutError("questions are not answered")
            time.sleep(0.05)

    def _go_on(self, number: int) -> None:
        with opened(self._home, self._partitions) as warehouse:
            day = number
            while not self._stop.is_set():
                day = (day + 17) % self._partitions
                start = START + timedelta(days=day)
                question = Question(dataset=NAME, start=start, end=start + timedelta(days=1), limit=1000)
                with warehouse.ask(question) as answer:
                    table = answer.table()
                self._look_at(table.column_names, table.to_pydict())
                self._by_name(warehouse, start)

    def _look_at(self, names: list[str], values: dict[str, list[Any]]) -> None:
        old, new = {"temp_f", "code", "note"}, {"temp_c", "status"}
        kind = (
            "old" if old <= set(names) and not new & set(names) else "new" if new <= set(names) and not old & set(names) else ""
        )
        temps = [one for one in values["temp_f" if kind == "old" else "temp_c"] if one is not None] if kind else []
        right = (kind == "old" and max(temps) > 60) or (kind == "new" and max(temps) <= 60 and None not in values["status"])
        with self._lock:
            self.seen[kind or "mixed"] += 1
            self.halves += not right

    def _by_name(self, warehouse: Warehouse, start: datetime) -> None:
        for name in ("temp_f", "temp_c"):
            asked = Question(
                dataset=NAME, start=start, end=start + timedelta(days=1), aggregates=(Aggregate(fn="max", column=name),)
            )
            try:
                with warehouse.ask(asked) as answer:
                    highest = answer.table().column(0)[0].as_py()
            except InputError:
                kind = "refused"
            else:
                kind = f"by {name}"
                with self._lock:
                    self.halves += not (highest > 60 if name == "temp_f" else highest <= 60)
            with self._lock:
                self.seen[kind] += 1


def _ask_cost(warehouse: Warehouse) -> float:
    aggregates = (Aggregate(fn="avg", column="temp_c"), Aggregate(fn="max", column="status"))
    began = time.perf_counter()
    with warehouse.ask(Question(dataset=NAME, every=timedelta(days=1), aggregates=aggregates)) as answer:
        answer.table()
    return time.perf_counter() - began


def _rewritten(options: argparse.Namespace, home: Path) -> None:
    """Let a process rewrite, and kill it on the way so many times."""
    began, kills = time.perf_counter(), 0
    while True:
        command = [sys.executable, __file__, "--build", str(home), "--partitions", str(options.partitions)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done += json.loads(line)["outcome"] == "built"
            if kills < options.kills and done >= options.partitions // (options.kills + 2):
                os.kill(process.pid, signal.SIGKILL)
                break
        if process.wait(600) == 0:
            break
        kills += 1
    print(f"rewritten in {time.perf_counter() - began:.1f} s, killed {kills} times on the way")


def _rewrite(home: Path, partitions: int) -> None:
    from timestore_assets.building.schema_rewrites import outdated_partitions

    with opened(home, partitions) as warehouse:
        dataset, record = warehouse.resolve(NAME)
        starts = set(outdated_partitions(warehouse.catalog, record))
        parts = [one for one in dataset.partitions_between(None, None, datetime.now(UTC)) if one.start in starts]
        for report in warehouse.build(NAME, parts, close=True):
            print(json.dumps({"partition": report.partition.key, "outcome": report.outcome}), flush=True)


def _hashes(warehouse: Warehouse) -> dict[str, str | None]:
    return {one.partition.key: one.content_hash for one in warehouse.partitions(NAME)}


if __name__ == "__main__":
    main()

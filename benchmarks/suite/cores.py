"""What more cores do: one core beside all of them, and processes side by side. `python -m benchmarks.suite.cores`

* one core (`taskset -c 0`, one thread) and all: landing, sealing and three queries that read much, of this project and DuckDB;
* builds of one dataset's days by one process and by two, each with one thread;
* sessions of a topic, one and two, each with half of its partitions.

Printed are the times with one divided by those with more, of the wall clock: 2 is all that two cores can give, and less where the
machine does other work. The processor's time tells what working side by side costs: as much in all as one alone, or more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.suite.cpu_data import START, CpuData
from benchmarks.suite.cpu_queries import drawn
from benchmarks.suite.environments import Environment
from benchmarks.suite.figures import median
from benchmarks.suite.machine import machine
from benchmarks.suite.streams import PARTITIONS, TOPIC
from benchmarks.suite.workers import ROOT, worker

QUERIES = ("double-groupby-all", "high-cpu-all", "groupby-orderby-limit")
BUILD = """
import sys, time
from pathlib import Path
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from benchmarks.suite.engines.own import dataset
home, number, of = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Warehouse.open(Settings(home=home, threads=1), datasets={"cpu": dataset("cpu", "day", "auto")}) as warehouse:
    days = sorted((one.partition for one in warehouse.partitions("cpu")), key=lambda day: day.start)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    for report in warehouse.build("cpu", days[number::of], close=True):
        assert report.outcome == "built", report
    print(time.process_time() - began)
"""
SESSION = """
import sys, time
from timestore_assets.landing.topics import streamer
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.warehouse import Warehouse
number, of = int(sys.argv[2]), int(sys.argv[3])
with Warehouse.open() as warehouse:
    (source,) = warehouse.declared("metrics").kafka_sources
    warehouse.resolve("metrics")
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    assert warehouse.stream("metrics", source, shard=Shard(index=number, of=of)).counters.landed
    print(time.process_time() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary).resolve()
        for part in options.parts:
            PARTS[part](options, folder)


def _one_and_all(options: argparse.Namespace, folder: Path) -> None:
    data, file = CpuData(rows=options.rows), folder / "cpu.parquet"
    data.write(file, "parquet")
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(options.rounds):
        for engine in ("timestore", "duckdb"):
            for cores, prefix, settings in (("one", ("taskset", "-c", "0"), {"TIMESTORE_THREADS": "1"}), ("all", (), {})):
                with worker(engine, Environment(), within=folder, prefix=prefix, **settings) as own:
                    found.setdefault((engine, "landing", cores), []).append(own.load(file, "parquet")["seconds"])
                    found.setdefault((engine, "sealing", cores), []).append(own.settle()["seconds"])
                    for name in QUERIES:
                        query = drawn(name, 0, hosts=data.hosts, start=START, end=data.end)
                        own.ask(query, "first")
                        told = [own.ask(query, str(number))[0]["seconds"] for number in range(5)]
                        found.setdefault((engine, name, cores), []).append(median(told))
    for engine, what, cores in found:
        if cores == "one":
            one, all = (median(found[engine, what, which]) for which in ("one", "all"))
            print(f"{engine:10} {what:24} {one:8.3f} s with one core, {all:8.3f} s with all: {one / all:.2f}", flush=True)


def _builds(options: argparse.Namespace, folder: Path) -> None:
    from benchmarks.suite.engines.own import Own

    data, file = CpuData(rows=options.rows * 2), folder / "more.parquet"
    data.write(file, "parquet")
    (folder / "ground").mkdir()
    own = Own(folder / "ground", "auto")
    own.load(file, "parquet", "day")
    own.close()

    def prepared(number: int) -> Path:
        home = folder / f"builds{number}"
        shutil.copytree(folder / "ground" / "home", home)
        return home

    _side_by_side("builds", BUILD, prepared, options.rounds)


def _sessions(options: argparse.Namespace, folder: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from benchmarks.streaming_ground import fill, make_home
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    with KafkaCluster(1, folder=folder / "kafka", heap="512m") as cluster:
        cluster.create_topic(TOPIC, PARTITIONS)
        fill(cluster.bootstrap, TOPIC, options.records, PARTITIONS)

        def prepared(number: int) -> Path:
            home = folder / f"sessions{number}"
            make_home(home, cluster.bootstrap)
            return home

        _side_by_side("sessions", SESSION, prepared, options.rounds)


def _side_by_side(what: str, script: str, prepared: Callable[[int], Path], rounds: int) -> None:
    """One process that does all, and two that do half each, in turns over homes of the same content."""
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for number in range(rounds * 2):
        of = 1 + number % 2
        home = prepared(number)
        environ: dict[str, Any] = os.environ | {"TIMESTORE_HOME": str(home), "PYTHONPATH": str(ROOT), "TIMESTORE_THREADS": "1"}
        command = [sys.executable, "-c", script, str(home)]
        processes = [
            subprocess.Popen(
                [*command, str(index), str(of)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
            )
            for index in range(of)
        ]
        try:
            found[of].append(_together(processes))
        finally:
            for process in processes:
                process.kill()
                process.communicate(timeout=60)
            shutil.rmtree(home, ignore_errors=True)
    (one, one_cpu), (two, two_cpu) = ([median(values) for values in zip(*found[of], strict=True)] for of in (1, 2))
    print(f"{what:10} by one process {one:6.2f} s, by two {two:6.2f} s: {one / two:.2f}", flush=True)
    print(f"{what:10} processor's time {one_cpu:6.2f} s, by two in all {two_cpu:6.2f} s: {one_cpu / two_cpu:.2f}", flush=True)


def _together(processes: list[subprocess.Popen[str]]) -> tuple[float, float]:
    """Let all begin once all are ready; seconds until the last has ended, and of the processor in all."""
    for process in processes:
        assert process.stdout is not None and process.stdin is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("a process did not start")
    began = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        if process.wait(timeout=600):
            raise SystemExit(f"a process ended with {process.returncode}")
    seconds = time.perf_counter() - began
    # DuckDB may have drawn its progress before the last line
    texts = [process.stdout.read() for process in processes if process.stdout is not None]
    return seconds, sum(float(text.split()[-1]) for text in texts)


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "one and all": _one_and_all,
    "builds": _builds,
    "sessions": _sessions,
}

if __name__ == "__main__":
    main()

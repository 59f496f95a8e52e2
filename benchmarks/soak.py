"""A steady stream through the sensor and the daemon for minutes: is lag bounded, memory flat, every record accounted for?

    python benchmarks/soak.py --rate 5_000 --minutes 10 --backlog 0
    python benchmarks/soak.py --rate 0 --backlog 10_000_000 --partitions 12

A real Apache Kafka broker, a producer, and Dagster's daemon, whose sensor starts the sessions; nothing is started by hand. With
a backlog, the records are there before the daemon starts, so that the number of sessions follows the lag. Everything shares
this machine and stops by itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streaming_ground import fill, make_home, records

TOPIC = "metrics"
SAMPLE_SECONDS = 5.0
SETTLE_SECONDS = 240.0
LONG_LIVED = 8
"""Samples from which on a run is taken for a session; builds are shorter."""


@dataclass(kw_only=True)
class Samples:
    lag: list[int] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    peaks_mb: dict[int, list[float]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--backlog", type=int, default=0)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _run(options, Path(folder))


def _run(options: argparse.Namespace, folder: Path) -> None:
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    total = options.backlog + int(options.rate * options.minutes * 60)
    with KafkaCluster(1, folder=folder) as cluster:
        cluster.create_topic(TOPIC, options.partitions)
        make_home(folder / "home", cluster.bootstrap)
        if options.backlog:
            seconds = fill(cluster.bootstrap, TOPIC, options.backlog, options.partitions)
            print(f"{options.backlog:,} records wait in {options.partitions} partitions (written in {seconds:.0f} s)", flush=True)
        with _daemon(folder / "daemon.log"):
            producing = threading.Thread(target=_produce, args=(cluster.bootstrap, options), daemon=True)
            producing.start()
            began = time.monotonic()
            samples = _watch(total, producing, limit=options.minutes * 60 + SETTLE_SECONDS)
            took = time.monotonic() - began
    _report(total, samples, took)


@contextmanager
def _daemon(log: Path) -> Iterator[None]:
    from timestore_assets.cli.dagster_processes import Child, dagster_command, prepare_home, project_folder, running
    from timestore_assets.settings import Settings

    project = project_folder()
    environment = prepare_home(Settings.load(), project)
    command = dagster_command("dagster-daemon", "run", "-w", str(project / "workspace.yaml"))
    with running(Child("dagster-daemon", command, environment=environment, folder=project, log=log)):
        yield


def _produce(servers: str, options: argparse.Namespace) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20})
    began = time.monotonic()
    wanted = int(options.rate * options.minutes * 60)
    for number, record in enumerate(records(options.backlog + wanted)):
        if number < options.backlog:
            continue
        late = began + (number - options.backlog) / options.rate - time.monotonic()
        producer.poll(max(0.0, late) if late > 0.005 else 0)
        producer.produce(TOPIC, record, partition=number % options.partitions)
    producer.flush(60)


def _watch(total: int, producing: threading.Thread, *, limit: float) -> Samples:
    from timestore_assets.warehouse import Warehouse

    samples, end = Samples(), time.monotonic() + limit
    with Warehouse.open() as warehouse:
        (source,) = warehouse.declared("metrics").kafka_sources
        while time.monotonic() < end:
            status = warehouse.status("metrics")
            (topic,) = status.sources
            read, totals = topic.record.counters.read, status.totals
            samples.lag.append(topic.lag if topic.lag is not None else -1)
            if topic.record.paused:
                samples.paused.add(topic.record.paused)
            held = {one.held_by for one in warehouse.lag("metrics", source).partitions} - {None}
            samples.sessions.append(len(held))
            for process, rss in _session_processes().items():
                samples.peaks_mb.setdefault(process, []).append(rss)
            if len(samples.lag) % 6 == 0:
                rss = ", ".join(f"{found[-1]:.0f}" for found in samples.peaks_mb.values())
                line = f"read {read:,}, lag {samples.lag[-1]:,}, {len(held)} sessions, {totals.partitions} partitions"
                print(f"  {line}, {totals.unbuilt_rows:,} unbuilt, run processes {rss} MB", flush=True)
            if read >= total and not producing.is_alive() and not held:
                break
            time.sleep(SAMPLE_SECONDS)
        with warehouse.sql("SELECT count(*), count(DISTINCT count) FROM metrics") as answer:
            stored = [column[0].as_py() for column in answer.table().columns]
        print(f"stored and distinct: {stored}, wanted {total:,}; {warehouse.status('metrics').sources[0]}")
        if stored != [total, total]:
            raise SystemExit("not every record is stored exactly once")
    return samples


def _session_processes() -> dict[int, float]:
    """Resident megabytes of the processes of Dagster runs, which its code server spawns, by process id."""
    found = subprocess.run(["ps", "-eo", "pid,rss,args"], capture_output=True, text=True, timeout=10, check=True).stdout
    lines = [line.split(None, 2) for line in found.splitlines()[1:]]
    return {int(pid): int(rss) / 1000 for pid, rss, arguments in lines if "spawn_main" in arguments}


def _report(total: int, samples: Samples, took: float) -> None:
    lags = sorted(samples.lag)
    print(f"{total:,} records in {took:.0f} s on {os.cpu_count()} cores, {sys.version.split()[0]}")
    print(f"lag: median {statistics.median(lags):,.0f}, 95 % {lags[int(len(lags) * 0.95)]:,}, most {lags[-1]:,}")
    print(f"sessions at a time: {samples.sessions}")
    for process, found in samples.peaks_mb.items():
        if len(found) < LONG_LIVED:  # a build
            continue
        third = max(1, len(found) // 3)
        first, last = statistics.median(found[:third]), statistics.median(found[-third:])
        print(f"run process {process}: {first:.0f} MB in its first third, {last:.0f} MB in its last, most {max(found):.0f} MB")
    print(f"paused: {sorted(samples.paused) or 'never'}")


if __name__ == "__main__":
    main()

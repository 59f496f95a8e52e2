"""A backlog on a real Apache Kafka broker, landed by one session, beside a bare `Consumer.consume` loop that only counts.

    python benchmarks/streaming.py --records 5_000_000

Landing includes decoding, validation of a column, provenance, syncing every segment to disk and the catalog: when it ends, every
record can be queried. Each repetition runs in a process of its own on the same topic; what a process needs to start is left out
of both times. The broker shares the machine, so both figures are what is left of it. `small` is the bare loop with 500 messages a
call in place of 20,000: the least that the client costs, since its messages are gone before the interpreter looks for garbage.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from streaming_ground import fill, make_home

TOPIC = "metrics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=5_000_000)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--worker", choices=("bare", "small", "land"), help=argparse.SUPPRESS)
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _compare(options, Path(folder))


def _compare(options: argparse.Namespace, folder: Path) -> None:
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    with KafkaCluster(1, folder=folder, heap="512m") as cluster:
        cluster.create_topic(TOPIC, options.partitions)
        seconds = fill(cluster.bootstrap, TOPIC, options.records, options.partitions)
        print(f"{options.records:,} records in {options.partitions} partitions, filled in {seconds:.0f} s", flush=True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in WORKERS}
        for number in range(options.repetitions):
            for name, results in found.items():
                results.append(_spawn(options, name, cluster.bootstrap, folder / f"{name}-{number}"))
    for name, results in found.items():
        seconds = statistics.median(result["seconds"] for result in results)
        every = ", ".join(f"{result['seconds']:.2f}" for result in results)
        cpu = statistics.median(result["cpu"] for result in results) / options.records * 1e6
        peak = max(result["peak_mb"] for result in results)
        speed = f"{seconds:6.2f} s  {options.records / seconds:11,.0f} records/s  {cpu:.2f} core-µs a record"
        print(f"{name:5} {speed}  peak {peak:5.0f} MB  (all: {every})")
    for measure, what in (("seconds", "speed"), ("cpu", "processor's time")):
        for name in ("bare", "small"):
            ratios = [peer[measure] / land[measure] for peer, land in zip(found[name], found["land"], strict=True)]
            print(f"{what} of {name} to landing: {statistics.median(ratios):.2f} (median of pairs)")
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


def _spawn(options: argparse.Namespace, name: str, servers: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", name, "--servers", servers, "--records", str(options.records)]
    command += ["--partitions", str(options.partitions), "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=900, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _bare(options: argparse.Namespace, a_call: int = 20_000) -> dict[str, float]:
    from confluent_kafka import Consumer, TopicPartition

    # by default it rests for a second whenever its queue is full, which would make it look slow
    queue = {"queued.min.messages": 200_000, "fetch.queue.backoff.ms": 50}
    consumer = Consumer({"bootstrap.servers": options.servers, "group.id": "bare", "enable.auto.commit": False, **queue})
    began, spent = time.monotonic(), time.process_time()
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(options.partitions)])
    got = 0
    while got < options.records:
        got += len(consumer.consume(a_call, 1.0))
    result = _measured(began, spent)
    consumer.close()
    return result


def _land(options: argparse.Namespace) -> dict[str, float]:
    make_home(options.folder, options.servers)
    import pandas  # noqa: F401 - pyarrow does with the first array of NumPy's that it is given, where it is installed

    import timestore_assets.landing.topics.streamer
    import timestore_assets.sources.kafka.kafka_topics  # noqa: F401 - imports are no part of the figure
    from timestore_assets.warehouse import Warehouse

    with Warehouse.open() as warehouse:
        (source,) = warehouse.declared("metrics").kafka_sources
        warehouse.resolve("metrics")
        began, spent = time.monotonic(), time.process_time()
        report = warehouse.stream("metrics", source)
        result = _measured(began, spent)
        with warehouse.sql("SELECT count(*), count(DISTINCT count) FROM metrics") as answer:
            stored = [column[0].as_py() for column in answer.table().columns]
    if stored != [options.records, options.records] or report.counters.landed != options.records:
        raise SystemExit(f"{options.records} records became {stored}: {report.counters}")
    return result


def _measured(began: float, spent: float) -> dict[str, float]:
    return {
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - spent,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


WORKERS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "bare": _bare,
    "small": partial(_bare, a_call=500),
    "land": _land,
}

if __name__ == "__main__":
    main()

"""How long a record takes from being produced to being queryable, while one session lands a steady stream.

    python benchmarks/freshness.py --rate 5_000 --seconds 60

A producer stamps each record with the wall clock; a query beside it asks, again and again, for the newest record it can see
of each producing second. The broker is a real Apache Kafka on this machine.
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
from datetime import UTC, datetime
from pathlib import Path

from streaming_ground import make_home

TOPIC = "metrics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _measure(options, Path(folder))


def _measure(options: argparse.Namespace, folder: Path) -> None:
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    with KafkaCluster(1, folder=folder) as cluster:
        cluster.create_topic(TOPIC, 4)
        make_home(folder / "home", cluster.bootstrap)
        timestore = Path(sys.executable).parent / "timestore"
        command = [str(timestore), "stream", "metrics", "--for", f"{options.seconds + 10}s", "--json"]
        session = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
        try:
            producer = threading.Thread(target=_produce, args=(cluster.bootstrap, options.rate, options.seconds), daemon=True)
            producer.start()
            latencies = _watch(options.seconds)
        finally:
            session.wait(timeout=60)
    ordered = sorted(latencies)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    print(f"{options.rate:,} records/s for {options.seconds} s, {len(ordered)} commits seen, {os.cpu_count()} cores")
    print(f"produced to queryable: p50 {p50:.2f} s, p99 {p99:.2f} s, worst {ordered[-1]:.2f} s")


def _produce(servers: str, rate: int, seconds: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
    began = time.monotonic()
    for number in range(rate * seconds):
        late = began + number / rate - time.monotonic()
        if late > 0.002:
            producer.poll(late)
        now = datetime.now(UTC).isoformat()
        measured = f'"temp": 1, "humidity": 2, "count": {number}, "ok": true'
        record = f'{{"ts": "{now}", "device": "d{number % 100}", "site": "a", {measured}}}'
        producer.produce(TOPIC, record.encode(), partition=number % 4)
    producer.flush(30)


def _watch(seconds: int) -> list[float]:
    """Ages of records at the moment a query first sees them: of each new answer the oldest and the newest one."""
    from timestore_assets.warehouse import Warehouse

    latencies: list[float] = []
    seen = -1
    with Warehouse.open() as warehouse:
        limit = time.monotonic() + seconds + 8
        while time.monotonic() < limit:
            version = warehouse.catalog.manifest.version(warehouse.resolve("metrics")[1].id)
            if version == seen:
                time.sleep(0.02)
                continue
            with warehouse.sql("SELECT max(ts), max(count) FROM metrics") as answer:
                newest, number = (column[0].as_py() for column in answer.table().columns)
            now = datetime.now(UTC)
            seen = version
            if newest is not None:
                latencies += _ages(warehouse, int(number), now)
    return latencies


_counted = -1


def _ages(warehouse: object, number: int, now: datetime) -> list[float]:
    """Ages of the first and the last record that this answer shows and no answer before it did."""
    global _counted
    first, _counted = _counted + 1, number
    if number < first:
        return []
    with warehouse.sql(f"SELECT ts FROM metrics WHERE count IN ({first}, {number})") as answer:
        times = answer.table().column(0).to_pylist()
    return [(now - (time if time.tzinfo else time.replace(tzinfo=UTC))).total_seconds() for time in times]


if __name__ == "__main__":
    main()

"""What the streaming benchmarks share: a dataset of metrics, records of about 150 bytes, and a real broker."""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' broker

DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: metrics
  columns:
    ts: timestamp
    device: string
    site: string
    temp: {type: double, ge: -50, le: 100}
    humidity: double
    count: int64
    ok: bool
  time: ts
  window: hour
  start: 2026-01-01
  sources:
    - kafka: {topic: metrics}
"""
DAY = "2026-11-20"


def make_home(home: Path, servers: str) -> None:
    """Declare the dataset in a home of its own and point this process's settings to it."""
    folder = home / "defs" / "metrics"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION)
    os.environ["TIMESTORE_HOME"] = str(home)
    os.environ["TIMESTORE_KAFKA_BOOTSTRAP_SERVERS"] = servers


def records(count: int, *, per_second: int = 5_000) -> Iterator[bytes]:
    """JSON documents of about 150 bytes, whose times go on by `per_second`; `count` numbers them."""
    chance = random.Random(1)
    parts = [
        (b"%.3f" % chance.uniform(-10, 40), b"%.2f" % chance.uniform(0, 100), b"device-%05d" % chance.randrange(5000))
        for _ in range(10_007)
    ]
    for number, (temp, humidity, device) in zip(range(count), itertools.cycle(parts), strict=False):
        second = number // per_second
        at = b"%sT%02d:%02d:%02d.%06dZ" % (DAY.encode(), second // 3600 % 24, second // 60 % 60, second % 60, number % 1_000_000)
        yield b'{"ts": "%s", "device": "%s", "site": "amsterdam", "temp": %s, "humidity": %s, "count": %d, "ok": %s}' % (
            *(at, device, temp, humidity, number),
            b"true" if number % 3 else b"false",
        )


def fill(servers: str, topic: str, count: int, partitions: int) -> float:
    """Write records, every partition in turn; returns the seconds it took."""
    from confluent_kafka import Producer

    how = {"linger.ms": 50, "batch.size": 1_000_000, "compression.type": "lz4", "queue.buffering.max.messages": 500_000}
    producer = Producer({"bootstrap.servers": servers, **how})
    began = time.monotonic()
    for number, record in enumerate(records(count)):
        while True:
            try:
                producer.produce(topic, record, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 20_000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise SystemExit(f"{left} records were not taken by the broker")
    return time.monotonic() - began

"""How long a record takes from being produced to being in an answer over HTTP, while a session lands the same topic.

    python benchmarks/hot_buffer.py --rate 5_000 --seconds 20

The service, the session and Apache Kafka (or the embedded broker: `--embedded`) each run beside this process on the same machine.
Ten times a second the newest record of each topic partition is asked for. What counts is the age of the oldest record that an
answer lacks, when the answer has been read: everything older was in it. It counts from when the broker has taken the record; how
long the broker takes for that is told beside it. At the end: what merging costs a query.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from streaming_ground import make_home

TOPIC, PARTITIONS = "metrics", 4
START_SECONDS = 60.0
SETTLING_SECONDS = 4.0
PAUSE_SECONDS = 0.1
WARM_SECONDS = 12.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1_000, help="records per second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--embedded", action="store_true", help="use the embedded broker, whose topics keep 5 MB")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, ExitStack() as stack:
        cluster = stack.enter_context(_cluster(Path(folder), embedded=options.embedded))
        cluster.create_topic(TOPIC, PARTITIONS)
        make_home(Path(folder) / "home", cluster.bootstrap)
        port = _free_port()
        with _running("serve", "--port", str(port)), _running("stream", "metrics", "--for", f"{options.seconds + 90}s"):
            _measure(cluster.bootstrap, Asker(port), options.rate, options.seconds)
        _cost(cluster.bootstrap)


def _cluster(folder: Path, *, embedded: bool) -> Any:
    from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster

    return EmbeddedKafka() if embedded else KafkaCluster(1, folder=folder)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def _running(*arguments: str) -> Iterator[None]:
    command = [str(Path(sys.executable).parent / "timestore"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """When each record was handed to the client, and when the broker had taken it; 0 for not yet."""

    sent: list[float]
    taken: list[float]
    done: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, count: int) -> Feed:
        return cls(sent=[0.0] * count, taken=[0.0] * count)

    def produce(self, servers: str, rate: int) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
        began = time.monotonic()
        for number in range(len(self.sent)):
            late = began + number / rate - time.monotonic()
            producer.poll(late if late > 0.002 else 0)
            self.sent[number] = time.monotonic()
            taken = partial(self._taken, number)
            producer.produce(TOPIC, _record(number), partition=number % PARTITIONS, on_delivery=taken)
        producer.flush(30)
        self.done.set()

    def _taken(self, number: int, *_: object) -> None:
        self.taken[number] = time.monotonic()


def _measure(servers: str, asker: Asker, rate: int, seconds: int) -> None:
    feed = Feed.of(rate * (seconds + int(WARM_SECONDS)))
    asker.until_ready()
    threading.Thread(target=feed.produce, args=(servers, rate), daemon=True).start()
    _watch(asker, feed, seconds=WARM_SECONDS)
    ages, asked, merged = _watch(asker, feed, seconds=seconds)
    print(f"{rate:,} records/s for {seconds} s, {len(asked):,} answers, {os.cpu_count()} cores")
    print(f"the broker takes a record: {_spread([b - a for a, b in zip(feed.sent, feed.taken, strict=True)])}")
    print(f"oldest record that an answer lacks: {_spread(ages)}")
    print(f"an answer: {_spread(asked)}, {statistics.median(merged):,.0f} rows merged in")


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    found = (statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
    return "p50 {:.0f} ms, p99 {:.0f} ms, worst {:.0f} ms".format(*(one * 1000 for one in found))


def _record(number: int) -> bytes:
    now = datetime.now(UTC).isoformat()
    measured = f'"temp": 1, "humidity": 2, "count": {number}, "ok": true'
    return f'{{"ts": "{now}", "device": "d{number % 100}", "site": "p{number % PARTITIONS}", {measured}}}'.encode()


class Asker:
    """Asks the service over one connection for the newest record of each topic partition, and how many were merged in."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self) -> tuple[dict[int, int], int]:
        start = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
        newest = {"fn": "max", "column": "count", "alias": "newest"}
        shape = {"intervalUnit": "day", "intervalSize": 1, "aggregations": [newest], "groupBy": ["site"]}
        body = json.dumps({"timeRange": {"start": start}, "downsample": shape})
        self._connection.request("POST", "/datasets/metrics/query", body, {"Content-Type": "application/json"})
        found = json.loads(self._connection.getresponse().read())
        newest_of: dict[int, int] = {}
        for row in found["rows"]:
            part = int(row["site"][1:])
            newest_of[part] = max(newest_of.get(part, -1), row["newest"])
        return newest_of, found["streaming"]["mergedRows"]

    def until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask()
            except (OSError, http.client.HTTPException, KeyError):
                self._connection.close()
                if time.monotonic() > deadline:
                    raise SystemExit("the service did not come up") from None
                time.sleep(0.2)
            else:
                time.sleep(SETTLING_SECONDS)
                return


def _watch(asker: Asker, feed: Feed, *, seconds: float) -> tuple[list[float], list[float], list[int]]:
    """Of every answer, when it is read: the age of the oldest record that it lacks, the seconds it took, the rows merged in."""
    ages: list[float] = []
    asked: list[float] = []
    merged: list[int] = []
    until = time.monotonic() + seconds
    while not feed.done.wait(PAUSE_SECONDS) and time.monotonic() < until:
        began = time.monotonic()
        newest, rows = asker.ask()
        now = time.monotonic()
        asked.append(now - began)
        merged.append(rows)
        lacked = [newest.get(part, part - PARTITIONS) + PARTITIONS for part in range(PARTITIONS)]
        taken = [feed.taken[number] for number in lacked if number < len(feed.taken)]
        ages.append(max((now - at for at in taken if 0 < at < now), default=0.0))
    return ages, asked, merged


def _cost(servers: str) -> None:
    """Time a question with and without merging, with nothing and with some rows held."""
    from timestore_assets.model.question import Aggregate, Question
    from timestore_assets.tailing.hot_buffers import HotBuffers
    from timestore_assets.warehouse import Warehouse

    question = Question(dataset="metrics", aggregates=(Aggregate(fn="count"),))
    with Warehouse.open() as warehouse:
        hot = HotBuffers(warehouse.catalog, warehouse.settings, warehouse.limits, holder="benchmark")

        def ask(merge: HotBuffers | None) -> int:
            with warehouse.ask(question, hot=merge) as answer:
                answer.table()
                return answer.streaming.merged_rows if answer.streaming else 0

        try:
            for more in (0, 10_000, 90_000):
                held = ask(hot)
                _burst(servers, more)
                _until(lambda before=held, more=more: ask(hot) >= before + more)
                with_rows, without = _timed(lambda: ask(hot)), _timed(lambda: ask(None))
                print(f"a count: {without * 1000:.1f} ms, {with_rows * 1000:.1f} ms with {ask(hot):,} rows merged in")
        finally:
            hot.close()


def _burst(servers: str, count: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "queue.buffering.max.messages": 200_000})
    for number in range(count):
        producer.produce(TOPIC, _record(number), partition=number % PARTITIONS)
    producer.flush(30)


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)


def _timed(work: Callable[[], object], times: int = 20) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    main()

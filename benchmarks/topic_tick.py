"""What one look at a topic of many partitions costs, the work of a sensor's tick, beside a plain request for its metadata.

python benchmarks/topic_tick.py --partitions 500
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from streaming_ground import fill, make_home

TOPIC = "metrics"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(options, Path(folder))


def _measure(options: argparse.Namespace, folder: Path) -> None:
    from timestore_assets_tests.support.kafka_brokers import KafkaCluster

    with KafkaCluster(1, folder=folder) as cluster:
        cluster.create_topic(TOPIC, options.partitions)
        fill(cluster.bootstrap, TOPIC, 20_000, options.partitions)
        make_home(folder / "home", cluster.bootstrap)
        from timestore_assets.warehouse import Warehouse

        with Warehouse.open() as warehouse:
            (source,) = warehouse.declared(TOPIC).kafka_sources
            warehouse.stream(TOPIC, source)
            look = _median(lambda: warehouse.lag(TOPIC, source), options.repetitions)
            metadata = _median(lambda: cluster.admin.list_topics(timeout=10), options.repetitions)
    print(f"{options.partitions} topic partitions: look {look * 1000:.0f} ms, metadata alone {metadata * 1000:.0f} ms")


def _median(work: Callable[[], object], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions):
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()

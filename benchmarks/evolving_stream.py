"""A stream gains a column while it lands: how long landing pauses, and how long until no older partition lacks a value.

    python benchmarks/evolving_stream.py --rate 5_000 --records 1_000_000 --at 500_000

By itself: the session adds the column, its schema version says which record brought it, the request to rewrite older partitions
comes with the declaration's `evolution: {backfill: auto}` approved. The script does what somebody decides, once: as soon as the
event shows it declares the column with a default, by a migration. And it stands in for Dagster's daemon: a thread builds, again
and again, what the build sensor would ask for and what approved requests leave, both by the warehouse's own verbs. The asset
check is Dagster's and not run here.

Event time goes on faster than the clock, so that the run spans `--hours` hourly partitions. The session is a process of its own.
The broker is a real Apache Kafka on this machine, or the embedded one where that can't be had.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timestore_assets.warehouse import Warehouse

NAME = TOPIC = "metrics"
START = datetime(2026, 3, 1, tzinfo=UTC)
DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: metrics
  columns: {ts: timestamp, device: string, temp: double, count: int64}
  time: ts
  window: hour
  start: 2026-01-01
  evolution: {backfill: auto}
  sources:
    - kafka: {topic: metrics}
"""
DEFAULT = -1.0
MANIFEST: dict[str, Any] = {
    "dataset": NAME,
    "governance": {"ticketId": "BENCH-2", "approvedBy": "benchmark"},
    "operations": [{"add": {"column": "quality", "type": "double", "default": DEFAULT}}],
    "execution": {"dryRun": False},
}
PATIENCE = 300.0
"""Seconds for whatever is waited for behind the last record."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--at", type=int, default=500_000, help="the first record that has the new column")
    parser.add_argument("--hours", type=int, default=24, help="hourly partitions that the records are spread over")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, _broker(Path(folder)) as cluster:
        _run(options, Path(folder) / "home", cluster.bootstrap)


@contextmanager
def _broker(folder: Path) -> Iterator[Any]:
    from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
    from timestore_assets_tests.support.kafka_cluster import KafkaCluster
    from timestore_assets_tests.support.kafka_jars import NoKafkaError

    try:
        made: Any = KafkaCluster(1, folder=folder, heap="512m")
    except NoKafkaError as reason:
        print(f"the embedded broker: {reason}")
        made = EmbeddedKafka()
    with made as cluster:
        cluster.create_topic(TOPIC, 4)
        yield cluster


@dataclass
class Moments:
    """When what was first seen, in seconds since 1970."""

    seen: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, at: float | None = None) -> None:
        if what not in self.seen:
            self.seen[what] = time.time() if at is None else at

    def since(self, what: str, first: str) -> str:
        return f"{self.seen[what] - self.seen[first]:.2f} s" if {what, first} <= set(self.seen) else "never"


def _run(options: argparse.Namespace, home: Path, servers: str) -> None:
    folder = home / "defs" / NAME
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION)
    os.environ |= {"TIMESTORE_HOME": str(home), "TIMESTORE_KAFKA_BOOTSTRAP_SERVERS": servers}
    from timestore_assets.warehouse import Warehouse

    moments, stop = Moments(), threading.Event()
    with Warehouse.open() as warehouse:
        warehouse.resolve(NAME)
        longest = options.records // options.rate + 2 * int(PATIENCE)
        command = [str(Path(sys.executable).parent / "timestore"), "stream", NAME, "--for", f"{longest}s", "--json"]
        session = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        threads = [
            threading.Thread(target=_produce, args=(servers, options, moments)),
            threading.Thread(target=_build, args=(moments, stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            _watch(warehouse, options, moments, session)
        finally:
            stop.set()
            session.terminate()
            session.wait(60)
            for thread in threads:
                thread.join()
        print(
            f"{options.rate:,} records/s, {options.records:,} records, the column from {options.at:,} on, {os.cpu_count()} cores"
        )
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
        _say(warehouse, moments)
        _check(warehouse, options)


def _produce(servers: str, options: argparse.Namespace, moments: Moments) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
    step = timedelta(hours=options.hours) / options.records
    began = time.monotonic()
    moments.note("first record")
    for number in range(options.records):
        late = began + number / options.rate - time.monotonic()
        if late > 0.002:
            producer.poll(late)
        more = f', "quality": {number}.5' if number >= options.at else ""
        at = (START + number * step).isoformat()
        record = f'{{"ts": "{at}", "device": "d{number % 100}", "temp": {number % 40}, "count": {number}{more}}}'
        if number == options.at:
            moments.note("new field")
        producer.produce(TOPIC, record.encode(), partition=number % 4)
    producer.flush(60)
    moments.note("last record")


def _build(moments: Moments, stop: threading.Event) -> None:
    """What Dagster's sensors would ask for: due builds, and what approved requests leave."""
    from timestore_assets.model.errors import ConflictError
    from timestore_assets.warehouse import Warehouse

    with Warehouse.open() as warehouse:
        while not stop.wait(0.5):
            due = [one.partition for one in warehouse.needed_builds(NAME)]
            for found in warehouse.build_each(NAME, due, close=False, apart=ConflictError, actor="builds"):
                moments.note("first build") if not isinstance(found, ConflictError) else None
            for _ in warehouse.run_backfills(NAME, actor="backfills"):
                moments.note("first rewrite")


def _watch(warehouse: Warehouse, options: argparse.Namespace, moments: Moments, session: subprocess.Popen[bytes]) -> None:
    """Wait for each thing in turn, until everything has landed and nothing is left to be rewritten."""
    limit = time.monotonic() + options.records / options.rate + PATIENCE
    while True:
        if session.poll() is not None or time.monotonic() > limit:
            raise SystemExit(f"it came to no end (session: {session.poll()}): {moments.seen}")
        time.sleep(0.05)
        if "event" not in moments.seen:
            _look_for_event(warehouse, moments)
        elif "declared" not in moments.seen:
            _declare(warehouse, moments)
        elif "filled" not in moments.seen:
            if all(one.backfill.state == "done" for one in warehouse.backfills(NAME, states=("asked", "approved", "done"))):
                moments.note("filled")
        elif "last record" in moments.seen and _count(warehouse) >= options.records:
            return moments.note("landed")


def _look_for_event(warehouse: Warehouse, moments: Moments) -> None:
    found = warehouse.catalog.datasets.schema_events(warehouse.resolve(NAME)[1].id, limit=1)[0]
    if any(change["column"] == "quality" for change in found["changes"]):
        moments.note("event")
        place = found["cause"]["columns"]["quality"]
        print(f"event: version {found['version']}, {found['cause']['kind']}, {place}")


def _declare(warehouse: Warehouse, moments: Moments) -> None:
    from timestore_assets.migrating.manifest_file import manifest_of

    began = time.perf_counter()
    warehouse.migrate(manifest_of(MANIFEST), actor="benchmark")
    moments.note("declared")
    (request,) = warehouse.backfills(NAME, states=("asked", "approved", "done"))
    cost = request.backfill.cost
    print(f"declared with a default in {time.perf_counter() - began:.2f} s, dry run over all rows included")
    print(f"request: {request.backfill.state}, {request.summary}, {cost}")


def _count(warehouse: Warehouse) -> int:
    with warehouse.sql(f"SELECT count(*) FROM {NAME}") as answer:
        return int(answer.table().column(0)[0].as_py())


def _say(warehouse: Warehouse, moments: Moments) -> None:
    print(f"new field sent → event in the catalog: {moments.since('event', 'new field')}")
    print(f"event → declared with a default: {moments.since('declared', 'event')}")
    print(f"declared → first partition rewritten: {moments.since('first rewrite', 'declared')}")
    print(f"declared → request done, no partition computes: {moments.since('filled', 'declared')}")
    print(f"last record sent → all can be queried: {moments.since('landed', 'last record')}")
    _say_gaps(warehouse, moments)


def _say_gaps(warehouse: Warehouse, moments: Moments) -> None:
    """Of landing: times between commits before the column came, until all was filled, and after that."""
    from timestore_assets.catalog.audit import AuditFilter
    from timestore_assets.model.window import parse_time

    landed = warehouse.catalog.audit.newest(limit=1_000_000, only=AuditFilter(actions=("landed",)))
    times = sorted(parse_time(one["at"]).timestamp() for one in landed)
    last = moments.seen["last record"]
    gaps: dict[str, list[float]] = {"before": [], "around": [], "after": []}
    for earlier, later in itertools.pairwise(times):
        if later <= last:
            when = "before" if later < moments.seen["new field"] else "around" if earlier < moments.seen["filled"] else "after"
            gaps[when].append(later - earlier)
    for when, found in gaps.items():
        if found:
            middle, most = statistics.median(found), max(found)
            print(
                f"commits {when:6}: {len(found):4}, median gap {middle:.2f} s, longest {most:.2f} s ({most / middle:.1f} medians)"
            )
    paused = warehouse.catalog.audit.newest(limit=1000, only=AuditFilter(actions=("landing_paused",)))
    print(f"landing was paused by backpressure: {len(paused)} times")


def _check(warehouse: Warehouse, options: argparse.Namespace) -> None:
    """Every record is there once, with the default or its own value, and nothing is computed any more."""
    text = f"""SELECT count(*), count(DISTINCT count),
        count_if(count < {options.at} AND quality = {DEFAULT}), count_if(count >= {options.at} AND quality = count + 0.5)
        FROM {NAME}"""
    with warehouse.sql(text) as answer:
        found = [column[0].as_py() for column in answer.table().columns]
    wanted = [options.records, options.records, options.at, options.records - options.at]
    if found != wanted:
        raise SystemExit(f"{wanted} became {found}")
    states = Counter(one.state for one in warehouse.partitions(NAME))
    requests = [(one.backfill.state, one.summary) for one in warehouse.backfills(NAME, states=("asked", "approved", "done"))]
    print(f"every record once, {found[2]:,} with the default, {found[3]:,} with their own; {dict(states)}; {requests}")


if __name__ == "__main__":
    main()

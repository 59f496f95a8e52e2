"""I1, I2, I4: sessions on a topic that are killed at any moment leave what landing the same records from a file leaves.

`TIMESTORE_STREAM_KILLS` says how many are killed (6 by default).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.errors import UnavailableError
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA
from timestore_assets_tests.support.kafka_cluster import KafkaCluster
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse
from timestore_assets_tests.support.stream_child import DATASET, TTL, land
from timestore_assets_tests.support.topic_warehouse import value, wait_until

pytestmark = REAL_KAFKA
KILLS = int(os.environ.get("TIMESTORE_STREAM_KILLS", "6"))
PARTITIONS = 4
RESTART_EVERY = 3
RECORDS_A_KILL = 250

Forker = Callable[..., int]


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """Starts sessions, and reaps them."""
    command = [sys.executable, "-m", "timestore_assets_tests.support.stream_child"]
    errors = tmp_path_factory.mktemp("forker") / "errors"
    with (
        errors.open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def order(**what: Any) -> int:
            orders.write(json.dumps(what) + "\n")
            orders.flush()
            return int(answers.readline())

        yield order
        orders.close()
        process.wait(60)
    assert "Traceback" not in errors.read_text(), errors.read_text()[-3000:]


def record(number: int, made: random.Random) -> bytes:
    """Mostly good, some of it bad, over many days, with a column nobody declared that widens on the way."""
    chance = made.random()
    if chance < 0.02:
        return b'{"ts": "2013-01-01", "station": '
    if chance < 0.04:
        return value(number, hour=number % 200, n="many")
    if chance < 0.06:
        return value(number, hour=number % 200, note=number if number < 900 else f"x{number}")
    return value(number, hour=number % 200, n=number)


class Feed:
    """Produces a known stream, whatever happens to those who land it and to the broker."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        patience = {"message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 250, "log_level": 0}
        self._producer = Producer({**cluster.client_config(), **patience, "enable.idempotence": True})
        self._topic = topic
        self.sent = self.taken = 0

    def send(self, records: list[bytes]) -> None:
        for one in records:
            self._producer.produce(self._topic, one, partition=self.sent % PARTITIONS, on_delivery=self._delivered)
            self.sent += 1
        self._producer.poll(0)

    def finish(self) -> None:
        assert self._producer.flush(60) == 0
        assert self.taken == self.sent

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self.taken += error is None


def test_sessions_killed_at_any_moment(forker: Forker, kafka_cluster: Any, tmp_path: Path) -> None:
    cluster = kafka_cluster(1)
    topic = "killed"
    cluster.create_topic(topic, PARTITIONS)
    made = random.Random(7)
    records = [record(number, made) for number in range(KILLS * RECORDS_A_KILL)]
    feed = Feed(cluster, topic)
    LandingWarehouse.at(tmp_path / "stream", DATASET).catalog.close()
    order = {"root": str(tmp_path / "stream"), "servers": cluster.bootstrap, "topics": [topic]}
    sessions = Sessions(forker, order)
    for kill in range(KILLS):
        feed.send(records[kill * RECORDS_A_KILL : (kill + 1) * RECORDS_A_KILL])
        sessions.start()
        sessions.keep_going(random.uniform(0.1, 1.0))
        if kill % 3 == 0:
            sessions.freeze_one(TTL.total_seconds() + 0.3)
        if kill % RESTART_EVERY == RESTART_EVERY - 1:
            cluster.stop_node(1, kill=bool(kill // RESTART_EVERY % 2))
            cluster.start_node(1)
        sessions.kill_one()
    sessions.kill_all()
    feed.finish()
    finish(tmp_path / "stream", cluster, topic)
    compare(tmp_path, records)
    print(f"{KILLS} kills, {len(records)} records, sessions by status: {dict(sessions.ended)}")
    assert sessions.ended[-signal.SIGKILL] >= KILLS
    assert sessions.ended[1] == 0


class Sessions:
    """The sessions that run now, and how the others ended."""

    def __init__(self, forker: Forker, order: dict[str, Any]) -> None:
        self._forker, self._order = forker, order
        self._running: list[int] = []
        self.ended: Counter[int] = Counter()

    def start(self) -> None:
        self._running.append(self._forker(**self._order))

    def keep_going(self, seconds: float) -> None:
        """Let them run; whenever none does, for instance because the lease of a dead one still counted, another is started."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or not self._running:
            self._reap()
            if not self._running:
                self.start()
            time.sleep(0.05)

    def freeze_one(self, seconds: float) -> None:
        """Make one a zombie: its lease expires while it stands still, another takes over, and it wakes up."""
        victim = random.choice(self._running)
        os.kill(victim, signal.SIGSTOP)
        time.sleep(seconds)
        self.start()
        time.sleep(random.uniform(0.1, 0.6))
        os.kill(victim, signal.SIGCONT)
        self.keep_going(0.2)

    def kill_one(self) -> None:
        before = self.ended[-signal.SIGKILL]
        while self.ended[-signal.SIGKILL] == before:  # one may have ended by itself just before
            self._reap()
            if not self._running:
                self.start()
                time.sleep(random.uniform(0.1, 0.5))
            self._kill(random.choice(self._running))

    def kill_all(self) -> None:
        while self._running:
            self._kill(self._running[0])

    def _kill(self, victim: int) -> None:
        os.kill(victim, signal.SIGKILL)
        self._note(victim)

    def _reap(self) -> None:
        for session in list(self._running):
            # one that has ended waits to be reaped by the process that started it
            if Path(f"/proc/{session}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                self._note(session)

    def _note(self, session: int) -> None:
        self._running.remove(session)
        self.ended[self._forker(reap=session)] += 1


def finish(root: Path, cluster: KafkaCluster, topic: str) -> None:
    """Land what is left, once the leases of the killed have expired."""

    def finished() -> bool:
        try:
            return land(root, cluster.bootstrap, [topic], limits=SessionLimits()) == "caught_up"
        except UnavailableError:
            return False

    wait_until(finished, "the rest is landed", 60)


def compare(tmp_path: Path, records: list[bytes]) -> None:
    """Each record exactly once, counters that add up, the content of landing a file, and nothing left over."""
    streamed = LandingWarehouse.at(tmp_path / "stream", DATASET, ttl=TTL)
    filed = LandingWarehouse.at(tmp_path / "file", DATASET)
    filed.land(filed.drop("all.jsonl", b"".join(one + b"\n" for one in records)))
    counters = streamed.counters()
    assert counters.balanced
    assert counters.read == len(records)
    assert counters == filed.counters()
    assert len(set(streamed.places())) == len(streamed.rows()) == counters.landed
    assert sorted(str(one.raw) for one in streamed.letters()) == sorted(str(one.raw) for one in filed.letters())
    assert streamed.content_hash() == filed.content_hash()
    wait_until(lambda: streamed.collect() is not None and streamed.objects() == named(streamed), "nothing is left over", 60)
    checked = verify(streamed.catalog, streamed.storage, streamed.limits, streamed.record)
    assert checked.ok, checked.findings
    assert not checked.orphans
    for warehouse in (streamed, filed):
        warehouse.catalog.close()


def named(warehouse: LandingWarehouse) -> set[str]:
    """Objects that the newest manifest and the dead letters name."""
    segments = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    return segments | {found.name for _, found, _ in warehouse.catalog.dead_letters.of(warehouse.record.id)}

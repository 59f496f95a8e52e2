"""Sessions on topics under pressure: backlog, a slow or failing store, a catalog that breaks off, very many partitions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.landing.topics.backpressure import Backlog, Threshold, Thresholds
from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.dataset import FlushPolicy
from timestore_assets.model.errors import UnavailableError, UnknownOutcomeError
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, new_topic, topic_warehouse, value, wait_until

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka
NEVER = Threshold(high=1 << 60, low=1 << 60)


def marks(**changed: Threshold) -> Thresholds:
    return Thresholds(**({"deltas": NEVER, "bytes": NEVER, "builds": NEVER, "commit_ms": NEVER} | changed))


def names(count: int) -> list[str]:
    return [f"S{number}" for number in range(count)]


def test_landing_pauses_says_why_and_goes_on(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = topic_warehouse(tmp_path, any_kafka)
    backlog = [Backlog(deltas=7)]
    ground.produce([value(number) for number in range(40)])
    wishes: dict[str, Any] = {
        "gauge": lambda: backlog[0],
        "marks": marks(deltas=Threshold(high=7, low=3)),
        "pause_seconds": 0.05,
    }
    with ground.running(**wishes) as session:
        session.wait_until(lambda: ground.known.paused != "", "it is paused")
        assert ground.known.paused == "7 unbuilt deltas; it goes on below 3 deltas"
        read = ground.counters().read
        ground.produce([value(number) for number in range(40, 4000)])
        backlog[0] = Backlog(deltas=4)
        session.wait_until(lambda: ground.known.paused.startswith("4 "), "it has judged again")
        assert ground.counters().read <= max(read, 40)  # nothing of what came meanwhile
        backlog[0] = Backlog(deltas=3)
        session.wait_until_read(4000)
        assert ground.known.paused == ""
    assert session.report is not None
    assert session.report.paused_seconds > 0
    assert ground.stations() == names(4000)
    assert [len(ground.audited(action)) for action in ("landing_paused", "landing_resumed")] == [1, 1]


def test_a_pause_that_lasts_ends_the_session(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = topic_warehouse(tmp_path, any_kafka)
    wishes: dict[str, Any] = {
        "gauge": lambda: Backlog(builds=9),
        "marks": marks(builds=Threshold(high=5, low=2)),
        "pause_seconds": 0.05,
    }
    limits = SessionLimits(until_caught_up=False, paused=timedelta(seconds=0.2))
    report = ground.stream(limits=limits, **wishes)
    assert report.ending == "paused"
    assert "9 partitions wait for a build" in report.reason
    assert ground.known.paused.startswith("9 partitions")
    # what a session has left behind, another takes back once there is no reason any more
    ground.produce([value(1)])
    assert ground.stream(marks=marks()).counters.read == 1
    assert ground.known.paused == ""


def test_a_slow_store_pauses_landing_and_is_tried_again(any_kafka: AnyKafka, tmp_path: Path) -> None:
    flush = FlushPolicy(rows=100, age=timedelta(milliseconds=20))
    ground = topic_warehouse(tmp_path, any_kafka, flush=flush)
    ground.produce([value(number) for number in range(600)])
    promote, slow = ground.store.promote, [True]

    def throttled(uploads: Sequence[Upload]) -> list[str]:
        if slow[0]:
            time.sleep(0.3)
        return promote(uploads)

    ground.store.promote = throttled  # type: ignore[method-assign] # a slow store
    with ground.running(marks=marks(commit_ms=Threshold(high=200, low=0)), pause_seconds=0.05) as session:
        session.wait_until(lambda: len(ground.audited("landing_paused")) > 0, "it is paused")
        session.wait_until(lambda: len(ground.audited("landing_resumed")) > 0, "it is tried again")
        slow[0] = False
        session.wait_until_read(600)
        session.wait_until(lambda: ground.known.paused == "", "it goes on")
    assert ground.stations() == names(600)


def test_a_store_that_fails_for_a_while_is_waited_for(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = topic_warehouse(tmp_path, any_kafka)
    ground.produce([value(number) for number in range(40)])
    promote, failures = ground.store.promote, [UnavailableError("away"), UnavailableError("still away")]

    def failing(uploads: Sequence[Upload]) -> list[str]:
        if failures:
            raise failures.pop()
        return promote(uploads)

    ground.store.promote = failing  # type: ignore[method-assign] # a store that fails
    assert ground.stream().counters.landed == 40
    assert ground.stations() == names(40)
    ground.collect()
    assert ground.objects() == {one.name for one in ground.catalog.manifest.segments(ground.record.id)}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_of_unknown_outcome(when: str, any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = topic_warehouse(tmp_path, any_kafka)
    ground.produce([value(number) for number in range(40)])
    commit, cuts = ground.catalog.commits.land, [UnknownOutcomeError("cut")]

    def cut_off(batch: LandingCommit) -> int:
        if batch.counters.read and cuts:
            if when == "after":
                commit(batch)
            raise cuts.pop()
        return commit(batch)

    ground.catalog.commits.land = cut_off  # type: ignore[assignment, method-assign] # a catalog that is cut off
    report = ground.stream()
    assert (report.ending, report.counters.read, cuts) == ("caught_up", 40, [])
    assert ground.stations() == names(40)
    assert ground.counters().landed == 40


def test_five_hundred_partitions(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = new_topic(kafka, 500)
    ground = topic_warehouse(tmp_path, kafka, topic)
    produce(kafka.bootstrap, topic, [(number % 500, None, value(number), None, None) for number in range(1500)])
    report = ground.stream()
    assert (report.counters.read, report.lag, len(ground.positions())) == (1500, 0, 500)
    assert ground.stations() == names(1500)
    assert ground.stream().counters.read == 0
    sixth = ground.stream(shard=Shard(index=5, of=6))
    assert sixth.ending == "caught_up"


def test_a_dead_session_is_followed_when_its_lease_is_over(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground: TopicWarehouse = topic_warehouse(tmp_path, any_kafka)
    ground.produce([value(number) for number in range(40)])
    ground.stream()
    # long enough that it is not over before we have looked, however slow this machine is just now
    dead = ground.catalog.sessions.begin(ground.record.id, "landing", holder="dead", ttl=timedelta(minutes=10))
    ids = [one.id for one in ground.places_of_topics()]
    assert ground.catalog.topics.assign(dead, ids) == set(ids)
    ground.produce([value(number) for number in range(40, 60)])
    assert ground.stream().ending == "held_elsewhere"
    ground.catalog.sessions.heartbeat(dead, ttl=timedelta(milliseconds=1))
    wait_until(lambda: ground.stream().counters.read == 20, "the lease is over", 60)
    assert ground.stations() == names(60)

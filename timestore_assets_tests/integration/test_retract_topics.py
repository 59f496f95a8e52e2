"""Ranges of topics are taken out by offsets and by time; what lands later is shown, at the same offsets too."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.retractions import RetractionRecord
from timestore_assets.landing.dead_letters import replay as replaying
from timestore_assets.landing.dead_letters.replay import Replayer, ReplayReport
from timestore_assets.landing.topics.topic_reload import ReloadReport, TopicReloader
from timestore_assets.model.errors import InputError, RefusedError, UnavailableError
from timestore_assets.model.row_selector import RowSelector, SessionRows, TopicRows
from timestore_assets.model.schema import Checks
from timestore_assets.model.window import parse_time
from timestore_assets.segments.publishing import publish
from timestore_assets.upkeep.retraction_plan import RetractionPlan, Retractor
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, topic_warehouse, value

pytestmark = pytest.mark.xdist_group("kafka")
BEGAN = 1_700_000_000_000
"""Milliseconds: when the first record was produced."""


def retractor(warehouse: TopicWarehouse) -> Retractor:
    return Retractor(
        catalog=warehouse.catalog,
        storage=warehouse.storage,
        limits=warehouse.limits,
        dataset=replace(warehouse.dataset, sources=(warehouse.kafka_source,)),
        record=warehouse.record,
        holder="test",
        offsets_at=lambda _, topic, numbers, time: warehouse.kafka_topics().offsets_at(topic, numbers, time),
        address_of=lambda given: [given],
    )


def planned(warehouse: TopicWarehouse, selector: RowSelector) -> RetractionPlan:
    return retractor(warehouse).plan(selector)


def retract(warehouse: TopicWarehouse, selector: RowSelector) -> RetractionRecord:
    plan = planned(warehouse, selector)
    return warehouse.catalog.retractions.add(warehouse.record.id, plan.wanted, actor="test")


def fill(warehouse: TopicWarehouse, *, first: int = 0, number: int = 20) -> None:
    """Records one a minute, all in partition 0, each named after its offset."""
    records = [(0, None, value(at), None, BEGAN + at * 60_000) for at in range(first, first + number)]
    produce(warehouse.cluster.bootstrap, warehouse.topics[0], records)


@pytest.fixture
def warehouse(tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka) -> TopicWarehouse:
    found = topic_warehouse(tmp_path, any_kafka)
    fill(found)
    assert found.stream().counters.landed == 20
    return found


def shown(warehouse: TopicWarehouse) -> list[int]:
    return [int(name[1:]) for name in warehouse.stations()]


def test_offsets_of_a_partition(warehouse: TopicWarehouse) -> None:
    made = retract(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=5, end=8))
    assert made.rows == 3 and shown(warehouse) == [*range(5), *range(8, 20)]
    fill(warehouse, first=20, number=3)
    warehouse.stream()
    assert shown(warehouse) == [*range(5), *range(8, 23)]


def test_a_range_ends_at_the_checkpoint(warehouse: TopicWarehouse) -> None:
    """What lands later lies beyond it, whatever was asked for."""
    made = retract(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=18))
    assert made.rows == 2
    fill(warehouse, first=20, number=3)
    warehouse.stream()
    assert shown(warehouse) == [*range(18), 20, 21, 22]


def test_times_are_those_of_the_records_in_the_topic(warehouse: TopicWarehouse) -> None:
    at = parse_time("2023-11-14T22:13:20Z")
    assert at.timestamp() * 1000 == BEGAN
    selector = TopicRows(topic=warehouse.topics[0], number=None, start=at.replace(minute=18), end=at.replace(minute=23))
    plan = planned(warehouse, selector)
    assert plan.rows == 5 and [(one.first, one.end) for one in plan.wanted.ranges] == [(5, 10)]
    later = TopicRows(topic=warehouse.topics[0], number=None, start=parse_time("2030-01-01"))
    with pytest.raises(RefusedError, match="shows no such rows"):
        planned(warehouse, later)


def test_offsets_ask_for_a_partition_and_topics_for_what_was_read(warehouse: TopicWarehouse) -> None:
    for selector, words in (
        (TopicRows(topic=warehouse.topics[0], number=None, start=1), "offsets are those of one partition"),
        (TopicRows(topic="other", number=0, start=1), "has read no topic 'other'; it has read: stream-"),
        (TopicRows(topic=warehouse.topics[0], number=77, start=1), "no partition 77"),
    ):
        with pytest.raises(InputError, match=words):
            planned(warehouse, selector)


def test_a_session_leaves_without_those_between_which_it_landed(warehouse: TopicWarehouse) -> None:
    fill(warehouse, first=20, number=5)
    warehouse.stream()
    second = warehouse.audited("landed")[0]["details"]["session"]
    fill(warehouse, first=25, number=5)
    warehouse.stream()
    made = retract(warehouse, SessionRows(session=second))
    assert made.rows == 5 and shown(warehouse) == [*range(20), *range(25, 30)]


def reload(
    warehouse: TopicWarehouse, selector: TopicRows, *, stop: threading.Event | None = None, losing: Any = None
) -> ReloadReport:
    found = retractor(warehouse)
    reloader = TopicReloader(warehouse.context, losing=losing or found.losing)
    source, topics = warehouse.kafka_source, warehouse.kafka_topics()
    windows = found.windows(selector)
    return reloader.reload(warehouse.dataset, source, topics, windows, actor="test", stop=stop or threading.Event())


def places(warehouse: TopicWarehouse) -> list[tuple[int, int]]:
    return [(source, position) for source, position in warehouse.places()]


def build(warehouse: TopicWarehouse) -> None:
    with Builder(warehouse.context) as builder:
        for one in warehouse.catalog.partitions.of(warehouse.record.id):
            builder.build(warehouse.dataset, one.partition, close=True, actor="test")


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
def test_a_window_is_read_again_and_swapped_in(warehouse: TopicWarehouse, built: bool) -> None:
    """I1: each record of the window is there once, from the reload; the checkpoints stay."""
    if built:
        build(warehouse)
    before, own = warehouse.positions(), {source for source, _ in places(warehouse)}
    content = warehouse.content_hash()
    window = TopicRows(topic=warehouse.topics[0], number=0, start=5, end=12)
    report = reload(warehouse, window)
    assert (report.counters.read, report.counters.landed, report.is_done) == (7, 7, True)
    assert shown(warehouse) == list(range(20)) and warehouse.positions() == before
    assert sorted(position for source, position in places(warehouse) if source not in own) == list(range(5, 12))
    assert warehouse.content_hash() == content
    assert [one["details"]["counters"]["read"] for one in warehouse.audited("reloaded")] == [0]
    again = reload(warehouse, window)
    assert again.counters.landed == 7 and shown(warehouse) == list(range(20))
    build(warehouse)
    assert shown(warehouse) == list(range(20)) and warehouse.catalog.manifest.retracted(warehouse.record.id) == frozenset()
    fill(warehouse, first=20, number=2)
    warehouse.stream()
    assert shown(warehouse) == list(range(22))


def test_what_was_retracted_lands_again_by_a_reload(warehouse: TopicWarehouse) -> None:
    window = TopicRows(topic=warehouse.topics[0], number=0, start=5, end=8)
    retract(warehouse, window)
    assert shown(warehouse) == [*range(5), *range(8, 20)]
    reload(warehouse, window)
    assert shown(warehouse) == list(range(20))
    made = retract(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=7, end=10))
    assert made.rows == 3 and shown(warehouse) == [*range(7), *range(10, 20)], "also what has landed by a reload"


def test_a_reload_that_was_broken_off_is_not_seen_and_goes_on(warehouse: TopicWarehouse) -> None:
    window = TopicRows(topic=warehouse.topics[0], number=0, start=5, end=12)

    def dies(_: object) -> Any:
        raise UnavailableError("as if it had been killed before the swap")

    with pytest.raises(UnavailableError, match="as if"):
        reload(warehouse, window, losing=dies)
    own = {source for source, _ in places(warehouse)}
    assert len(own) == 1 and shown(warehouse) == list(range(20)), "nothing of it is shown"
    report = reload(warehouse, window)
    assert (report.counters.read, report.is_done) == (0, True), "what was read is not read again"
    assert shown(warehouse) == list(range(20)) and len({source for source, _ in places(warehouse)}) == 2
    counters = warehouse.counters()
    assert (counters.read, counters.landed) == (27, 27)


def test_dead_letters_of_a_window_are_replayed_by_its_last_reading(
    tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka
) -> None:
    """I1: a record that was refused twice lands once."""
    warehouse = topic_warehouse(tmp_path, any_kafka)
    records = [(0, None, value(at, temp=20.0 if at != 3 else 999.0), None, None) for at in range(6)]
    produce(any_kafka.bootstrap, warehouse.topics[0], records)
    warehouse.stream()
    reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=2, end=5))
    assert shown(warehouse) == [0, 1, 2, 4, 5] and [letter.position for letter in warehouse.letters()] == [3, 3]
    unchecked = tuple(replace(column, checks=Checks()) for column in warehouse.dataset.schema)
    mended = replace(warehouse.dataset, schema=replace(warehouse.dataset.schema, columns=unchecked))
    declared = replace(mended, sources=(warehouse.kafka_source,))
    assert Replayer(warehouse.context).replay(declared, None, actor="test").landed == 1
    assert shown(warehouse) == [0, 1, 2, 3, 4, 5] and [letter.position for letter in warehouse.letters()] == [3]


@dataclass(kw_only=True)
class RefusedOne:
    """Six records, the fourth refused by a check that is gone from the declaration since; `replay` lands it."""

    warehouse: TopicWarehouse
    window: TopicRows

    def replay(self) -> ReplayReport:
        unchecked = tuple(replace(column, checks=Checks()) for column in self.warehouse.dataset.schema)
        mended = replace(self.warehouse.dataset, schema=replace(self.warehouse.dataset.schema, columns=unchecked))
        declared = replace(mended, sources=(self.warehouse.kafka_source,))
        return Replayer(self.warehouse.context).replay(declared, None, actor="test")

    def reload(self, losing: Any = None) -> ReloadReport:
        unchecked = tuple(replace(column, checks=Checks()) for column in self.warehouse.dataset.schema)
        mended = replace(self.warehouse.dataset, schema=replace(self.warehouse.dataset.schema, columns=unchecked))
        return reload(replace(self.warehouse, dataset=mended), self.window, losing=losing)


@pytest.fixture
def refused_one(tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka) -> RefusedOne:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    records = [(0, None, value(at, temp=20.0 if at != 3 else 999.0), None, None) for at in range(6)]
    produce(any_kafka.bootstrap, warehouse.topics[0], records)
    warehouse.stream()
    assert shown(warehouse) == [0, 1, 2, 4, 5]
    return RefusedOne(warehouse=warehouse, window=TopicRows(topic=warehouse.topics[0], number=0, start=2, end=5))


def test_what_is_replayed_while_its_window_is_reloaded_leaves_with_the_other_rows(refused_one: RefusedOne) -> None:
    """I1: whenever the replay commits, the record that lands by both is there once, by the reload."""
    warehouse, found = refused_one.warehouse, retractor(refused_one.warehouse)
    replays: list[int] = []

    def meanwhile(replaced: Any) -> Any:
        losing = found.losing(replaced)
        if not replays:
            replays.append(refused_one.replay().landed)
        return losing

    report = refused_one.reload(losing=meanwhile)
    assert replays == [1] and report.counters.landed == 3
    assert shown(warehouse) == list(range(6))
    build(warehouse)
    assert shown(warehouse) == list(range(6)) and warehouse.catalog.manifest.retracted(warehouse.record.id) == frozenset()


def test_a_replay_that_was_judged_before_the_swap_lands_nothing_of_the_window(
    refused_one: RefusedOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: the other order: the reload commits between the replay's look and its commit."""

    def behind(*args: Any) -> int:
        monkeypatch.setattr(replaying, "publish", publish)
        assert refused_one.reload().is_done
        return publish(*args)

    monkeypatch.setattr(replaying, "publish", behind)
    assert refused_one.replay().landed == 0
    assert shown(refused_one.warehouse) == list(range(6))
    assert [letter.position for letter in refused_one.warehouse.letters()] == [3], "it stays, and is not tried any more"


def test_another_window_gives_up_one_that_was_broken_off(warehouse: TopicWarehouse) -> None:
    """I2: what it had read is held, since it never landed."""

    def dies(_: object) -> Any:
        raise UnavailableError("as if it had been killed before the swap")

    with pytest.raises(UnavailableError):
        reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=5, end=12), losing=dies)
    reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=0, end=3))
    counters = warehouse.counters()
    assert (counters.read, counters.landed, counters.held) == (30, 23, 7) and shown(warehouse) == list(range(20))


def test_a_stopped_reload_changes_nothing(warehouse: TopicWarehouse) -> None:
    stop = threading.Event()
    stop.set()
    report = reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=5, end=12), stop=stop)
    assert not report.is_done and shown(warehouse) == list(range(20))


def test_a_request_knows_which_of_its_windows_were_read_again_since(warehouse: TopicWarehouse) -> None:
    reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=0, end=20))
    place = {"source": warehouse.kafka_source.address, "topic": warehouse.topics[0], "partition": 0}
    ranges = [{**place, "from": 5, "to": 8}, {**place, "from": 10, "to": 12}]
    cause = {"kind": "ignored_column", "columns": ["gust"], "files": [], "ranges": ranges, "others": 0}
    backfills = warehouse.catalog.backfills
    made = backfills.request(warehouse.record.id, schema_version=1, cause=cause, cost={}, policy="auto", actor="ann")
    (asked,) = backfills.listed()
    assert list(backfills.progress(asked).ranges) == ranges, "what was read again before it was asked for does not count"
    reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=4, end=9))
    assert (list(backfills.progress(asked).ranges), backfills.settle(warehouse.record.id)) == (ranges[1:], [])
    reload(warehouse, TopicRows(topic=warehouse.topics[0], number=0, start=10, end=12))
    assert backfills.settle(warehouse.record.id) == [made]

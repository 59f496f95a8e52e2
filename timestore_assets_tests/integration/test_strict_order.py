"""`order: strict`: what is older than the newest of its key is refused, by files, topics, reloads and replays alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.landing.topics.topic_reload import TopicReloader
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.row_selector import TopicRows
from timestore_assets.model.schema import Checks
from timestore_assets.upkeep.retraction_plan import Retractor
from timestore_assets_tests.support.dead_letter_replays import replay
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse
from timestore_assets_tests.support.order_model import IN_ORDER, Reading, found, judged
from timestore_assets_tests.support.tailing_warehouse import tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, topic_warehouse

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka
FILES = FileSource(prefix="inbox", on_change="replace")


def series(*hours: int, station: str = "a", start: int = 0) -> list[Reading]:
    return [Reading(number=start + at, station=station, hour=hour) for at, hour in enumerate(hours)]


def without_checks(declared: Dataset) -> Dataset:
    columns = tuple(replace(one, checks=Checks()) if one.name == "temp" else one for one in declared.schema)
    return replace(declared, schema=replace(declared.schema, columns=columns))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[LandingWarehouse]:
    warehouse = LandingWarehouse.at(tmp_path, replace(IN_ORDER, sources=(FILES,)), source=FILES)
    yield warehouse
    warehouse.catalog.close()


class TestFiles:
    def test_a_file_has_an_order_of_its_own(self, files: LandingWarehouse) -> None:
        first, second = series(5, 9, 7, 9), series(1, 8, 3, start=10)
        files.land(*(files.drop(name, [one.record for one in made]) for name, made in (("a.jsonl", first), ("b.jsonl", second))))
        assert (found(files).landed, found(files).out_of_order) == ([0, 1, 3, 10, 11], [2, 12])

    def test_a_large_file_is_not_cut(self, files: LandingWarehouse) -> None:
        made = series(*range(300), *range(100), start=0)
        files.bulk = BulkLimits(chunk_bytes=2_000, parallel=3, batch_rows=50, commit_bytes=4_000)
        report = files.land(files.drop("a.jsonl", [one.record for one in made]))
        assert report.parts == 1
        assert found(files) == judged(made)

    def test_what_replaces_a_file_begins_anew(self, files: LandingWarehouse) -> None:
        files.land_one("a.jsonl", [one.record for one in series(50, 60)])
        files.land_one("a.jsonl", [one.record for one in series(3, 5, 4, start=10)])
        assert [row[0] for row in files.rows("n")] == [10, 11]

    def test_without_a_key_all_of_a_file_has_one_order(self, files: LandingWarehouse) -> None:
        alone = files.with_dataset(replace(files.dataset, partition_by=()))
        alone.land_one("a.jsonl", [one.record for one in [*series(5), *series(4, station="b", start=1)]])
        assert found(alone).out_of_order == [1]


class TestReplays:
    def test_a_replay_judges_each_record_at_its_place(self, files: LandingWarehouse) -> None:
        made = series(5, 3, 9, 7, 12)
        bad = {2: replace(made[2], is_bad=True)}
        files.land_one("a.jsonl", [bad.get(one.number, one).record for one in made])
        assert found(files) == judged([bad.get(one.number, one) for one in made])
        mended = files.with_dataset(without_checks(files.dataset))
        report = replay(mended)
        # 9 is in order where it came; 3 is behind 5 as before; that 7 landed then stays
        assert (report.landed, report.reasons) == (1, {"out_of_order": 1})
        assert (found(mended).landed, found(mended).out_of_order) == ([0, 2, 3, 4], [1])

    def test_a_record_behind_one_that_lands_in_the_same_replay_is_refused(self, files: LandingWarehouse) -> None:
        made = [replace(one, is_bad=one.hour != 1) for one in series(1, 9, 5, 10)]
        files.land_one("a.jsonl", [one.record for one in made])
        mended = files.with_dataset(without_checks(files.dataset))
        assert replay(mended).reasons == {"out_of_order": 1}
        assert [row[0] for row in mended.rows("n")] == [0, 1, 3]

    def test_what_was_out_of_order_lands_once_any_order_is_declared(self, files: LandingWarehouse) -> None:
        files.land_one("a.jsonl", [one.record for one in series(5, 3)])
        assert replay(files).landed == 0
        assert replay(files.with_dataset(replace(files.dataset, order="any"))).landed == 1


class TestTopics:
    def test_a_session_goes_on_from_what_has_landed(self, any_kafka: AnyKafka, tmp_path: Path) -> None:
        ground = topic_warehouse(tmp_path, any_kafka, dataset=IN_ORDER)
        made = [replace(one, source=one.number % 2) for one in series(9, 4, 8, 5, 9, 3, 10, 6)]
        for start in (0, 3, 5):
            end = {0: 3, 3: 5, 5: 8}[start]
            for one in made[start:end]:
                ground.produce([one.value], partition=one.source)
            report = ground.stream()
        assert report.dead_letter_reasons == {"out_of_order": 1}
        assert found(ground) == judged(made)

    def test_two_sessions_side_by_side_keep_the_order_of_their_partitions(self, any_kafka: AnyKafka, tmp_path: Path) -> None:
        ground = topic_warehouse(tmp_path, any_kafka, dataset=IN_ORDER)
        made = [replace(one, source=one.number % 4) for one in series(*(at - 7 * (at % 5) + 30 for at in range(80)))]
        patience = timedelta(seconds=20)  # whichever comes first takes all, and shares later
        with ground.running(patience=patience) as first, ground.running(patience=patience):
            for one in made:
                ground.produce([one.value], partition=one.source)
            first.wait_until_read(len(made))
        assert found(ground) == judged(made)

    def test_what_was_retracted_is_not_the_newest_for_the_next_session(self, any_kafka: AnyKafka, tmp_path: Path) -> None:
        ground = topic_warehouse(tmp_path, any_kafka, dataset=IN_ORDER)
        ground.produce([one.value for one in series(5, 900)], partition=0)
        ground.stream()
        retract(ground, first=1, end=2)
        ground.produce([one.value for one in series(6, 4, start=10)], partition=0)
        ground.stream()
        assert (found_rows(ground), ground.codes()) == ([0, 10], ["out_of_order"])

    def test_the_hot_buffer_shows_what_is_landed_alone(self, any_kafka: AnyKafka, tmp_path: Path) -> None:
        ground = tailing_warehouse(tmp_path, any_kafka, declared=IN_ORDER)
        ground.produce([one.value for one in series(5)], partition=0)
        ground.stream()
        ground.produce([one.value for one in series(4, start=1)], partition=0)
        with ground.hot() as hot:
            answer = hot.ask()
        assert (answer.streaming.buffer_state, answer.streaming.merged_rows, len(answer.values)) == ("off", 0, 1)

    def test_a_window_that_is_read_again_is_judged_behind_what_comes_before_it(self, any_kafka: AnyKafka, tmp_path: Path) -> None:
        ground = topic_warehouse(tmp_path, any_kafka, dataset=IN_ORDER)
        made = series(5, 9, 7, 10, 8, 11)
        ground.produce([one.value for one in made], partition=0)
        ground.stream()
        before = found(ground)
        assert before == judged(made)
        reload(ground, first=2, end=6)
        assert found_rows(ground) == before.landed
        # and the next session goes on behind what was read again
        ground.produce([one.value for one in series(10, 12, start=20)], partition=0)
        ground.stream()
        assert found_rows(ground) == [*before.landed, 21]


def retractor(ground: TopicWarehouse) -> Retractor:
    return Retractor(
        catalog=ground.catalog,
        storage=ground.storage,
        limits=ground.limits,
        dataset=replace(ground.dataset, sources=(ground.kafka_source,)),
        record=ground.record,
        holder="test",
        offsets_at=lambda _, topic, numbers, time: ground.kafka_topics().offsets_at(topic, numbers, time),
        address_of=lambda given: [given],
    )


def retract(ground: TopicWarehouse, *, first: int, end: int) -> None:
    plan = retractor(ground).plan(TopicRows(topic=ground.topics[0], number=0, start=first, end=end))
    ground.catalog.retractions.add(ground.record.id, plan.wanted, actor="test")


def reload(ground: TopicWarehouse, *, first: int, end: int) -> None:
    asked = retractor(ground)
    windows = asked.windows(TopicRows(topic=ground.topics[0], number=0, start=first, end=end))
    reloader = TopicReloader(ground.context, losing=asked.losing)
    reloader.reload(ground.dataset, ground.kafka_source, ground.kafka_topics(), windows, actor="test", stop=Event())


def found_rows(ground: LandingWarehouse) -> list[int]:
    return sorted(row[0] for row in ground.rows("n"))

"""Where every topic partition stands, from what brokers and catalog say."""

from __future__ import annotations

from typing import Any

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.sources.kafka.lag import ClusterView, SourceLag, TopicView, compare


def known(number: int, position: int, **changes: Any) -> TopicPartition:
    usual: dict[str, Any] = {
        "id": number,
        "source_id": 1,
        "cluster_id": "c",
        "topic": "t",
        "epoch": 1,
        "topic_id": "one",
        "number": number,
        "position": position,
    }
    return TopicPartition(**(usual | changes))


def look(*checkpoints: TopicPartition, topic_id: str | None = "one", **ends: tuple[int, int]) -> SourceLag:
    """Of topic `t`, whose partition n has the ends given as `pn`."""
    view = TopicView(topic="t", ends={int(name[1:]): pair for name, pair in ends.items()}, topic_id=topic_id)
    starts = {("t", number): 3 for number in view.ends}
    return compare(ClusterView(cluster_id="c", topics={"t": view}), checkpoints, ["t"], starts)


def test_a_topic_never_read_begins_where_the_start_policy_says() -> None:
    (one,) = look(p0=(0, 10)).partitions
    assert (one.position, one.new, one.epoch, one.lag) == (3, True, 1, 7)


def test_lag_is_what_lies_between_checkpoint_and_end() -> None:
    found = look(known(0, 4), known(1, 9, session_id=5), p0=(0, 10), p1=(0, 10))
    assert [one.lag for one in found.partitions] == [6, 1]
    assert found.lag == 7


def test_a_partition_that_a_known_topic_has_grown_is_read_from_its_beginning() -> None:
    found = look(known(0, 4), p0=(0, 10), p1=(0, 10))
    assert [(one.position, one.new) for one in found.partitions] == [(4, False), (0, True)]


def test_deleted_offsets_are_lost_and_no_lag() -> None:
    (one,) = look(known(0, 4), p0=(7, 10)).partitions
    assert (one.lost, one.lag) == ((4, 7), 3)
    (kept,) = look(known(0, 7), p0=(7, 10)).partitions
    assert kept.lost is None


def test_another_topic_id_begins_anew_however_far_the_topic_is() -> None:
    found = look(known(0, 4, session_id=5), topic_id="two", p0=(2, 10), p1=(0, 1))
    assert [(one.position, one.epoch, one.began_anew, one.held_by) for one in found.partitions] == [
        (2, 2, True, None),
        (0, 2, True, None),
    ]


def test_a_smaller_end_without_ids_begins_anew() -> None:
    found = look(known(0, 4, topic_id=None, epoch=3), topic_id=None, p0=(0, 2))
    assert [(one.position, one.epoch) for one in found.partitions] == [(0, 4)]


def test_a_smaller_end_under_the_same_id_lost_what_was_read_already() -> None:
    found = look(known(0, 4), known(1, 2), p0=(0, 3), p1=(0, 9))
    assert [(one.position, one.epoch) for one in found.partitions] == [(3, 2), (2, 2)]


def test_an_id_that_becomes_known_is_no_new_topic() -> None:
    (one,) = look(known(0, 4, topic_id=None), p0=(0, 10)).partitions
    assert (one.new, one.position) == (False, 4)


def test_checkpoints_of_another_cluster_say_nothing() -> None:
    (one,) = look(known(0, 4, cluster_id="other"), p0=(0, 10)).partitions
    assert (one.new, one.position) == (True, 3)


def test_topics_that_do_not_exist_are_named() -> None:
    view = ClusterView(cluster_id="c", topics={})
    assert compare(view, [known(0, 4)], ["t", "u"], {}).missing == ("t", "u")

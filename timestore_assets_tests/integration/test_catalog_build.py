"""The build transaction: exactly what was read is replaced, a racing landing loses nothing, states follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timestore_assets.model.errors import ConflictError
from timestore_assets_tests.catalog_ground import HOUR, Ground, day


def test_a_build_swaps_segments_and_seals(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=6), ground.segment(rows=6))
    assert ground.state() == "open"
    sealed = ground.sealed(rows=10)
    assert ground.build(0, ground.live(), sealed) == 2
    assert ground.names() == [sealed.name]
    assert ground.rows(version=1) == 12
    partition = ground.catalog.partition(ground.id, day(0))
    assert partition is not None
    assert (partition.state, partition.rows, partition.deltas, partition.unbuilt_rows) == ("sealed", 10, 0, 0)
    assert (partition.superseded_rows, partition.content_hash, partition.manifest_version) == (2, "c0ffee", 2)


def test_a_partition_record_sums_its_live_segments(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=6))
    ground.build(0, ground.live(), ground.sealed(rows=6))
    ground.land("a", ground.segment(rows=3), ground.segment(rows=4, max_time=day(0).start + 5 * HOUR))
    partition = ground.catalog.partition(ground.id, day(0))
    assert partition is not None
    assert (partition.rows, partition.bytes, partition.segments) == (13, 1300, 3)
    assert (partition.deltas, partition.unbuilt_rows, partition.unbuilt_bytes) == (2, 7, 700)
    assert (partition.min_time, partition.max_time) == (day(0).start + HOUR, day(0).start + 5 * HOUR)
    assert partition.oldest_delta_at is not None
    assert (partition.state, partition.content_hash, partition.schema_version) == ("stale", None, 1)


def test_states_go_open_sealed_stale_sealed(ground: Ground) -> None:
    ground.land()
    ground.build(0, ground.live(), ground.segment(rows=10, level=1), seal=False)
    assert ground.state() == "open"
    ground.build(0, ground.live(), ground.sealed())
    assert ground.state() == "sealed"
    ground.land()
    assert ground.state() == "stale"
    ground.build(0, ground.live(), ground.sealed(rows=20))
    assert ground.state() == "sealed"


def test_a_landing_during_a_build_keeps_its_rows_and_the_partition_unsealed(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=6))
    planned = ground.live()
    ground.land("b", ground.segment(rows=5))
    assert ground.build(0, planned, ground.sealed(rows=6)) == 3
    assert ground.rows() == 11
    assert ground.state() == "open"


def test_of_two_builds_of_the_same_segments_the_second_loses(ground: Ground) -> None:
    ground.land("a", ground.segment(), ground.segment())
    planned = ground.live()
    ground.build(0, planned[:1], ground.sealed())
    before = (ground.live(), ground.catalog.partitions(ground.id), len(ground.catalog.audit()))
    with pytest.raises(ConflictError, match="plan this build again"):
        ground.build(0, planned, ground.sealed(rows=20))
    assert (ground.live(), ground.catalog.partitions(ground.id), len(ground.catalog.audit())) == before


def test_segments_of_other_partitions_or_waiting_ones_are_not_replaced(ground: Ground) -> None:
    ground.land("a", ground.segment(1))
    with pytest.raises(ConflictError):
        ground.build(0, ground.live(), ground.sealed())
    assert ground.rows() == 10


def test_rows_that_vanish_unexplained_are_a_bug(ground: Ground) -> None:
    ground.land("a", ground.segment(rows=10))
    with pytest.raises(ValueError, match="accounts for"):
        ground.build(0, ground.live(), ground.sealed(rows=9), superseded_rows=0)
    assert ground.rows() == 10


def test_a_build_without_its_intent_is_refused(ground: Ground) -> None:
    ground.land()
    ground.session = ground.catalog.begin_session(ground.id, "build", holder="dead", ttl=-HOUR)
    sealed = ground.sealed()
    assert [one.name for one in ground.catalog.expired_intents(older_than=-HOUR)] == [sealed.name]
    with pytest.raises(ConflictError, match="collected"):
        ground.build(0, ground.live(), sealed)
    assert ground.state() == "open"


def test_building_nothing_only_seals(ground: Ground) -> None:
    ground.land()
    ground.build(0, ground.live(), ground.sealed(), seal=False)
    audited = len(ground.catalog.audit())
    assert ground.build(0, [], seal=True) == 2
    assert ground.state() == "sealed"
    assert len(ground.catalog.audit()) == audited + 1
    before = ground.catalog.partitions(ground.id)
    assert ground.build(0, [], seal=True) == 2
    assert ground.catalog.partitions(ground.id) == before
    assert len(ground.catalog.audit()) == audited + 1


def test_a_partition_that_never_held_rows_gets_no_record(ground: Ground) -> None:
    assert ground.build(4, [], seal=True) == 0
    assert ground.catalog.partitions(ground.id) == []


def test_a_build_drops_retracted_rows(ground: Ground) -> None:
    old = ground.source_partition("old")
    ground.land("old", ground.segment(0, source_ids=(old.id,)), ground.segment(1, source_ids=(old.id,)))
    ground.land("x", ground.segment(0, rows=3))
    ground.build(0, ground.live()[:2], ground.sealed(rows=13, source_ids=(old.id,)))
    ground.land("new", ground.segment(0, rows=9), retract=(old.id,))
    assert ground.state(0) == "stale"
    assert ground.state(1) == "open"
    version = ground.build(
        0, ground.catalog.segments(ground.id, partition=day(0)), ground.sealed(rows=12), superseded_rows=0, retracted_rows=10
    )
    partition = ground.catalog.partition(ground.id, day(0))
    assert partition is not None
    assert (partition.retracted, partition.state) == (False, "sealed")
    assert ground.catalog.retracted(ground.id) == {old.id}
    ground.build(1, ground.catalog.segments(ground.id, partition=day(1)), superseded_rows=0, retracted_rows=10)
    assert ground.catalog.retracted(ground.id) == frozenset()
    assert ground.catalog.retracted(ground.id, version=version) == {old.id}
    empty = ground.catalog.partition(ground.id, day(1))
    assert empty is not None
    assert (empty.rows, empty.min_time, empty.retracted, empty.state) == (0, None, False, "sealed")


def test_a_build_that_left_retracted_rows_does_not_seal(ground: Ground) -> None:
    old = ground.source_partition("old")
    ground.land("old", ground.segment(0, source_ids=(old.id,)))
    planned = ground.live()
    ground.land("new", ground.segment(5), retract=(old.id,))
    ground.build(0, planned, ground.sealed(source_ids=(old.id,)))
    partition = ground.catalog.partition(ground.id, day(0))
    assert partition is not None
    assert (partition.state, partition.retracted) == ("open", True)


def test_requests_last_until_the_partition_is_built(ground: Ground) -> None:
    ground.land("a", ground.segment(0), ground.segment(1))
    ground.catalog.request_builds(ground.id, [day(1), day(0), day(7)], reason="late rows")
    ground.catalog.request_builds(ground.id, [day(1)], reason="asked by hand")
    assert ground.catalog.requested_builds(ground.id) == {
        "2013-01-01": "late rows",
        "2013-01-02": "asked by hand",
        "2013-01-08": "late rows",
    }
    ground.build(1, ground.catalog.segments(ground.id, partition=day(1)), ground.sealed(1))
    ground.build(7, [])
    assert list(ground.catalog.requested_builds(ground.id)) == ["2013-01-01"]


@pytest.mark.parametrize("report", [True, False])
def test_a_build_reports_itself_unless_dagster_does(ground: Ground, report: bool) -> None:
    ground.land()
    relay = {"holder": "relay", "limit": 10, "ttl": HOUR}
    ground.catalog.delivered(event.id for event in ground.catalog.claim_events(**relay))
    ground.build(0, ground.live(), ground.sealed(), report=report)
    events = ground.catalog.claim_events(**relay)
    assert [event.kind for event in events] == ["partition_built"] * report
    if report:
        payload = events[0].payload
        assert (payload["partition"], payload["rows"], payload["state"]) == ("2013-01-01", 10, "sealed")
        assert payload["min_time"] == "2013-01-01T01:00:00Z"


def test_time_travel_sees_each_version_as_it_was(ground: Ground) -> None:
    seen = {0: ground.names(0)}

    def look(version: int) -> None:
        seen[version] = ground.names()

    for number in range(4):
        look(ground.land("a", ground.segment(number % 2)))
    look(ground.build(0, ground.catalog.segments(ground.id, partition=day(0)), ground.sealed(rows=20)))
    look(ground.land())
    assert {version: ground.names(version) for version in seen} == seen
    assert list(seen) == list(range(7))


def test_segments_are_found_by_time_and_partition(ground: Ground) -> None:
    ground.land("a", *(ground.segment(number) for number in range(5)))
    first, last = day(1).start + HOUR, day(1).start + 2 * HOUR

    def days(**bounds: object) -> list[int]:
        found = ground.catalog.segments(ground.id, with_stats=False, **bounds)  # type: ignore[arg-type]
        return [(segment.partition_start - day(0).start).days for segment in found]

    assert days(start=last, end=day(3).start) == [1, 2]
    assert days(start=day(1).start, end=first) == []
    assert days(start=first, end=first + HOUR / 60) == [1]
    assert days(start=day(4).start) == [4]
    assert days(end=day(1).start) == [0]
    assert days(partition=day(3)) == [3]


def test_only_asked_statistics_are_read(ground: Ground) -> None:
    ground.land("a", ground.segment(), ground.segment(stats={}))
    assert [dict(segment.stats) for segment in ground.catalog.segments(ground.id, with_stats=False)] == [{}, {}]
    assert [len(segment.stats) for segment in ground.catalog.segments(ground.id)] == [1, 0]


def test_a_huge_build_replaces_more_than_one_statement_can_name(ground: Ground) -> None:
    ground.land("a", *ground.many([0] * 1201, rows=1))
    assert ground.build(0, ground.live(), ground.sealed(rows=1201)) == 2
    assert len(ground.live()) == 1


def test_the_session_of_a_build_may_differ_from_the_landing(ground: Ground) -> None:
    ground.land()
    builder = replace(ground, session=ground.catalog.begin_session(ground.id, "build", holder="b", ttl=HOUR))
    assert builder.session > ground.session
    assert builder.build(0, builder.live(), builder.sealed()) == 2

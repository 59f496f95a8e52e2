"""The build transaction: exactly what was read is replaced, a racing landing loses nothing, states follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from timestore_assets.model.errors import ConflictError
from timestore_assets.model.retraction import whole
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset, day


def test_a_build_swaps_segments_and_seals(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=6), catalog_dataset.segment(rows=6))
    assert catalog_dataset.state() == "open"
    sealed = catalog_dataset.sealed(rows=10)
    assert catalog_dataset.build(0, catalog_dataset.live(), sealed) == 2
    assert catalog_dataset.names() == [sealed.name]
    assert catalog_dataset.rows(version=1) == 12
    partition = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert partition is not None
    assert (partition.state, partition.rows, partition.deltas, partition.unbuilt_rows) == ("sealed", 10, 0, 0)
    assert (partition.superseded_rows, partition.content_hash, partition.manifest_version) == (2, "c0ffee", 2)


def test_a_partition_record_sums_its_live_segments(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=6))
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=6))
    catalog_dataset.land("a", catalog_dataset.segment(rows=3), catalog_dataset.segment(rows=4, max_time=day(0).start + 5 * HOUR))
    partition = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert partition is not None
    assert (partition.rows, partition.bytes, partition.segments) == (13, 1300, 3)
    assert (partition.deltas, partition.unbuilt_rows, partition.unbuilt_bytes) == (2, 7, 700)
    assert (partition.min_time, partition.max_time) == (day(0).start + HOUR, day(0).start + 5 * HOUR)
    assert partition.oldest_delta_at is not None
    assert (partition.state, partition.content_hash, partition.schema_version) == ("stale", None, 1)


def test_states_go_open_sealed_stale_sealed(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.segment(rows=10, level=1), seal=False)
    assert catalog_dataset.state() == "open"
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    assert catalog_dataset.state() == "sealed"
    catalog_dataset.land()
    assert catalog_dataset.state() == "stale"
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=20))
    assert catalog_dataset.state() == "sealed"


def test_a_landing_during_a_build_keeps_its_rows_and_the_partition_unsealed(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=6))
    planned = catalog_dataset.live()
    catalog_dataset.land("b", catalog_dataset.segment(rows=5))
    assert catalog_dataset.build(0, planned, catalog_dataset.sealed(rows=6)) == 3
    assert catalog_dataset.rows() == 11
    assert catalog_dataset.state() == "open"


def test_of_two_builds_of_the_same_segments_the_second_loses(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(), catalog_dataset.segment())
    planned = catalog_dataset.live()
    catalog_dataset.build(0, planned[:1], catalog_dataset.sealed())
    before = (
        catalog_dataset.live(),
        catalog_dataset.catalog.partitions.of(catalog_dataset.id),
        len(catalog_dataset.catalog.audit.newest()),
    )
    with pytest.raises(ConflictError, match="plan this build again"):
        catalog_dataset.build(0, planned, catalog_dataset.sealed(rows=20))
    assert (
        catalog_dataset.live(),
        catalog_dataset.catalog.partitions.of(catalog_dataset.id),
        len(catalog_dataset.catalog.audit.newest()),
    ) == before


def test_segments_of_other_partitions_or_waiting_ones_are_not_replaced(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(1))
    with pytest.raises(ConflictError):
        catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed())
    assert catalog_dataset.rows() == 10


def test_rows_that_vanish_unexplained_are_a_bug(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(rows=10))
    with pytest.raises(ValueError, match="accounts for"):
        catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=9), superseded_rows=0)
    assert catalog_dataset.rows() == 10


def test_a_build_without_its_intent_is_refused(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    catalog_dataset.session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "build", holder="dead", ttl=-HOUR)
    sealed = catalog_dataset.sealed()
    assert [one.name for one in catalog_dataset.catalog.objects.collect_intents(older_than=-HOUR)] == [sealed.name]
    with pytest.raises(ConflictError, match="collected"):
        catalog_dataset.build(0, catalog_dataset.live(), sealed)
    assert catalog_dataset.state() == "open"


def test_building_nothing_only_seals(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(), seal=False)
    audited = len(catalog_dataset.catalog.audit.newest())
    assert catalog_dataset.build(0, [], seal=True) == 2
    assert catalog_dataset.state() == "sealed"
    assert len(catalog_dataset.catalog.audit.newest()) == audited + 1
    before = catalog_dataset.catalog.partitions.of(catalog_dataset.id)
    assert catalog_dataset.build(0, [], seal=True) == 2
    assert catalog_dataset.catalog.partitions.of(catalog_dataset.id) == before
    assert len(catalog_dataset.catalog.audit.newest()) == audited + 1


def test_a_partition_that_never_held_rows_gets_no_record(catalog_dataset: CatalogDataset) -> None:
    assert catalog_dataset.build(4, [], seal=True) == 0
    assert catalog_dataset.catalog.partitions.of(catalog_dataset.id) == []


def test_a_build_drops_retracted_rows(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.source_partition("old")
    catalog_dataset.land(
        "old", catalog_dataset.segment(0, source_ids=(old.id,)), catalog_dataset.segment(1, source_ids=(old.id,))
    )
    catalog_dataset.land("x", catalog_dataset.segment(0, rows=3))
    catalog_dataset.build(0, catalog_dataset.live()[:2], catalog_dataset.sealed(rows=13, source_ids=(old.id,)))
    catalog_dataset.land("new", catalog_dataset.segment(0, rows=9), retract=(old.id,))
    assert catalog_dataset.state(0) == "stale"
    assert catalog_dataset.state(1) == "open"
    version = catalog_dataset.build(
        0,
        catalog_dataset.catalog.manifest.segments(catalog_dataset.id, partition=day(0)),
        catalog_dataset.sealed(rows=12),
        superseded_rows=0,
        retracted_rows=10,
    )
    partition = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert partition is not None
    assert (partition.retracted, partition.state) == (False, "sealed")
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == whole({old.id})
    catalog_dataset.build(
        1, catalog_dataset.catalog.manifest.segments(catalog_dataset.id, partition=day(1)), superseded_rows=0, retracted_rows=10
    )
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id) == frozenset()
    assert catalog_dataset.catalog.manifest.retracted(catalog_dataset.id, version=version) == whole({old.id})
    empty = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(1))
    assert empty is not None
    assert (empty.rows, empty.min_time, empty.retracted, empty.state) == (0, None, False, "sealed")


def test_a_build_that_left_retracted_rows_does_not_seal(catalog_dataset: CatalogDataset) -> None:
    old = catalog_dataset.source_partition("old")
    catalog_dataset.land("old", catalog_dataset.segment(0, source_ids=(old.id,)))
    planned = catalog_dataset.live()
    catalog_dataset.land("new", catalog_dataset.segment(5), retract=(old.id,))
    catalog_dataset.build(0, planned, catalog_dataset.sealed(source_ids=(old.id,)))
    partition = catalog_dataset.catalog.partitions.find(catalog_dataset.id, day(0))
    assert partition is not None
    assert (partition.state, partition.retracted) == ("open", True)


def test_requests_last_until_the_partition_is_built(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(0), catalog_dataset.segment(1))
    catalog_dataset.catalog.partitions.request_builds(catalog_dataset.id, [day(1), day(0), day(7)], reason="late rows")
    catalog_dataset.catalog.partitions.request_builds(catalog_dataset.id, [day(1)], reason="asked by hand")
    assert catalog_dataset.catalog.partitions.requested_builds(catalog_dataset.id) == {
        "2013-01-01": "late rows",
        "2013-01-02": "asked by hand",
        "2013-01-08": "late rows",
    }
    catalog_dataset.build(
        1, catalog_dataset.catalog.manifest.segments(catalog_dataset.id, partition=day(1)), catalog_dataset.sealed(1)
    )
    catalog_dataset.build(7, [])
    assert list(catalog_dataset.catalog.partitions.requested_builds(catalog_dataset.id)) == ["2013-01-01"]


@pytest.mark.parametrize("report", [True, False])
def test_a_build_reports_itself_unless_dagster_does(catalog_dataset: CatalogDataset, report: bool) -> None:
    catalog_dataset.land()
    relay = {"holder": "relay", "limit": 10, "ttl": HOUR}
    catalog_dataset.catalog.outbox.delivered(event.id for event in catalog_dataset.catalog.outbox.claim(**relay))
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(), report=report)
    events = catalog_dataset.catalog.outbox.claim(**relay)
    assert [event.kind for event in events] == ["partition_built"] * report
    if report:
        payload = events[0].payload
        assert (payload["partition"], payload["rows"], payload["state"]) == ("2013-01-01", 10, "sealed")
        assert payload["min_time"] == "2013-01-01T01:00:00Z"


def test_time_travel_sees_each_version_as_it_was(catalog_dataset: CatalogDataset) -> None:
    seen = {0: catalog_dataset.names(0)}

    def look(version: int) -> None:
        seen[version] = catalog_dataset.names()

    for number in range(4):
        look(catalog_dataset.land("a", catalog_dataset.segment(number % 2)))
    look(
        catalog_dataset.build(
            0, catalog_dataset.catalog.manifest.segments(catalog_dataset.id, partition=day(0)), catalog_dataset.sealed(rows=20)
        )
    )
    look(catalog_dataset.land())
    assert {version: catalog_dataset.names(version) for version in seen} == seen
    assert list(seen) == list(range(7))


def test_segments_are_found_by_time_and_partition(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *(catalog_dataset.segment(number) for number in range(5)))
    first, last = day(1).start + HOUR, day(1).start + 2 * HOUR

    def days(**bounds: object) -> list[int]:
        found = catalog_dataset.catalog.manifest.segments(catalog_dataset.id, with_stats=False, **bounds)
        return [(segment.partition_start - day(0).start).days for segment in found]

    assert days(start=last, end=day(3).start) == [1, 2]
    assert days(start=day(1).start, end=first) == []
    assert days(start=first, end=first + HOUR / 60) == [1]
    assert days(start=day(4).start) == [4]
    assert days(end=day(1).start) == [0]
    assert days(partition=day(3)) == [3]


def test_only_asked_statistics_are_read(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", catalog_dataset.segment(), catalog_dataset.segment(stats={}))
    assert [
        dict(segment.stats) for segment in catalog_dataset.catalog.manifest.segments(catalog_dataset.id, with_stats=False)
    ] == [{}, {}]
    assert sorted(len(segment.stats) for segment in catalog_dataset.catalog.manifest.segments(catalog_dataset.id)) == [0, 1]


def test_a_huge_build_replaces_more_than_one_statement_can_name(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *catalog_dataset.many([0] * 1201, rows=1))
    assert catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=1201)) == 2
    assert len(catalog_dataset.live()) == 1


def test_the_session_of_a_build_may_differ_from_the_landing(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    builder = replace(
        catalog_dataset, session=catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "build", holder="b", ttl=HOUR)
    )
    assert builder.session > catalog_dataset.session
    assert builder.build(0, builder.live(), builder.sealed()) == 2

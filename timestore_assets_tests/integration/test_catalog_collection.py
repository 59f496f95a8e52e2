"""Leases, sessions, pins, and what the collector may forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.segment import ObjectName
from timestore_assets_tests.support.catalog_dataset import HOUR, CatalogDataset

EXPIRED = timedelta(seconds=-1)


def later() -> datetime:
    """A cut-off that everything superseded so far lies before."""
    return datetime.now(UTC) + HOUR


def superseded(catalog_dataset: CatalogDataset) -> str:
    """Land and build, so that one segment is superseded at version 2; its name."""
    catalog_dataset.land()
    (delta,) = catalog_dataset.live()
    catalog_dataset.build(0, [delta], catalog_dataset.sealed())
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    return delta.name


def test_a_lease_has_one_holder(catalog_dataset: CatalogDataset) -> None:
    mine = catalog_dataset.catalog.leases.acquire("file:1", holder="me", ttl=HOUR)
    assert mine is not None
    assert mine.expires_at > datetime.now(UTC)
    assert catalog_dataset.catalog.leases.acquire("file:1", holder="you", ttl=HOUR) is None
    assert catalog_dataset.catalog.leases.acquire("file:2", holder="you", ttl=HOUR) is not None
    again = catalog_dataset.catalog.leases.acquire("file:1", holder="me", ttl=2 * HOUR)
    assert again is not None and again.id == mine.id and again.expires_at > mine.expires_at
    catalog_dataset.catalog.leases.release(again)
    assert catalog_dataset.catalog.leases.acquire("file:1", holder="you", ttl=HOUR) is not None


def test_an_expired_lease_is_taken_over_and_its_holder_notices(catalog_dataset: CatalogDataset) -> None:
    lost = catalog_dataset.catalog.leases.acquire("build:1", holder="me", ttl=EXPIRED)
    taken = catalog_dataset.catalog.leases.acquire("build:1", holder="you", ttl=HOUR)
    assert lost is None or catalog_dataset.catalog.leases.renew(lost, ttl=HOUR) is None
    assert taken is not None
    kept = catalog_dataset.catalog.leases.renew(taken, ttl=2 * HOUR)
    assert kept is not None and kept.expires_at > taken.expires_at


def test_a_former_holder_cannot_renew_or_release_the_successors_lease(catalog_dataset: CatalogDataset) -> None:
    first = catalog_dataset.catalog.leases.acquire("build:1", holder="me", ttl=HOUR)
    assert first is not None
    catalog_dataset.catalog.leases.release(first)
    second = catalog_dataset.catalog.leases.acquire("build:1", holder="me", ttl=HOUR)
    assert second is not None and second.id != first.id
    assert catalog_dataset.catalog.leases.renew(first, ttl=HOUR) is None
    catalog_dataset.catalog.leases.release(first)
    assert catalog_dataset.catalog.leases.acquire("build:1", holder="you", ttl=HOUR) is None


def test_session_ids_rise(catalog_dataset: CatalogDataset) -> None:
    ids = [catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="x", ttl=HOUR) for _ in range(3)]
    assert ids == sorted(set(ids)) and ids[0] > catalog_dataset.session


def test_intents_of_a_live_session_stay(catalog_dataset: CatalogDataset) -> None:
    segment = catalog_dataset.segment()
    assert catalog_dataset.catalog.objects.collect_intents(older_than=-HOUR) == []
    catalog_dataset.catalog.sessions.heartbeat(catalog_dataset.session, ttl=EXPIRED)
    assert catalog_dataset.catalog.objects.collect_intents(older_than=HOUR) == []
    catalog_dataset.catalog.sessions.heartbeat(catalog_dataset.session, ttl=HOUR)
    assert catalog_dataset.catalog.objects.collect_intents(older_than=-HOUR) == []
    catalog_dataset.catalog.sessions.heartbeat(catalog_dataset.session, ttl=EXPIRED)
    assert [one.name for one in catalog_dataset.catalog.objects.collect_intents(older_than=-HOUR)] == [segment.name]
    assert segment.name not in catalog_dataset.catalog.objects.known()


def test_announcing_twice_is_harmless_but_names_are_not_shared(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.catalog.sessions.announce(catalog_dataset.session, ["x", "y"])
    catalog_dataset.catalog.sessions.announce(catalog_dataset.session, ["y", "z"])
    other = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="other", ttl=HOUR)
    with pytest.raises(ConflictError, match="announced"):
        catalog_dataset.catalog.sessions.announce(other, ["z"])


def test_superseded_segments_are_forgotten_after_their_time(catalog_dataset: CatalogDataset) -> None:
    name = superseded(catalog_dataset)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=datetime.now(UTC) - HOUR) == []
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == [ObjectName("default", name)]
    assert name not in catalog_dataset.catalog.objects.known()
    assert catalog_dataset.rows() == 10
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == []


def test_a_pinned_version_is_kept_whole(catalog_dataset: CatalogDataset) -> None:
    name = superseded(catalog_dataset)
    version, lease = catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=1, holder="query", ttl=HOUR)
    assert version == 1
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == []
    assert catalog_dataset.names(1) == [name]
    catalog_dataset.catalog.leases.release(lease)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == [ObjectName("default", name)]


def test_a_pin_of_another_version_or_an_expired_one_does_not_keep_it(catalog_dataset: CatalogDataset) -> None:
    name = superseded(catalog_dataset)
    assert catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=None, holder="query", ttl=HOUR)[0] == 2
    catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=1, holder="gone", ttl=EXPIRED)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == [ObjectName("default", name)]


def test_many_queries_pin_the_same_version(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    leases = [
        catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=None, holder="query", ttl=HOUR)[1] for _ in range(3)
    ]
    assert len({lease.id for lease in leases}) == 3


def test_a_collected_or_future_version_cannot_be_pinned(catalog_dataset: CatalogDataset) -> None:
    superseded(catalog_dataset)
    catalog_dataset.catalog.objects.collect_segments(superseded_before=later())
    with pytest.raises(RefusedError, match="collected; the oldest that can be read is 2"):
        catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=1, holder="query", ttl=HOUR)
    with pytest.raises(RefusedError, match="no version 3; the newest is 2"):
        catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=3, holder="query", ttl=HOUR)
    assert catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=2, holder="query", ttl=HOUR)[0] == 2


def test_a_session_that_may_be_reading_keeps_what_it_saw(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    (delta,) = catalog_dataset.live()
    reader = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "build", holder="slow", ttl=HOUR)
    catalog_dataset.build(0, [delta], catalog_dataset.sealed())
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == []
    catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "build", holder="began later", ttl=HOUR)
    catalog_dataset.catalog.sessions.end(reader)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == [ObjectName("default", delta.name)]


def test_collection_goes_in_steps(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land("a", *(catalog_dataset.segment() for _ in range(5)))
    catalog_dataset.build(0, catalog_dataset.live(), catalog_dataset.sealed(rows=50))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    steps = [len(catalog_dataset.catalog.objects.collect_segments(superseded_before=later(), limit=2)) for _ in range(4)]
    assert steps == [2, 2, 1, 0]


def test_abandoned_waiting_segments_are_collected_without_losing_a_version(catalog_dataset: CatalogDataset) -> None:
    waiting = catalog_dataset.segment()
    catalog_dataset.land("half", waiting, publish=False)
    catalog_dataset.land("new", retract=(catalog_dataset.source_partition("half").id,))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    assert catalog_dataset.catalog.objects.collect_segments(superseded_before=later()) == [ObjectName("default", waiting.name)]
    assert catalog_dataset.catalog.versions.pin(catalog_dataset.id, version=0, holder="query", ttl=HOUR)[0] == 0


def test_ids_are_not_used_again(catalog_dataset: CatalogDataset) -> None:
    superseded(catalog_dataset)
    highest = max(segment.id for segment in catalog_dataset.live())
    catalog_dataset.session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "build", holder="b", ttl=HOUR)
    catalog_dataset.build(0, catalog_dataset.live(), superseded_rows=10)
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    assert len(catalog_dataset.catalog.objects.collect_segments(superseded_before=later())) == 2
    catalog_dataset.session = catalog_dataset.catalog.sessions.begin(catalog_dataset.id, "landing", holder="b", ttl=HOUR)
    catalog_dataset.land()
    assert catalog_dataset.live()[0].id > highest

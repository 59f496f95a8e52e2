"""Leases, sessions, pins, and what the collector may forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.objects import ObjectName
from timestore_assets_tests.catalog_ground import HOUR, Ground

EXPIRED = timedelta(seconds=-1)


def later() -> datetime:
    """A cut-off that everything superseded so far lies before."""
    return datetime.now(UTC) + HOUR


def superseded(ground: Ground) -> str:
    """Land and build, so that one segment is superseded at version 2; its name."""
    ground.land()
    (delta,) = ground.live()
    ground.build(0, [delta], ground.sealed())
    ground.catalog.end_session(ground.session)
    return delta.name


def test_a_lease_has_one_holder(ground: Ground) -> None:
    mine = ground.catalog.acquire("file:1", holder="me", ttl=HOUR)
    assert mine is not None
    assert mine.expires_at > datetime.now(UTC)
    assert ground.catalog.acquire("file:1", holder="you", ttl=HOUR) is None
    assert ground.catalog.acquire("file:2", holder="you", ttl=HOUR) is not None
    again = ground.catalog.acquire("file:1", holder="me", ttl=2 * HOUR)
    assert again is not None and again.id == mine.id and again.expires_at > mine.expires_at
    ground.catalog.release(again)
    assert ground.catalog.acquire("file:1", holder="you", ttl=HOUR) is not None


def test_an_expired_lease_is_taken_over_and_its_holder_notices(ground: Ground) -> None:
    lost = ground.catalog.acquire("build:1", holder="me", ttl=EXPIRED)
    taken = ground.catalog.acquire("build:1", holder="you", ttl=HOUR)
    assert lost is None or ground.catalog.renew(lost, ttl=HOUR) is None
    assert taken is not None
    kept = ground.catalog.renew(taken, ttl=2 * HOUR)
    assert kept is not None and kept.expires_at > taken.expires_at


def test_a_former_holder_cannot_renew_or_release_the_successors_lease(ground: Ground) -> None:
    first = ground.catalog.acquire("build:1", holder="me", ttl=HOUR)
    assert first is not None
    ground.catalog.release(first)
    second = ground.catalog.acquire("build:1", holder="me", ttl=HOUR)
    assert second is not None and second.id != first.id
    assert ground.catalog.renew(first, ttl=HOUR) is None
    ground.catalog.release(first)
    assert ground.catalog.acquire("build:1", holder="you", ttl=HOUR) is None


def test_session_ids_rise(ground: Ground) -> None:
    ids = [ground.catalog.begin_session(ground.id, "landing", holder="x", ttl=HOUR) for _ in range(3)]
    assert ids == sorted(set(ids)) and ids[0] > ground.session


def test_intents_of_a_live_session_stay(ground: Ground) -> None:
    segment = ground.segment()
    assert ground.catalog.expired_intents(older_than=-HOUR) == []
    ground.catalog.heartbeat(ground.session, ttl=EXPIRED)
    assert ground.catalog.expired_intents(older_than=HOUR) == []
    ground.catalog.heartbeat(ground.session, ttl=HOUR)
    assert ground.catalog.expired_intents(older_than=-HOUR) == []
    ground.catalog.heartbeat(ground.session, ttl=EXPIRED)
    assert [one.name for one in ground.catalog.expired_intents(older_than=-HOUR)] == [segment.name]
    assert segment.name not in ground.catalog.known_objects()


def test_announcing_twice_is_harmless_but_names_are_not_shared(ground: Ground) -> None:
    ground.catalog.announce(ground.session, ["x", "y"])
    ground.catalog.announce(ground.session, ["y", "z"])
    other = ground.catalog.begin_session(ground.id, "landing", holder="other", ttl=HOUR)
    with pytest.raises(ConflictError, match="announced"):
        ground.catalog.announce(other, ["z"])


def test_superseded_segments_are_forgotten_after_their_time(ground: Ground) -> None:
    name = superseded(ground)
    assert ground.catalog.collect_segments(superseded_before=datetime.now(UTC) - HOUR) == []
    assert ground.catalog.collect_segments(superseded_before=later()) == [ObjectName("default", name)]
    assert name not in ground.catalog.known_objects()
    assert ground.rows() == 10
    assert ground.catalog.collect_segments(superseded_before=later()) == []


def test_a_pinned_version_is_kept_whole(ground: Ground) -> None:
    name = superseded(ground)
    version, lease = ground.catalog.pin(ground.id, version=1, holder="query", ttl=HOUR)
    assert version == 1
    assert ground.catalog.collect_segments(superseded_before=later()) == []
    assert ground.names(1) == [name]
    ground.catalog.release(lease)
    assert ground.catalog.collect_segments(superseded_before=later()) == [ObjectName("default", name)]


def test_a_pin_of_another_version_or_an_expired_one_does_not_keep_it(ground: Ground) -> None:
    name = superseded(ground)
    assert ground.catalog.pin(ground.id, version=None, holder="query", ttl=HOUR)[0] == 2
    ground.catalog.pin(ground.id, version=1, holder="gone", ttl=EXPIRED)
    assert ground.catalog.collect_segments(superseded_before=later()) == [ObjectName("default", name)]


def test_many_queries_pin_the_same_version(ground: Ground) -> None:
    ground.land()
    leases = [ground.catalog.pin(ground.id, version=None, holder="query", ttl=HOUR)[1] for _ in range(3)]
    assert len({lease.id for lease in leases}) == 3


def test_a_collected_or_future_version_cannot_be_pinned(ground: Ground) -> None:
    superseded(ground)
    ground.catalog.collect_segments(superseded_before=later())
    with pytest.raises(RefusedError, match="collected; the oldest that can be read is 2"):
        ground.catalog.pin(ground.id, version=1, holder="query", ttl=HOUR)
    with pytest.raises(RefusedError, match="no version 3; the newest is 2"):
        ground.catalog.pin(ground.id, version=3, holder="query", ttl=HOUR)
    assert ground.catalog.pin(ground.id, version=2, holder="query", ttl=HOUR)[0] == 2


def test_a_session_that_may_be_reading_keeps_what_it_saw(ground: Ground) -> None:
    ground.land()
    (delta,) = ground.live()
    reader = ground.catalog.begin_session(ground.id, "build", holder="slow", ttl=HOUR)
    ground.build(0, [delta], ground.sealed())
    ground.catalog.end_session(ground.session)
    assert ground.catalog.collect_segments(superseded_before=later()) == []
    ground.catalog.begin_session(ground.id, "build", holder="began later", ttl=HOUR)
    ground.catalog.end_session(reader)
    assert ground.catalog.collect_segments(superseded_before=later()) == [ObjectName("default", delta.name)]


def test_collection_goes_in_steps(ground: Ground) -> None:
    ground.land("a", *(ground.segment() for _ in range(5)))
    ground.build(0, ground.live(), ground.sealed(rows=50))
    ground.catalog.end_session(ground.session)
    steps = [len(ground.catalog.collect_segments(superseded_before=later(), limit=2)) for _ in range(4)]
    assert steps == [2, 2, 1, 0]


def test_abandoned_waiting_segments_are_collected_without_losing_a_version(ground: Ground) -> None:
    waiting = ground.segment()
    ground.land("half", waiting, publish=False)
    ground.land("new", retract=(ground.source_partition("half").id,))
    ground.catalog.end_session(ground.session)
    assert ground.catalog.collect_segments(superseded_before=later()) == [ObjectName("default", waiting.name)]
    assert ground.catalog.pin(ground.id, version=0, holder="query", ttl=HOUR)[0] == 0


def test_ids_are_not_used_again(ground: Ground) -> None:
    superseded(ground)
    highest = max(segment.id for segment in ground.live())
    ground.session = ground.catalog.begin_session(ground.id, "build", holder="b", ttl=HOUR)
    ground.build(0, ground.live(), superseded_rows=10)
    ground.catalog.end_session(ground.session)
    assert len(ground.catalog.collect_segments(superseded_before=later())) == 2
    ground.session = ground.catalog.begin_session(ground.id, "landing", holder="b", ttl=HOUR)
    ground.land()
    assert ground.live()[0].id > highest

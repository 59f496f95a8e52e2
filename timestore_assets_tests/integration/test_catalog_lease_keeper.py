"""Leases, sessions and pins that a keeper keeps alive: by a clock that the test turns, and by the keeper's own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import BEATS_PER_TTL, LeaseKeeper
from timestore_assets.catalog.snapshot_pin import SnapshotPin
from timestore_assets.model.errors import ConflictError, LeaseLostError, StorageFullError, UnavailableError
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.watched_catalog import HandClock, StillKeeper, Watch, WatchedCatalog, still_keeper

TTL = timedelta(seconds=20)
BEAT = TTL.total_seconds() / BEATS_PER_TTL
QUICK = timedelta(seconds=0.4)
DEADLINE = 60.0
AWAY = UnavailableError("the catalog is away")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch(clock=HandClock())
    watch.clock.set(monkeypatch)
    return watch


@pytest.fixture
def opened(sqlite_catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog.open(sqlite_catalog_url)
    yield catalog
    catalog.close()


@pytest.fixture
def keeper(opened: Catalog, watch: Watch) -> Iterator[StillKeeper]:
    with still_keeper(opened, watch) as keeper:
        yield keeper


@pytest.fixture
def rival(opened: Catalog, watch: Watch) -> Iterator[StillKeeper]:
    with still_keeper(opened, Watch(clock=watch.clock)) as keeper:
        yield keeper


def beat(keeper: StillKeeper, watch: Watch, *, times: int = 1) -> None:
    for _ in range(times):
        watch.clock.pass_by(BEAT)
        keeper.renew_due()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def keeping_threads() -> int:
    return sum(thread.name == "lease-keeper" for thread in threading.enumerate())


# --- by a clock that the test turns


def test_a_lease_outlives_its_time_while_it_is_renewed(keeper: StillKeeper, rival: StillKeeper, watch: Watch) -> None:
    lease = keeper.hold("file:1", holder="a", ttl=TTL)
    assert lease is not None
    for _ in range(3 * BEATS_PER_TTL):
        beat(keeper, watch)
        assert lease.is_held
        assert rival.hold("file:1", holder="b", ttl=TTL) is None
    assert watch.calls["renew"] == 3 * BEATS_PER_TTL


def test_nothing_is_renewed_before_it_is_due(keeper: StillKeeper, watch: Watch) -> None:
    assert keeper.renew_due() is None
    keeper.hold("file:1", holder="a", ttl=TTL)
    watch.clock.pass_by(BEAT / 2)
    keeper.hold("file:2", holder="a", ttl=2 * TTL)
    assert keeper.renew_due() == pytest.approx(BEAT / 2)
    assert watch.calls["renew"] == 0


def test_all_beats_of_a_life_but_one_may_fail(keeper: StillKeeper, rival: StillKeeper, watch: Watch) -> None:
    lease = keeper.hold("file:1", holder="a", ttl=TTL)
    assert lease is not None
    for _ in range(3):
        watch.fault = AWAY
        beat(keeper, watch, times=BEATS_PER_TTL - 2)
        watch.fault = None
        beat(keeper, watch)
        assert lease.is_held
        assert rival.hold("file:1", holder="b", ttl=TTL) is None


def test_a_lease_that_somebody_else_holds_by_now_is_lost(keeper: StillKeeper, rival: StillKeeper, watch: Watch) -> None:
    lease = keeper.hold("build:1", holder="a", ttl=TTL)
    assert lease is not None
    watch.clock.pass_by(TTL.total_seconds())
    assert rival.hold("build:1", holder="b", ttl=TTL) is not None
    assert not lease.is_held
    for look in (lease.check, lease.renew_if_due):
        with pytest.raises(LeaseLostError, match="lease build:1 expired and somebody else holds it"):
            look()
    assert issubclass(LeaseLostError, ConflictError), "who plans again after a conflict does so after this"


def test_a_lease_that_could_not_be_renewed_in_time_is_not_believed_in(keeper: StillKeeper, watch: Watch) -> None:
    lease = keeper.hold("build:1", holder="a", ttl=TTL)
    assert lease is not None
    watch.fault = AWAY
    beat(keeper, watch, times=BEATS_PER_TTL)
    assert not lease.is_held
    with pytest.raises(UnavailableError, match="is away"):
        lease.check()


def test_a_lease_that_expired_in_an_outage_is_taken_again_when_nobody_has_it(
    keeper: StillKeeper, rival: StillKeeper, watch: Watch
) -> None:
    asked, beaten = keeper.hold("file:1", holder="a", ttl=TTL), keeper.hold("file:2", holder="a", ttl=TTL)
    assert asked is not None and beaten is not None
    watch.fault = AWAY
    beat(keeper, watch, times=2 * BEATS_PER_TTL)
    watch.fault = None
    asked.check()
    beat(keeper, watch)
    assert asked.is_held and beaten.is_held
    assert rival.hold("file:1", holder="b", ttl=TTL) is rival.hold("file:2", holder="b", ttl=TTL) is None


def test_what_is_held_is_known_without_asking(keeper: StillKeeper, watch: Watch) -> None:
    lease = keeper.hold("build:1", holder="a", ttl=TTL)
    assert lease is not None
    asked = watch.calls.total()
    watch.clock.pass_by(TTL.total_seconds() - 1)
    lease.check()
    assert watch.calls.total() == asked


def test_a_lease_is_had_as_soon_as_it_is_free(keeper: StillKeeper, rival: StillKeeper, watch: Watch) -> None:
    held = rival.hold("dagster-run:r", holder="sensor", ttl=TTL)
    assert held is not None
    lease = keeper.hold_when_free("dagster-run:r", holder="r", ttl=TTL, retry_seconds=2.0)
    assert (lease.is_held, keeper.renew_due()) == (False, 2.0)
    held.release()
    watch.clock.pass_by(2.0)
    assert keeper.renew_due() == BEAT
    assert lease.is_held


def test_a_released_lease_is_free_at_once_and_is_not_renewed_any_more(
    keeper: StillKeeper, rival: StillKeeper, watch: Watch
) -> None:
    lease = keeper.hold("file:1", holder="a", ttl=TTL)
    assert lease is not None
    with lease:
        assert lease.is_held
    assert rival.hold("file:1", holder="b", ttl=TTL) is not None
    beat(keeper, watch, times=BEATS_PER_TTL)
    renewed = lease.renew()
    assert (watch.calls["renew"], renewed, lease.is_held) == (0, False, False)
    lease.release()
    assert watch.calls["release"] == 1


def test_a_lease_that_could_not_be_given_back_is_by_who_holds_one_next(
    keeper: StillKeeper, rival: StillKeeper, watch: Watch
) -> None:
    lease = keeper.hold("build:1", holder="a", ttl=TTL)
    assert lease is not None
    watch.fault = StorageFullError("the disk is full")
    lease.release()
    assert rival.hold("build:1", holder="b", ttl=TTL) is not None


def test_a_session_lives_as_long_as_it_is_held(keeper: StillKeeper, opened: Catalog, watch: Watch) -> None:
    session = keeper.session(CatalogDataset.of(opened).id, "landing", holder="a", ttl=TTL)
    began = opened.sessions.beats([session.id])[session.id]
    watch.fault = AWAY
    beat(keeper, watch, times=BEATS_PER_TTL + 1)
    expired = not session.is_held
    watch.fault = None
    beat(keeper, watch)
    assert (expired, session.is_held) == (True, True), "a session may come back"
    assert opened.sessions.beats([session.id])[session.id] == began + (BEATS_PER_TTL + 2) * BEAT * 1_000_000
    session.release()
    beat(keeper, watch, times=2)
    assert (watch.calls["heartbeat"], watch.calls["end"]) == (BEATS_PER_TTL + 2, 1)


def test_a_pin_lasts_while_it_is_kept_and_is_lost_by_who_does_not_read_on(
    keeper: StillKeeper, opened: Catalog, watch: Watch
) -> None:
    ground = CatalogDataset.of(opened)
    ground.land()
    options: dict[str, Any] = {"version": None, "holder": "reader", "ttl": TTL, "clock": watch.clock}
    kept = keeper.keep(SnapshotPin(opened, ground.id, **options))
    read, forgotten = SnapshotPin(opened, ground.id, **options), SnapshotPin(opened, ground.id, **options)
    for _ in range(2 * BEATS_PER_TTL):
        beat(keeper, watch)
        read.renew_if_due()
        kept.check()
    for look in (forgotten.check, forgotten.renew_if_due, forgotten.check):
        with pytest.raises(UnavailableError, match="paused for so long"):
            look()
    assert (kept.is_held, read.is_held, kept.risk) == (True, True, "")


# --- by the thread


def test_many_leases_cost_one_thread_which_ends_with_the_keeper(opened: Catalog) -> None:
    before, session = keeping_threads(), CatalogDataset.of(opened).id
    with LeaseKeeper(opened) as keeper:
        assert keeping_threads() == before, "it starts with what there is to keep"
        for number in range(20):
            assert keeper.hold(f"file:{number}", holder="a", ttl=TTL) is not None
        keeper.session(session, "landing", holder="a", ttl=TTL)
        assert keeping_threads() == before + 1
    assert keeping_threads() == before
    with LeaseKeeper(opened) as another:
        assert another.hold("file:7", holder="b", ttl=TTL) is not None, "what was held is released"


def test_the_thread_renews_in_time_until_the_keeper_ends(opened: Catalog) -> None:
    watch, before = Watch(), keeping_threads()
    catalog: Any = WatchedCatalog(opened, watch)
    with LeaseKeeper(catalog) as keeper:
        released, lease = keeper.hold("file:1", holder="a", ttl=QUICK), keeper.hold("file:2", holder="a", ttl=QUICK)
        assert released is not None and lease is not None
        released.release()
        renewed = watch.calls["renew"]
        until(lambda: watch.calls["renew"] >= renewed + BEATS_PER_TTL + 1)
        assert opened.leases.acquire("file:1", holder="b", ttl=TTL) is not None, "nobody renews it"
        lease.check()
    assert keeping_threads() == before, "nobody is left who could renew"


@pytest.mark.parametrize("fault", [AWAY, RuntimeError("nobody expects this")])
def test_the_thread_survives_what_fails(opened: Catalog, fault: Exception) -> None:
    watch = Watch()
    catalog: Any = WatchedCatalog(opened, watch)
    with LeaseKeeper(catalog) as keeper:
        lease = keeper.hold("file:1", holder="a", ttl=QUICK)
        watch.fault = fault
        tried = watch.calls["renew"]
        until(lambda: watch.calls["renew"] >= tried + 2)
        watch.fault = None
        until(lambda: lease is not None and lease.is_held)

"""Two keepers over one catalog, with faults and slow calls at any time, never both believe to hold the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import HeldLease
from timestore_assets.model.errors import LeaseLostError, UnavailableError
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.watched_catalog import HandClock, StillKeeper, Watch, still_keeper

TTL = timedelta(seconds=20)
AWAY = UnavailableError("the catalog is away")
NUMBERS = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one of the two does some `seconds` later, through a catalog that is slow, or away."""

    kind: str
    worker: int
    seconds: int
    delay: int
    is_away: bool


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["look", "beat", "check", "release"]),
        worker=st.integers(0, 1),
        seconds=st.sampled_from([0, 1, 4, 10, 20]),
        delay=st.sampled_from([0, 3]),
        is_away=st.sampled_from([False, False, True]),
    ),
    max_size=30,
)


@dataclass
class Worker:
    """One of those who want the lease."""

    name: str
    keeper: StillKeeper
    watch: Watch
    lease: HeldLease | None = None

    @property
    def believes(self) -> bool:
        return self.lease is not None and self.lease.is_held

    def do(self, step: Step, resource: str) -> None:
        self.watch.delay, self.watch.fault = step.delay, AWAY if step.is_away else None
        if self.lease is None:
            self.lease = self.keeper.hold(resource, holder=self.name, ttl=TTL)
        elif step.kind == "beat":
            self.keeper.renew_due()
        elif step.kind == "check":
            self.lease.check()
        elif step.kind == "release":
            self.lease.release()
            self.lease = None


@pytest.fixture
def catalog(sqlite_catalog_url: str) -> Iterator[Catalog]:
    opened = Catalog.open(sqlite_catalog_url)
    yield opened
    opened.close()


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_two_keepers_never_both_believe_to_hold(steps: list[Step], catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, resource = HandClock(), f"build:{next(NUMBERS)}"
    clock.set(monkeypatch)
    watches = [Watch(clock=clock), Watch(clock=clock)]
    workers = [Worker(name, still_keeper(catalog, watch), watch) for name, watch in zip("ab", watches, strict=True)]
    for step in steps:
        clock.pass_by(step.seconds)
        worker, other = workers[step.worker], workers[1 - step.worker]
        try:
            worker.do(step, resource)
        except LeaseLostError:
            assert not worker.believes
        except UnavailableError:
            assert step.is_away
        assert not (worker.believes and other.believes)
    clock.pass_by(2 * TTL.total_seconds())
    assert still_keeper(catalog, Watch(clock=clock)).hold(resource, holder="c", ttl=TTL) is not None

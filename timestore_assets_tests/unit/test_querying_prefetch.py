"""Fetching ahead: what is held while steps are worked on, how far it goes, and that nothing stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from timestore_assets.model.errors import UnavailableError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.planning.query_plan import Step
from timestore_assets.querying.reading import stepwise
from timestore_assets.querying.reading.stepwise import fetched_ahead

DAY = datetime(2024, 1, 1, tzinfo=UTC)


def segment(number: int) -> Segment:
    return Segment(
        id=number,
        dataset_id=1,
        name=f"s/{number}",
        partition_start=DAY,
        kind="sealed",
        format="parquet",
        rows=1,
        bytes=1000,
        min_time=DAY,
        max_time=DAY,
        schema_version=1,
    )


STEPS = [Step(unique=tuple(segment(10 * number + one) for one in range(2))) for number in range(6)]
IDS = [{one.id for one in step.segments} for step in STEPS]


@dataclass
class Fetching:
    """Holds segments as the cache would. `allowed`: fetches wait for it. `failing`: ids that can't be had."""

    held: set[int] = field(default_factory=set)
    ever: set[int] = field(default_factory=set)
    failing: frozenset[int] = frozenset()
    changed: threading.Condition = field(default_factory=threading.Condition)
    allowed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.allowed.set()

    @contextmanager
    def fetch(self, segments: Sequence[Segment], step: Step) -> Iterator[None]:
        ids = {one.id for one in segments}
        assert ids <= {one.id for one in step.segments}
        assert self.allowed.wait(20)
        if ids & self.failing:
            raise UnavailableError("the store is away")
        self._set(self.held | ids)
        yield
        self._set(self.held - ids)

    def _set(self, held: set[int]) -> None:
        with self.changed:
            self.held, self.ever = held, self.ever | held
            self.changed.notify_all()

    def wait(self, is_so: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(is_so, 20), (self.held, self.ever)


def test_the_next_steps_are_held_while_one_is_worked_on_and_let_go_after_it() -> None:
    fetching = Fetching()
    steps = fetched_ahead(iter(STEPS), fetching.fetch)
    for number, step in enumerate(steps):
        assert step is STEPS[number]
        ahead = set().union(*IDS[max(number, 1) : number + 1 + stepwise.STEPS_AHEAD])
        fetching.wait(lambda ahead=ahead: fetching.held == ahead)  # type: ignore[misc] # mypy types no lambda with a default
    fetching.wait(lambda: not fetching.held)
    assert fetching.ever == set().union(*IDS[1:])


def test_what_is_ahead_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepwise, "BYTES_AHEAD", 2000)
    fetching = Fetching()
    steps = fetched_ahead(iter(STEPS), fetching.fetch)
    next(steps)
    fetching.wait(lambda: fetching.held == IDS[1])
    next(steps)
    fetching.wait(lambda: fetching.held == IDS[1] | IDS[2])
    steps.close()
    fetching.wait(lambda: not fetching.held)


def test_closing_ends_it_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepwise, "_AT_ONCE", 1)
    fetching = Fetching()
    fetching.allowed.clear()
    steps = fetched_ahead(iter(STEPS), fetching.fetch)
    next(steps)
    steps.close()
    fetching.allowed.set()
    fetching.wait(lambda: not fetching.held)
    assert fetching.ever <= {min(IDS[1])}


def test_a_step_that_can_not_be_fetched_is_left_to_who_works_on_it() -> None:
    fetching = Fetching(failing=frozenset(IDS[1]))
    steps = fetched_ahead(iter(STEPS[:3]), fetching.fetch)
    first = next(steps)
    fetching.wait(lambda: fetching.held == IDS[2])
    assert [first, *steps] == STEPS[:3]
    fetching.wait(lambda: not fetching.held)


def test_without_steps_nothing_happens() -> None:
    assert list(fetched_ahead(iter(()), Fetching().fetch)) == []

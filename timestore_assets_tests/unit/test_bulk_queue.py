"""Jobs done by several threads: their order, what they add, what ends them, and whose turn it is."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from timestore_assets.landing.files.context import Share
from timestore_assets.landing.files.job_queue import OrderedSection, WorkQueue
from timestore_assets.landing.landing_session import Worker

NOBODY = cast("Worker", None)


def test_jobs_that_are_added_come_next() -> None:
    done: list[str] = []
    queue = WorkQueue()

    def first(_: Any) -> None:
        done.append("first")
        queue.add_next([lambda _: done.append("part 1"), lambda _: done.append("part 2")])

    queue.add_next([first, lambda _: done.append("second")])
    queue.work_off([NOBODY])
    assert done == ["first", "part 1", "part 2", "second"]


def test_threads_wait_for_what_another_may_add() -> None:
    """The job of one thread adds two that meet: they are done by both threads, though one had nothing to do before."""
    queue, together = WorkQueue(), threading.Barrier(2)

    def meeting(_: Worker) -> None:
        together.wait(20)

    queue.add_next([lambda _: queue.add_next([meeting] * 2)])
    queue.work_off([NOBODY, NOBODY])
    assert not together.broken


def test_the_first_error_ends_everything() -> None:
    queue = WorkQueue()
    done: list[int] = []

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    queue.add_next([lambda _: done.append(1), fail, lambda _: done.append(2)])
    with pytest.raises(ZeroDivisionError):
        queue.work_off([NOBODY])
    assert done == [1]
    assert queue.is_stopped


def test_an_error_of_a_thread_reaches_the_caller_when_all_have_ended() -> None:
    queue, ended = WorkQueue(), threading.Event()

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    def wait(_: Any) -> None:
        while not queue.is_stopped:
            ended.wait(0.01)
        ended.set()

    queue.add_next([wait, fail])
    with pytest.raises(ZeroDivisionError):
        queue.work_off([NOBODY, NOBODY])
    assert ended.is_set()


def test_turns_are_taken_in_order() -> None:
    turns, taken = OrderedSection(), list[int]()

    def take(number: int) -> None:
        with turns.turn(number):
            taken.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert taken == [0, 1, 2]


def test_a_turn_that_fails_is_over() -> None:
    turns = OrderedSection()
    with pytest.raises(ZeroDivisionError), turns.turn(0):
        raise ZeroDivisionError
    with turns.turn(1):
        pass


@pytest.mark.parametrize(("index", "first"), [(0, 0), (1, 3), (2, 6)])
def test_shares_begin_at_different_places_and_hold_everything(index: int, first: int) -> None:
    ordered = Share(index=index, of=3).ordered(range(10))
    assert ordered[0] == first
    assert sorted(ordered) == list(range(10))
    with pytest.raises(ValueError, match="share 3 of 3"):
        Share(index=3, of=3)

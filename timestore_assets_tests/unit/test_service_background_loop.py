"""Rounds of work beside the requests: a failure ends one round and no more, and is said without flooding the log."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from timestore_assets.model.errors import UnavailableError
from timestore_assets.service.background_loop import BackgroundLoop
from timestore_assets.service.service_log import Log


class Rounds:
    """Work that does in each round what it is told, and can be waited for."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = iter(outcomes)
        self.over = threading.Event()

    def __call__(self) -> None:
        try:
            outcome = next(self._outcomes)
        except StopIteration:
            self.over.set()
            return
        if outcome is not None:
            raise outcome


@contextmanager
def running(work: Callable[[], None], stream: io.StringIO) -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop(work, name="test", every=0.001, patience=20.0, log=Log.to(stream, level="info"))
    loop.start()
    try:
        yield loop
    finally:
        loop.close()


def lines(stream: io.StringIO) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [(line["event"], line.get("reason", line.get("error"))) for line in found]


def test_what_is_away_is_said_once_until_it_was_there_again_and_the_rounds_go_on() -> None:
    away, stream = UnavailableError("the catalog is away"), io.StringIO()
    work = Rounds(away, away, away, None, away)
    with running(work, stream) as loop:
        assert work.over.wait(20)
    assert lines(stream) == [("test_wait", "UnavailableError")] * 2
    assert loop.rounds >= 6


def test_what_nobody_foresaw_ends_one_round_and_is_logged_without_its_words() -> None:
    stream, work = io.StringIO(), Rounds(ZeroDivisionError("secret"), None)
    with running(work, stream):
        assert work.over.wait(20)
    assert lines(stream) == [("test_failed", "ZeroDivisionError")]
    assert "secret" not in stream.getvalue()


def test_no_round_begins_after_it_was_stopped_and_closing_waits_for_the_last_one() -> None:
    begun, go = threading.Event(), threading.Event()
    finished: list[bool] = []

    def work() -> None:
        begun.set()
        assert go.wait(20)
        finished.append(loop.is_stopping)

    loop = BackgroundLoop(work, name="test", every=0.001, patience=20.0, log=Log.none())
    loop.start()
    assert begun.wait(20)
    loop.ask_to_stop()
    go.set()
    loop.close()
    assert (loop.is_alive, loop.rounds, finished) == (False, 1, [True])


def test_one_that_was_never_started_is_closed_at_once_and_a_slow_round_is_not_waited_for_for_ever() -> None:
    BackgroundLoop(lambda: None, name="test", every=1.0, patience=20.0, log=Log.none()).close()
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(20)

    loop = BackgroundLoop(work, name="test", every=0.001, patience=0.0, log=Log.none())
    loop.start()
    assert begun.wait(20)
    loop.close()
    assert loop.is_alive
    go.set()
    loop.wait(20)
    assert not loop.is_alive

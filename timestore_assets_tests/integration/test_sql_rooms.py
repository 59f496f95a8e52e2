"""Rooms are kept for the next statement, which finds nothing of the one before; what can't be trusted is not kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.model.errors import InputError, TimeLimitError, TimestoreError
from timestore_assets.querying.sql import rooms as rooms_module
from timestore_assets.querying.sql.room import Room, blank
from timestore_assets.querying.sql.rooms import Rooms
from timestore_assets.querying.sql.runner import InProcess, SqlJob
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets_tests.integration.test_querying_sandbox import ATTACKS
from timestore_assets_tests.support.query_warehouse import METER, query_warehouse_in, row

ENDLESS = "SELECT count(*) FROM meter, range(100000000) a, range(100000000) b WHERE a.range + b.range = -1"
MADE_BY_A_STATEMENT = (
    "CREATE TEMP TABLE made AS SELECT 1 AS a",
    "CREATE TEMP VIEW meter AS SELECT 99 AS n",
    "CREATE TEMP MACRO made() AS 1",
    "SET VARIABLE made = 1",
    "PREPARE made AS SELECT 1",
)
MADE_FOR_ALL = (
    "CREATE TABLE made AS SELECT 1 AS a",
    "CREATE OR REPLACE VIEW meter AS SELECT 99 AS n",
    "DROP VIEW meter",
    "CREATE MACRO made() AS 1",
    "CREATE SCHEMA made",
)


class Door:
    """SQL over a warehouse whose rooms are kept."""

    def __init__(self, folder: Path) -> None:
        self.ground = query_warehouse_in(folder, format="duckdb")
        self.ground.land([row("a", minute, n=minute) for minute in range(3)])
        self.ground.build(1)
        self.ground.land([row("a", 0, n=7, rev=2), row("b", 0, n=1)])
        self.rooms = Rooms(self.ground.limits)

    def __call__(self, text: str, **options: Any) -> list[dict[str, Any]]:
        datasets = options.pop("datasets", {"meter": (self.ground.dataset, self.ground.record)})
        room = partial(InProcess, rooms=self.rooms)
        with run_sql(self.ground.querier, text, datasets, room=room, **options) as answer:
            found: list[dict[str, Any]] = answer.table().to_pylist()
            return found

    @property
    def waiting(self) -> list[Room]:
        return [room for room, _ in self.rooms._waiting.rooms]

    def close(self) -> None:
        self.rooms.close()
        self.ground.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """A built day, and rows that are not built, one of them newer than a built one."""
    made = Door(tmp_path)
    yield made
    made.close()


def total(door: Door) -> Any:
    return door("SELECT sum(n)::INT AS n FROM meter")[0]["n"]


def test_statements_over_the_same_rows_use_one_room(door: Door) -> None:
    assert total(door) == 11
    (room,) = door.waiting
    assert door("SELECT n FROM meter WHERE n + 0 > $least", parameters={"least": 6}) == [{"n": 7}]
    assert door("SELECT max(n) AS n FROM meter") == [{"n": 7}]
    assert door.waiting == [room] and room.statements == 3


def test_what_lands_is_seen_by_the_next_statement_and_a_version_of_before_as_it_was(door: Door) -> None:
    """I3, I5: a room shows what the version of its statement holds, and nothing else."""
    datasets = {"meter": (door.ground.dataset, door.ground.record)}
    assert total(door) == 11
    door.ground.land([row("c", 0, n=100)])
    assert total(door) == 111
    door.ground.build(1)
    assert total(door) == 111
    assert door("SELECT sum(n)::INT AS n FROM meter", datasets=datasets) == [{"n": 111}]
    assert len({id(room) for room in door.waiting}) == 3


def test_two_statements_at_a_time_have_a_room_each(door: Door) -> None:
    text = "SELECT i FROM range(100000) t(i), (SELECT count(*) FROM meter)"
    datasets = {"meter": (door.ground.dataset, door.ground.record)}
    with run_sql(door.ground.querier, text, datasets, room=partial(InProcess, rooms=door.rooms)) as answer:
        batches = answer.batches()
        rows = next(batches).num_rows
        assert total(door) == 11
        assert rows + sum(batch.num_rows for batch in batches) == 100_000
    assert len(door.waiting) == 2


def test_callers_with_other_rights_have_other_rooms(door: Door) -> None:
    mine = {"meter": (door.ground.dataset, door.ground.record)}
    other = replace(METER, name="other")
    theirs = {**mine, "other": (other, door.ground.catalog.datasets.register(other, actor="test"))}
    text = "SELECT max(n) AS n FROM meter"
    assert door(text, datasets=mine) == door(text, datasets=theirs) == [{"n": 7}]
    assert len(door.waiting) == 2
    assert door("SELECT count(*) AS c FROM other", datasets=theirs) == [{"c": 0}]
    with pytest.raises(InputError, match="there is no dataset 'other'"):
        door("SELECT count(*) AS c FROM other", datasets=mine)


@pytest.mark.parametrize("made", MADE_BY_A_STATEMENT)
def test_what_a_statement_would_make_for_itself_is_gone_with_it(door: Door, made: str) -> None:
    """The check lets none of these pass; this is the wall behind it."""
    total(door)
    (room,) = door.waiting
    with room.statement() as con:
        con.execute(made)
    with room.statement() as con:
        for use in ("FROM made", "SELECT made()", "EXECUTE made"):
            with pytest.raises(duckdb.Error):
                con.cursor().execute(use)
        assert con.execute("SELECT getvariable('made')").fetchall() == [(None,)]
        assert con.execute("SELECT sum(n)::INT FROM meter").fetchall() == [(11,)]


@pytest.mark.parametrize("made", MADE_FOR_ALL)
def test_what_all_statements_would_see_can_not_be_made(door: Door, made: str) -> None:
    total(door)
    (room,) = door.waiting
    with room.statement() as con, pytest.raises(duckdb.Error, match="read-only mode"):
        con.execute(made)
    with room.statement() as con:
        assert con.execute("SELECT sum(n)::INT FROM meter").fetchall() == [(11,)]


@pytest.mark.parametrize("setting", ["threads = 1", "TimeZone = 'Europe/Berlin'", "GLOBAL memory_limit = '1GB'"])
def test_settings_can_not_be_changed_for_whoever_comes_next(door: Door, setting: str) -> None:
    total(door)
    (room,) = door.waiting
    with room.statement() as con, pytest.raises(duckdb.Error, match="configuration has been locked"):
        con.execute(f"SET {setting}")


def test_attacks_are_refused_in_a_kept_room_and_leave_it_as_it_was(door: Door) -> None:
    secret = door.ground.folder / "secret.csv"
    secret.write_text("word\nsecret\n")
    assert total(door) == 11
    (room,) = door.waiting
    places = {"secret": secret, "segment": next(door.ground.folder.rglob("*.duckdb")), "folder": door.ground.folder}
    for text in ATTACKS:
        asked = text
        for name, path in places.items():
            asked = asked.replace(f"{{{name}}}", str(path))
        with pytest.raises(TimestoreError):
            door(asked)
    assert total(door) == 11 and door.waiting == [room]


def test_a_room_is_not_used_again_after_an_interrupt(door: Door) -> None:
    total(door)
    (before,) = door.waiting
    with pytest.raises(TimeLimitError):
        door(ENDLESS, timeout=0.3)
    assert before not in door.waiting

    def stop(stopper: Cancellable) -> None:
        threading.Timer(0.3, stopper.interrupt).start()

    assert total(door) == 11
    (second,) = door.waiting
    with pytest.raises(TimeLimitError):
        door(ENDLESS, began=stop)
    assert second not in door.waiting and total(door) == 11


def test_a_room_is_not_used_again_after_an_error_or_an_answer_that_was_left(door: Door) -> None:
    assert total(door) == 11
    with pytest.raises(InputError):
        door("SELECT error_of_type::INT FROM meter")
    with pytest.raises(InputError):
        door("SELECT device::INT FROM meter")
    assert door.waiting == []
    datasets = {"meter": (door.ground.dataset, door.ground.record)}
    text = "SELECT i FROM range(100000000) t(i), (SELECT count(*) FROM meter)"
    with run_sql(door.ground.querier, text, datasets, room=partial(InProcess, rooms=door.rooms)) as answer:
        next(answer.batches())
    assert door.waiting == []


def test_an_interrupt_between_two_steps_is_not_lost(door: Door) -> None:
    """It comes once the text is read, while nothing computes."""
    executor = InProcess(door.ground.limits, door.rooms)

    def stopped(_: Any) -> InProcess:
        return executor

    original = executor.read

    def read(asked: Any) -> Any:
        found = original(asked)
        executor.interrupt()
        return found

    executor.read = read  # type: ignore[method-assign] # the moment that no clock can hit
    with pytest.raises(TimeLimitError):
        run_sql(door.ground.querier, "SELECT n FROM meter", {"meter": (door.ground.dataset, door.ground.record)}, room=stopped)
    assert door.waiting == []


def test_few_rooms_wait_and_only_so_many_statements_are_in_one(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "MOST_STATEMENTS", 2)
    total(door)
    (first,) = door.waiting
    total(door)
    assert door.waiting == [], "it was the second one"
    total(door)
    assert first not in door.waiting
    door.rooms._most = 1
    door("SELECT 1 AS a")
    assert len(door.waiting) == 1


def test_rooms_that_wait_hold_no_more_memory_than_one_statement_may(door: Door) -> None:
    total(door)
    (room,) = door.waiting
    other = Room(blank(door.ground.limits), [], key="mine")
    door.rooms._most_bytes = room.bytes_held() + other.bytes_held() - 1
    door.rooms.give(other)
    assert door.waiting == [other], "the older one went"


def test_rooms_that_nobody_uses_let_go_of_what_they_hold(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "IDLE_SECONDS", 0.05)
    room = Room(blank(door.ground.limits), [], key="mine")
    closed = threading.Event()
    room._stack.callback(closed.set)
    door.rooms.give(room)
    assert closed.wait(60)
    assert door.waiting == []


def test_a_forked_process_has_rooms_of_its_own(door: Door) -> None:
    """A DuckDB that was made before the fork has no threads there, and would wait for them for ever."""
    total(door)
    (room,) = door.waiting
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        # no catalog here: what was opened before a fork is another matter
        job = SqlJob(text="SELECT count(*) AS c FROM range(200000)", parameters={}, views=())
        executor = InProcess(door.ground.limits, door.rooms)
        executor.open(job)
        rows = [batch.to_pylist() for batch in executor.batches()]
        executor.close()
        os._exit(0 if rows == [[{"c": 200_000}]] and room not in door.waiting else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert total(door) == 11 and door.waiting == [room]


def test_rooms_that_are_closed_keep_nothing(door: Door) -> None:
    total(door)
    door.rooms.close()
    assert door.waiting == []
    assert total(door) == 11 and door.waiting == []


def test_closing_waits_for_the_connection_that_is_being_made(door: Door) -> None:
    door("SELECT count(*) FROM meter")
    door.rooms.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "sql-rooms"] == []


def test_a_room_that_can_not_be_made_leaves_no_connection(door: Door) -> None:
    con = blank(door.ground.limits)
    with pytest.raises(AttributeError):
        Room(con, [object()], key=None)  # type: ignore[list-item] # no view
    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")

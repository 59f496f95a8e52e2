"""Turns are shared by principal: who asks a thousand questions at once takes time from itself alone."""

from __future__ import annotations

import anyio
import pytest

from timestore_assets.service.answers.query_gate import LOCAL, QueryGate
from timestore_assets.service.problems import TooManyRequestsError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Crowd:
    """Questions that are answered when they are told to be. `began`: whose were begun, in order; `refused`: whose were not."""

    def __init__(self, gate: QueryGate, group: anyio.abc.TaskGroup) -> None:
        self.gate, self.group = gate, group
        self.began: list[str] = []
        self.refused: list[str] = []
        self._ends: list[tuple[str, anyio.Event]] = []

    async def ask(self, principal: str, times: int = 1) -> None:
        for _ in range(times):
            self.group.start_soon(self._ask, principal)
            await anyio.wait_all_tasks_blocked()

    async def end(self, principal: str) -> None:
        """One that is being answered ends."""
        found = next(one for one in self._ends if one[0] == principal)
        self._ends.remove(found)
        found[1].set()
        await anyio.wait_all_tasks_blocked()

    async def end_all(self) -> None:
        while self._ends:
            await self.end(self._ends[0][0])

    async def _ask(self, principal: str) -> None:
        try:
            async with self.gate.entered(principal):
                end = anyio.Event()
                self._ends.append((principal, end))
                self.began.append(principal)
                await end.wait()
        except TooManyRequestsError as error:
            assert 1 <= int(error.headers["Retry-After"]) <= 30
            self.refused.append(principal)


async def test_one_turn_is_left_for_others() -> None:
    async with anyio.create_task_group() as group:
        crowd = Crowd(QueryGate(concurrency=4, waiting=64), group)
        await crowd.ask("flood", 10)
        assert crowd.began == ["flood"] * 3
        await crowd.ask("ann")
        assert crowd.began[-1] == "ann" and crowd.gate.inside == 4
        await crowd.end_all()
    assert crowd.began.count("flood") == 10 and crowd.gate.inside == crowd.gate.waiting == 0


async def test_programs_of_this_machine_may_have_all_turns_and_so_may_anybody_of_a_single_one() -> None:
    async with anyio.create_task_group() as group:
        crowd = Crowd(QueryGate(concurrency=3, waiting=8), group)
        await crowd.ask(LOCAL, 4)
        assert crowd.gate.inside == 3
        alone = Crowd(QueryGate(concurrency=1, waiting=8), group)
        await alone.ask("ann", 2)
        assert alone.gate.inside == 1
        await crowd.end_all()
        await alone.end_all()


async def test_a_free_turn_goes_to_who_has_fewest_and_round_among_equals() -> None:
    async with anyio.create_task_group() as group:
        crowd = Crowd(QueryGate(concurrency=2, waiting=64), group)
        await crowd.ask("x")
        await crowd.ask("y")
        for principal, times in (("flood", 5), ("ann", 2), ("bob", 2)):
            await crowd.ask(principal, times)
        del crowd.began[:]
        while crowd._ends:
            await crowd.end(crowd._ends[0][0])
        assert sorted(crowd.began[:3]) == ["ann", "bob", "flood"] and sorted(crowd.began[3:6]) == ["ann", "bob", "flood"]
        assert crowd.began[6:] == ["flood"] * 3


async def test_only_who_floods_is_refused() -> None:
    async with anyio.create_task_group() as group:
        crowd = Crowd(QueryGate(concurrency=2, waiting=4), group)
        await crowd.ask("flood", 7)
        assert crowd.refused == ["flood"] * 2
        for principal in ("ann", "bob", "eve"):
            await crowd.ask(principal)
        # ann has the turn that was left; the flood's newest made room for who came then
        assert crowd.began == ["flood", "ann"] and crowd.refused == ["flood"] * 4
        await crowd.ask("flood")
        assert crowd.refused == ["flood"] * 5
        await crowd.end_all()
        assert sorted(crowd.began) == ["ann", "bob", "eve", *["flood"] * 3]


async def test_who_leaves_takes_no_turn_along() -> None:
    gate = QueryGate(concurrency=1, waiting=4)
    async with anyio.create_task_group() as group:
        crowd = Crowd(gate, group)
        await crowd.ask("ann")
        with anyio.move_on_after(0):
            async with gate.entered("bob"):
                raise AssertionError
        async with anyio.create_task_group() as leaving:
            gone = Crowd(gate, leaving)
            await gone.ask("eve", 2)
            leaving.cancel_scope.cancel()
        assert gate.waiting == 0 and gate.inside == 1
        await crowd.end_all()
        assert gate.inside == 0


async def test_a_turn_that_comes_as_its_client_leaves_goes_to_the_next() -> None:
    gate = QueryGate(concurrency=1, waiting=4)
    async with anyio.create_task_group() as group:
        crowd = Crowd(gate, group)
        await crowd.ask("ann")
        async with anyio.create_task_group() as leaving:
            await Crowd(gate, leaving).ask("eve")
            await crowd.ask("bob")
            crowd._ends.pop()[1].set()
            leaving.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert crowd.began == ["ann", "bob"]
        await crowd.end_all()
        assert gate.inside == gate.waiting == 0

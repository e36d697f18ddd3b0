"""What a member remembers of relayed calls: each runs once, whatever is asked and when."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trionet import ConnectionLost
from trionet.services.relayed_runs import KEPT_S, MOST_BYTES, MOST_RUNS, RelayedRuns


class Memory:
    """The runs of one node, on a clock that is set by hand; notes what has begun."""

    def __init__(self, life: str = "life") -> None:
        self.now_s = 100.0
        self.runs = RelayedRuns(life, lambda: round(self.now_s * 1e9), round(self.now_s * 1e9))
        self.begun: list[object] = []
        self.gate = trio.Event()
        self.gate.set()

    async def run(self, key: object, ticket: Any = None, size: int = 10) -> Any:
        async def begin() -> tuple[Any, int]:
            self.begun.append(key)
            await self.gate.wait()
            return f"answer of {key}", size

        return await self.runs.run(key, ticket, begin)


async def test_a_call_that_comes_again_has_the_answer_of_its_run() -> None:
    memory = Memory()
    assert await memory.run("a") == await memory.run("a") == "answer of a"
    assert await memory.runs.recall("a") == ("answer of a", 0.0, [])
    assert memory.begun == ["a"]


async def test_a_call_that_comes_again_waits_for_its_run() -> None:
    memory = Memory()
    memory.gate = trio.Event()
    answers: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.run, "a")
        await wait_all_tasks_blocked()

        async def recall() -> None:
            answers.append(await memory.runs.recall("a"))

        nursery.start_soon(recall)
        await wait_all_tasks_blocked()
        memory.gate.set()
    assert answers == [("answer of a", 0.0, [])]


async def test_who_recalls_a_run_and_is_cancelled_cancels_it() -> None:
    memory = Memory()
    memory.gate = trio.Event()
    lost: list[ConnectionLost] = []

    async def run() -> None:
        try:
            await memory.run("a")
        except ConnectionLost as exc:
            lost.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as recalling:
            recalling.start_soon(memory.runs.recall, "a")
            await wait_all_tasks_blocked()
            recalling.cancel_scope.cancel()
    assert len(lost) == 1
    await run()
    assert len(lost) == 2
    assert memory.begun == ["a"]


async def test_a_run_that_was_cancelled_is_lost_and_does_not_begin_again() -> None:
    memory = Memory()
    memory.gate = trio.Event()
    with trio.CancelScope() as scope:
        scope.cancel()
        await memory.run("a")
    for ask in (memory.run, memory.runs.recall):
        with pytest.raises(ConnectionLost):
            await ask("a")
    assert memory.begun == ["a"]


async def test_what_was_refused_before_it_ran_is_not_remembered() -> None:
    memory = Memory()
    await memory.run("a", size=0)
    await memory.run("a", size=0)
    assert len(memory.runs) == 0
    assert memory.begun == ["a", "a"]


async def test_a_call_that_is_not_known_runs_by_a_ticket() -> None:
    memory = Memory()
    memory.now_s += 5
    answer, sure_s, ticket = await memory.runs.recall("a")
    assert (answer, sure_s) == (None, 5.0)
    assert await memory.run("a", ticket) == "answer of a"
    assert await memory.run("a", ticket) == "answer of a"
    assert memory.begun == ["a"]


async def test_a_ticket_of_another_life_does_not_hold() -> None:
    _, _, ticket = await Memory("an earlier life").runs.recall("a")
    memory = Memory()
    for one in (ticket, [], [1, 2], ["life", -1], "life", 5):
        with pytest.raises(ConnectionLost):
            await memory.run("a", one if one != ["life", -1] else ["another", 5])
    assert memory.begun == []


async def test_a_ticket_does_not_hold_once_a_later_run_is_forgotten() -> None:
    memory = Memory()
    _, _, ticket = await memory.runs.recall("a")
    await memory.run("b")
    memory.now_s += KEPT_S + 1
    await memory.run("c")
    with pytest.raises(ConnectionLost):
        await memory.run("a", ticket)
    assert "a" not in memory.begun


async def test_a_member_is_sure_since_the_begin_of_what_it_has_forgotten() -> None:
    memory = Memory()
    memory.now_s += 100
    await memory.run("b")
    memory.now_s += KEPT_S + 1
    await memory.run("c")
    assert await memory.runs.recall("b") == (None, KEPT_S + 1, ["life", 2])


async def test_the_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(MOST_RUNS + 100):
        await memory.run(number)
    assert len(memory.runs) <= MOST_RUNS


async def test_answers_are_forgotten_before_their_calls() -> None:
    memory = Memory()
    for key in "abcd":
        await memory.run(key, size=MOST_BYTES // 3)
    with pytest.raises(ConnectionLost):
        await memory.run("a")
    assert await memory.run("d") == "answer of d"
    assert memory.begun == ["a", "b", "c", "d"]


async def test_a_long_answer_is_given_and_not_kept() -> None:
    memory = Memory()
    assert await memory.run("a", size=MOST_BYTES + 1) == "answer of a"
    with pytest.raises(ConnectionLost):
        await memory.runs.recall("a")

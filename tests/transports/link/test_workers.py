"""Handlers run in tasks that are used again: nothing of one call reaches the next one."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.link.ends import Hold, call, cancel_when, links
from trionet import Node, RemoteError
from trionet.transports.link.workers import MOST_IDLE
from trionet.trio_internals import is_scope_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Node]]

_word: ContextVar[str] = ContextVar("word", default="none")


class Tasks:
    """The tasks of the handlers so far."""

    def __init__(self) -> None:
        self.seen: list[trio.lowlevel.Task] = []
        self.names: list[str] = []

    async def note(self) -> int:
        """Note the task; return how many there are."""
        self.seen.append(trio.lowlevel.current_task())
        self.names.append(trio.lowlevel.current_task().name)
        return len(set(self.seen))


def idle(node: Node) -> list[Any]:
    """Return the idle tasks of a node's one link."""
    return links(node)[0]._server._workers.idle  # noqa: SLF001


async def test_calls_one_after_the_other_run_in_one_task_that_has_the_name_of_each(start: Start) -> None:
    tasks = Tasks()
    one, other = await start(), await start(first=tasks.note, second=tasks.note)
    for _ in range(3):
        assert await call(one, other, "first") == 1
        assert await call(one, other, "second") == 1
    assert tasks.names == ["first", "second"] * 3
    assert len(idle(other)) == 1


async def test_each_call_has_context_variables_of_its_own(start: Start) -> None:
    async def say(word: str) -> str:
        before = _word.get()
        _word.set(word)
        return before

    tasks = Tasks()
    one, other = await start(), await start(say=say, note=tasks.note)
    assert [await call(one, other, "say", word) for word in ("a", "b", "c")] == ["none"] * 3
    (worker,) = idle(other)
    assert _word not in worker._task.context  # noqa: SLF001


async def test_the_deadline_of_a_call_is_none_of_the_next_one(start: Start) -> None:
    tasks = Tasks()

    async def deadline() -> float:
        await tasks.note()
        return trio.current_effective_deadline()

    one, other = await start(), await start(deadline=deadline)
    with trio.fail_after(60):
        assert await call(one, other, "deadline") < math.inf
    assert await call(one, other, "deadline") == math.inf
    assert len(set(tasks.seen)) == 1


async def test_a_cancelled_call_takes_its_task_along_and_no_other_call(start: Start) -> None:
    hold, tasks = Hold(), Tasks()
    one, other = await start(), await start(hold=hold.handle, note=tasks.note)
    await call(one, other, "note")
    await cancel_when(lambda: hold.started == 1, lambda: call(one, other, "hold"))
    assert hold.cancelled == 1
    assert await call(one, other, "note") == 2
    assert len(idle(other)) == 1


async def test_a_call_that_ends_in_spite_of_its_cancellation_takes_its_task_along(start: Start) -> None:
    tasks = Tasks()

    async def stubborn() -> None:
        await tasks.note()
        with trio.CancelScope() as within, trio.CancelScope(shield=True):
            while not is_scope_cancelled(within):
                await trio.lowlevel.checkpoint()

    one, other = await start(), await start(stubborn=stubborn, note=tasks.note)
    await cancel_when(lambda: bool(tasks.seen), lambda: call(one, other, "stubborn"))
    assert await call(one, other, "note") == 2
    assert not idle(other) or all(worker._task is not tasks.seen[0] for worker in idle(other))  # noqa: SLF001


async def test_a_handler_that_leaves_a_scope_open_fails_alone(start: Start) -> None:
    tasks = Tasks()

    async def leave_open() -> None:
        await tasks.note()
        trio.CancelScope().__enter__()

    one, other = await start(), await start(leave_open=leave_open, note=tasks.note)
    with pytest.raises(RemoteError, match="Cancel scope stack corrupted"):
        await call(one, other, "leave_open")
    assert await call(one, other, "note") == 2
    assert len(links(other)) == 1


async def test_a_lock_that_a_handler_leaves_held_is_broken(start: Start) -> None:
    tasks, lock = Tasks(), trio.Lock()

    async def hold_lock() -> None:
        await tasks.note()
        await lock.acquire()

    one, other = await start(), await start(hold_lock=hold_lock, note=tasks.note)
    await call(one, other, "hold_lock")
    assert await call(one, other, "note") == 2
    with pytest.raises(trio.BrokenResourceError):
        await lock.acquire()


async def test_an_error_of_a_call_is_its_own(start: Start) -> None:
    tasks = Tasks()

    async def fail() -> None:
        await tasks.note()
        raise ValueError("wrong")

    one, other = await start(), await start(fail=fail, note=tasks.note)
    for _ in range(2):
        with pytest.raises(RemoteError, match="wrong"):
            await call(one, other, "fail")
    assert await call(one, other, "note") == 1


async def test_few_tasks_stay_and_none_on_a_resting_link(start: Start) -> None:
    go, tasks = trio.Event(), Tasks()

    async def wait() -> None:
        await tasks.note()
        await go.wait()

    one, other = await start(), await start(wait=wait)
    async with trio.open_nursery() as nursery:
        for _ in range(MOST_IDLE + 20):
            nursery.start_soon(call, one, other, "wait")
        while len(tasks.seen) < MOST_IDLE + 20:
            await trio.lowlevel.checkpoint()
        go.set()
    assert len(idle(other)) == MOST_IDLE
    (link,) = links(other)
    before = [worker._task for worker in idle(other)]  # noqa: SLF001
    while not link.core.liveness.is_resting:
        link.advance(link.core.liveness.deadline)
        await trio.lowlevel.checkpoint()
    assert idle(other) == []
    await trio.testing.wait_all_tasks_blocked()
    nursery_of_link = before[0].parent_nursery
    assert nursery_of_link is not None
    assert nursery_of_link.child_tasks.isdisjoint(before)

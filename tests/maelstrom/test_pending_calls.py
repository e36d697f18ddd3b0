"""Which reply ends which call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trionet import ConnectionLost
from trionet.maelstrom.envelope import Envelope
from trionet.maelstrom.pending_calls import PendingCalls

if TYPE_CHECKING:
    from trio.testing import MockClock


def reply(src: str, number: int) -> Envelope:
    return Envelope(src, "n0", {"type": "read_ok", "in_reply_to": number})


def start(nursery: trio.Nursery, calls: PendingCalls, dest: str) -> tuple[int, list[dict[str, Any]]]:
    """Start a call; return its number, and the list that gets the body of its reply."""
    number, bodies = calls.next_id(), list[dict[str, Any]]()

    async def call() -> None:
        bodies.append(await calls.wait(number, dest))

    nursery.start_soon(call)
    return number, bodies


async def test_only_the_reply_of_the_called_node_ends_a_call_and_only_once(nursery: trio.Nursery) -> None:
    calls = PendingCalls()
    first, first_bodies = start(nursery, calls, "n1")
    second, second_bodies = start(nursery, calls, "n2")
    await trio.testing.wait_all_tasks_blocked()
    assert not calls.resolve(reply("n2", first))
    assert not calls.resolve(reply("n1", 99))
    assert calls.resolve(reply("n2", second))
    assert not calls.resolve(reply("n2", second))
    await trio.testing.wait_all_tasks_blocked()
    assert (first_bodies, second_bodies) == ([], [reply("n2", second).body])
    assert calls.resolve(reply("n1", first))


async def test_a_cancelled_call_is_forgotten(autojump_clock: MockClock) -> None:
    calls = PendingCalls()
    number = calls.next_id()
    with trio.move_on_after(1) as scope:
        await calls.wait(number, "n1")
    assert scope.cancelled_caught
    assert not calls.resolve(reply("n1", number))


async def test_a_closing_node_ends_its_calls(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    calls = PendingCalls()

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        calls.close()

    nursery.start_soon(close)
    with trio.fail_after(1), pytest.raises(ConnectionLost):
        await calls.wait(calls.next_id(), "n1")

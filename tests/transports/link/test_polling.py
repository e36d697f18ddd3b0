"""When a link looks for input instead of sleeping, and when it doesn't."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.transports.link.ends import call, links
from trionet import NodeConfig
from trionet.processors import usable_processors
from trionet.transports.link.polling import BusyPoll

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trionet import Node

    Start = Callable[..., Awaitable[Node]]

TICK_S = 1e-5

_SKIPS_AFTER_FAILURES = [1, 3, 7, 15, 31, 63, 127, 255, 255]


class Ticking:
    """A clock that goes on by a tick with each look at it, however busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += TICK_S
        return self.now


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        yield one, other


def skips(poll: BusyPoll) -> int:
    """Return how many inputs it takes until it is worth to look again."""
    count = 0
    while not poll.is_worth_it():
        count += 1
    return count


async def test_what_comes_while_it_looks_is_returned(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    poll = BusyPoll(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        other.send(b"soon")
        assert await poll.look(partial(one.recv, 100)) == b"soon"


async def test_other_tasks_run_while_it_looks(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends

    async def send_later() -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        other.send(b"later")

    found = None
    while found is None:  # on a machine that stalls, the moment may be over before the third turn
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_later)
            found = await BusyPoll(2).look(partial(one.recv, 100))
    assert found.startswith(b"later")


async def test_it_is_tried_the_more_rarely_the_more_often_it_was_in_vain(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    one, other = ends
    poll = BusyPoll(2, Ticking())
    poll.is_worth_it()
    assert skips(poll) == 0
    for expected in _SKIPS_AFTER_FAILURES:
        assert await poll.look(partial(one.recv, 100)) is None
        assert skips(poll) == expected
    for _ in range(8):
        other.send(b"x")
        assert await poll.look(partial(one.recv, 100)) == b"x"
    assert await poll.look(partial(one.recv, 100)) is None
    assert skips(poll) == 1


async def test_it_is_not_worth_it_where_inputs_come_by_several_links() -> None:
    clock = Ticking()
    one, other = BusyPoll(2, clock), BusyPoll(2, clock)
    assert [poll.is_worth_it() for poll in (one, other, one, other)] == [False] * 4
    assert other.is_worth_it()


async def test_it_is_not_worth_it_where_inputs_are_far_apart() -> None:
    clock = Ticking()
    poll = BusyPoll(2, clock)
    for pause_s, is_worth_it in ((0.0, False), (0.0, True), (0.01, False), (0.01, False), (0.0, True)):
        clock.now += pause_s
        assert poll.is_worth_it() == is_worth_it


async def test_with_one_processor_it_never_looks() -> None:
    poll = BusyPoll(1)
    assert [poll.is_worth_it() for _ in range(4)] == [False] * 4
    assert 1 <= usable_processors() <= (os.cpu_count() or 1)


async def test_the_end_of_the_input_and_a_broken_connection_end_the_look(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    one, other = ends
    other.close()
    assert await BusyPoll(2).look(partial(one.recv, 100)) == b""
    one.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await BusyPoll(2).look(partial(one.recv, 100))


async def test_a_cancelled_look_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await BusyPoll(2).look(partial(ends[0].recv, 100))
    assert scope.cancelled_caught


@pytest.mark.parametrize("busy_poll", [True, False])
async def test_the_configuration_decides_whether_links_look(start: Start, *, busy_poll: bool) -> None:
    config = NodeConfig(busy_poll=busy_poll)
    one, other = await start(config), await start(config)
    assert await call(one, other, "echo", 1) == (1,)
    poll = links(one)[0]._reading._poll  # noqa: SLF001  what the configuration leads to shows in speed alone
    assert poll._is_possible == (busy_poll and usable_processors() > 1)  # noqa: SLF001

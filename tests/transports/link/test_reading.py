"""Links are read where Trio waits, or by one task for many; each is as if its own task read it."""

from __future__ import annotations

import contextvars
import errno
import signal
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.link.ends import HandPeer, call, connect, links
from tests.waiting import wait_until
from trionet import trio_waits
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.frames import Reply
from trionet.transports.link.polling import BusyPoll
from trionet.transports.link.reading import Reading
from trionet.trio_waits import Inputs, InputsInTask, InputsInWait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trionet import Node
    from trionet.protocols.link.events import Event

    Start = Callable[..., Awaitable[Node]]

MANY = 12


def waiting() -> int:
    """Return how many links wait for their input in the reader."""
    watched = Inputs.of_this_run().watched.values()
    return sum(isinstance(getattr(parked.function, "__self__", None), Reading) for parked in watched)


@pytest.fixture(params=[InputsInWait, InputsInTask], autouse=True)
def inputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the run watch its sockets by one of the two ways."""
    monkeypatch.setattr(trio_waits, "_can_wait_here", lambda: request.param is InputsInWait)


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks."""

    def __init__(self) -> None:
        self.of: list[trio.lowlevel.Task] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of.append(task)


seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


async def open_peers(node: Node, nursery: trio.Nursery) -> list[HandPeer]:
    """Open links to `node`, and make a call on each, so that all wait in the reader."""
    peers = list[HandPeer]()

    async def stay(*, task_status: trio.TaskStatus[HandPeer]) -> None:
        async with connect(node) as peer:
            task_status.started(peer)
            await trio.sleep_forever()

    for _ in range(MANY):
        peers.append(await nursery.start(stay))
    for number in range(2):
        for peer in peers:
            assert await ask(peer, number) == number
    await wait_until(lambda: waiting() == MANY)
    return peers


async def ask(peer: HandPeer, number: int, method: str = "take") -> Any:
    await peer.send(HandPeer.call(number, method, number))
    return (await peer.receive_a(Reply)).value


async def test_calls_over_many_links_are_handled_without_a_step_of_their_tasks(
    start: Start, nursery: trio.Nursery
) -> None:
    node = await start(take=lambda number: number)
    peers = await open_peers(node, nursery)
    tasks = {Inputs.of_this_run().watched[link._reading.fd].task for link in links(node)}  # noqa: SLF001
    trio.lowlevel.add_instrument(steps := Steps())
    for number in range(2, 5):
        for peer in peers:
            assert await ask(peer, number) == number
    trio.lowlevel.remove_instrument(steps)
    assert len(tasks) == MANY
    assert not tasks.intersection(steps.of)
    assert waiting() == MANY


async def test_handlers_have_the_context_of_their_link(start: Start, nursery: trio.Nursery) -> None:
    seen.set("by the node's opener")
    node = await start(take=lambda number: number, read=lambda _: seen.get())
    async with connect(node) as first:  # it is read by its own task
        found = await ask(first, 7, "read")
    seen.set("by somebody else")
    for peer in await open_peers(node, nursery):
        assert await ask(peer, 8, "read") == found


async def test_the_end_of_one_link_leaves_the_others(start: Start, nursery: trio.Nursery) -> None:
    node = await start(take=lambda number: number)
    first, second, third, *others = await open_peers(node, nursery)
    await first.stream.aclose()
    second.reset()
    await third.send_bytes(b"\xff" * 8)
    await third.wait_closed()
    await wait_until(lambda: len(links(node)) == len(others) == waiting())
    for peer in others:
        assert await ask(peer, 5) == 5


async def test_a_link_that_is_used_alone_is_read_by_its_own_task(start: Start, nursery: trio.Nursery) -> None:
    node = await start(take=lambda number: number)
    peer, *_ = await open_peers(node, nursery)
    for number in range(10, 20):
        assert await ask(peer, number) == number
    assert waiting() in (MANY - 1, MANY)


async def test_links_that_are_closed_at_their_node_are_no_longer_waited_for(
    start: Start, nursery: trio.Nursery
) -> None:
    node = await start(take=lambda number: number)
    inputs = Inputs.of_this_run()
    await wait_until(lambda: inputs.users == 1)  # its datagrams
    peers = await open_peers(node, nursery)
    assert inputs.users == 1 + MANY
    for link in links(node):
        link.abort()
    assert waiting() == 0
    for peer in peers:
        await peer.wait_closed()
    assert inputs.users == 1


async def test_ctrl_c_reaches_handlers_and_not_the_reader(start: Start, nursery: trio.Nursery) -> None:
    protected = dict[str, bool]()

    def take(number: int) -> int:
        protected["handler"] = trio.lowlevel.currently_ki_protected()
        return number

    node = await start(take=take)
    peer, *_ = await open_peers(node, nursery)
    for link in links(node):
        receive = link._reading._receive  # noqa: SLF001

        def note(most: int, receive: Callable[[int], bytes] = receive) -> bytes:
            protected["reader"] = trio.lowlevel.currently_ki_protected()
            return receive(most)

        link._reading._receive = note  # type: ignore[assignment]  # noqa: SLF001
    assert await ask(peer, 5) == 5
    assert protected == {"reader": True, "handler": False}


def test_ctrl_c_in_a_handler_that_closes_its_link_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_waits, "_FEW", 0)
    reached = list[str]()

    @trio.lowlevel.disable_ki_protection
    def handle(data: bytes) -> bool:
        if data == b"close":
            scope.cancel()
            reached.append("handler")
            signal.raise_signal(signal.SIGINT)
        return True

    async def main() -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        with near, far, scope:
            reading = Reading(near, BusyPoll(0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading.run, handle)
                far.send(b"first")
                await wait_until(lambda: waiting() == 1)
                far.send(b"close")
                await trio.sleep_forever()

    scope = trio.CancelScope()
    with pytest.raises(BaseExceptionGroup) as raised:
        trio.run(main, strict_exception_groups=True)
    assert raised.group_contains(KeyboardInterrupt)
    assert reached == ["handler"]


class _BrokenCore(LinkCore):
    __slots__ = ()

    def receive(self, *_: object) -> Iterator[Event]:
        raise RuntimeError("a bug")


async def test_an_exception_of_one_link_is_its_own(start: Start, nursery: trio.Nursery) -> None:
    node = await start(take=lambda number: number)
    peer, *others = await open_peers(node, nursery)
    broken = links(node)[0]

    broken.core.__class__ = _BrokenCore
    await peer.send(HandPeer.call(9, "take", 9))
    await peer.wait_closed()
    assert len(links(node)) == len(others)
    assert await ask(others[0], 5) == 5
    assert await call(node, node, "echo", 1) == (1,)


async def test_links_are_read_by_their_own_tasks_where_no_descriptor_is_free(
    start: Start, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("trionet.trio_waits.select.epoll", fail)
    node = await start(take=lambda number: number)
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connect(node)) for _ in range(MANY)]
        for number in range(3):
            for peer in peers:
                assert await ask(peer, number) == number
    assert waiting() == 0

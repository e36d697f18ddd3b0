"""Calls over idle links whose other side is gone and has closed nothing: a host that crashed, a network that forgot."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from tests.transports.link.ends import HandPeer, call, links, listen
from trionet import NodeConfig, NodeUnreachable, Remote, open_node
from trionet.protocols.link.frames import CallFrame, End, Item, Reply
from trionet.protocols.link.liveness import DOUBT_S
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

    from trionet import Node, NodeAddress

    Start = Callable[..., Awaitable[Node]]
    Use = Callable[[Node, NodeAddress], Awaitable[object]]


async def _call(node: Node, to: NodeAddress) -> object:
    return await call(node, to, "echo", 1)


async def _stream(node: Node, to: NodeAddress) -> object:
    remote = Remote(node=to, service="probe", method="count")
    async with node.local.comm.stream([], remote) as items, aclosing(items):
        return [item async for item in items]


async def _two_calls(node: Node, to: NodeAddress) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(_call, node, to)


async def _count() -> AsyncGenerator[int]:
    yield 1


class _Host:
    """A host whose node has a fixed address on a fabric."""

    def __init__(self, fabric: MemoryFabric, config: NodeConfig) -> None:
        self._fabric = fabric
        self._config = config
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[NodeAddress]) -> None:
        with trio.CancelScope() as self._scope:
            async with open_node(self._config, fabric=self._fabric) as node:
                await node.local.routes.put({"echo": lambda *args: args, "count": _count}, "probe")
                task_status.started(node.address)
                await trio.sleep_forever()

    def crash(self, address: NodeAddress) -> None:
        self._fabric.crash(address, is_silent=True)
        self._scope.cancel()

    async def start(self, nursery: trio.Nursery) -> NodeAddress:
        self._fabric.dark.clear()
        address: NodeAddress = await nursery.start(self.run)
        return address


@pytest.mark.parametrize("use", [_call, _stream, _two_calls])
@pytest.mark.parametrize("idle_s", [DOUBT_S + 1, 60.0])
async def test_no_call_is_lost_to_a_former_life_of_a_host_that_crashed(
    autojump_clock: MockClock, nursery: trio.Nursery, use: Use, idle_s: float
) -> None:
    fabric = MemoryFabric()
    host = _Host(fabric, NodeConfig(port=7000))
    async with open_node(fabric=fabric) as node:
        address = await host.start(nursery)
        await _call(node, address)
        host.crash(address)
        await trio.sleep(idle_s)
        assert await host.start(nursery) == address
        await use(node, address)


async def test_a_call_to_a_host_that_has_crashed_while_the_link_was_idle_has_not_run_for_certain(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fabric = MemoryFabric()
    host = _Host(fabric, NodeConfig(port=7000))
    async with open_node(fabric=fabric) as node:
        address = await host.start(nursery)
        await _call(node, address)
        host.crash(address)
        await trio.sleep(DOUBT_S)
        with pytest.raises(NodeUnreachable):
            await _call(node, address)


# ---- over sockets


class _Forgetful:
    """A peer on whose first connection nothing arrives any more after one call, and nothing ends it."""

    def __init__(self) -> None:
        self.peers: list[HandPeer] = []

    async def behave(self, peer: HandPeer) -> None:
        self.peers.append(peer)
        is_first = len(self.peers) == 1
        while True:
            frame = await peer.receive_a(CallFrame)
            number = frame.msg_id
            await peer.send(*([Reply(number, "echo")] if frame.credit is None else [Item(number, 1), End(number)]))
            if is_first:
                peer.ponging = False


@pytest.mark.parametrize("use", [_call, _stream, _two_calls])
async def test_a_call_on_a_link_that_the_network_has_forgotten_goes_over_another_one(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock, use: Use
) -> None:
    peer = _Forgetful()
    node, address = await start(), await listen(nursery, peer.behave)
    await _call(node, address)
    await trio.sleep(DOUBT_S + 1)
    begun_at = trio.current_time()
    await use(node, address)
    assert trio.current_time() - begun_at < 3
    first, second = peer.peers
    assert sum(isinstance(frame, CallFrame) for frame in first.seen) == 1
    assert any(isinstance(frame, CallFrame) for frame in second.seen)


async def test_a_link_that_is_reset_when_it_is_asked_costs_no_call(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    """So does a host that has started again: it knows nothing of the connection."""
    peers = list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        frame = await peer.receive_a(CallFrame)
        await peer.send(Reply(frame.msg_id, "echo"))
        if len(peers) == 1:
            await peer.stream.receive_some(4096)
            peer.reset()
        else:
            await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    await _call(node, address)
    await trio.sleep(DOUBT_S + 1)
    assert await _call(node, address) == "echo"
    assert len(peers) == 2


async def test_a_call_a_moment_after_another_asks_nothing(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    peer = _Forgetful()
    node, address = await start(), await listen(nursery, peer.behave)
    await _call(node, address)
    await trio.sleep(DOUBT_S - 1)
    await _call(node, address)
    (link,) = links(node)
    assert link.core.liveness.pings == 0
    assert len(peer.peers) == 1

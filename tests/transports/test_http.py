"""The HTTP transport's connections: how many, and what it costs to leave them."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.link.ends import Hold
from tests.waiting import wait_until
from trionet import ConnectionLost, MessageTooLarge, Node, NodeConfig, Remote, RemoteError
from trionet.transports.http import MOST_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    Start = Callable[[NodeConfig], Awaitable[Node]]

HTTP = NodeConfig(transport="http")
HOLD = Remote(service="probe", method="hold")


class Endless(Hold):
    """A stream that never ends, too."""

    async def items(self) -> AsyncIterator[int]:
        yield 1
        await self.handle()


async def call(node: Node, other: Node) -> Any:
    return await node.local.comm.send([], Remote(node=other.address, service="probe", method="hold"))


async def read(node: Node, other: Node) -> None:
    remote = Remote(node=other.address, service="probe", method="items")
    async with node.local.comm.stream([], remote) as items:
        async for _ in items:
            pass


async def fan_out(node: Node, _: Node) -> None:
    await node.group("probes").comm.send([], HOLD)


@asynccontextmanager
async def open_pair(start: Start, config: NodeConfig = HTTP) -> AsyncGenerator[tuple[Node, Node, Endless]]:
    node, other, hold = await start(config), await start(config), Endless()
    await other.local.routes.put({"hold": hold.handle, "items": hold.items, "make": bytes, "size": len}, "probe")
    await node.local.groups.put("probes", [other.address])
    yield node, other, hold


def connections(node: Node) -> int:
    return len(node._endpoint._listener._connections)  # type: ignore[attr-defined]  # noqa: SLF001  a look inside


async def cpu_s_of_leaving(work: Callable[[Node, Node], Awaitable[Any]], pair: Any, count: int) -> float:
    """Return the processor time of leaving a scope with so many in flight."""
    node, other, hold = pair
    running = min(count, MOST_CONNECTIONS)
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(work, node, other)
        await wait_until(lambda: hold.running == running)
        assert connections(other) == running
        begun = time.process_time()
        nursery.cancel_scope.cancel()
    took_s = time.process_time() - begun
    await wait_until(lambda: hold.running == 0)
    assert hold.most == running
    return took_s


@pytest.mark.slow
@pytest.mark.parametrize("work", [call, read, fan_out])
async def test_what_waits_for_a_connection_costs_next_to_nothing_to_leave(
    start_node: Start, work: Callable[[Node, Node], Awaitable[Any]]
) -> None:
    """httpx's own queue took seconds for 400, some forty times what the connections themselves take."""
    async with open_pair(start_node) as pair:
        await cpu_s_of_leaving(work, pair, 10)
        for _ in range(4):  # on a busy machine the same work takes several times as long
            alone_s = await cpu_s_of_leaving(work, pair, MOST_CONNECTIONS)
            queued_s = await cpu_s_of_leaving(work, pair, MOST_CONNECTIONS + 600)
            if queued_s < 8 * alone_s + 0.2:
                return
    pytest.fail(f"{queued_s:.2f} s, and {alone_s:.2f} s without those that wait")


@pytest.mark.slow
async def test_no_more_connections_are_open_than_the_documented_number(start_node: Start) -> None:
    async with open_pair(start_node) as (node, other, hold), trio.open_nursery() as nursery:
        for _ in range(MOST_CONNECTIONS + 20):
            nursery.start_soon(call, node, other)
        await wait_until(lambda: hold.running == MOST_CONNECTIONS)
        assert connections(other) == MOST_CONNECTIONS
        hold.release.set()
        await wait_until(lambda: hold.finished == MOST_CONNECTIONS + 20)
        assert hold.most == MOST_CONNECTIONS


async def test_nor_more_than_the_calls_of_one_peer(start_node: Start) -> None:
    config = NodeConfig(transport="http", max_calls_per_peer=2)
    async with open_pair(start_node, config) as (node, other, hold), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call, node, other)
        await wait_until(lambda: hold.running == 2)
        hold.release.set()
        await wait_until(lambda: hold.finished == 5)
        assert hold.most == 2


async def test_a_call_that_leaves_while_it_waits_leaves_its_turn_to_the_next(start_node: Start) -> None:
    config = NodeConfig(transport="http", max_calls_per_peer=1)
    async with open_pair(start_node, config) as (node, other, hold), trio.open_nursery() as nursery:
        nursery.start_soon(call, node, other)
        await wait_until(lambda: hold.running == 1)
        with trio.move_on_after(0.05):
            await call(node, other)
        nursery.start_soon(call, node, other)
        hold.release.set()
        await wait_until(lambda: hold.finished == 2)
    assert hold.started == 2


@pytest.mark.parametrize("method", ["make", "size"])
async def test_what_is_over_the_limit_is_told_the_limit_and_the_setting(start_node: Start, method: str) -> None:
    config = NodeConfig(transport="http", max_message_bytes=10_000)
    async with open_pair(start_node, config) as (node, other, _):
        remote = Remote(node=other.address, service="probe", method=method)
        args: list[Any] = [20_000] if method == "make" else [bytes(20_000)]
        with pytest.raises(
            RemoteError if method == "make" else MessageTooLarge, match="10,000 bytes: max_message_bytes"
        ):
            await node.local.comm.send(args, remote)


async def test_a_reply_over_the_callers_limit_is_told_the_limit_and_the_setting(start_node: Start) -> None:
    node = await start_node(NodeConfig(transport="http", max_message_bytes=10_000))
    other = await start_node(HTTP)
    await other.local.routes.put({"make": bytes}, "probe")
    with pytest.raises(ConnectionLost, match="20,000 bytes, twice max_message_bytes"):
        await node.local.comm.send([30_000], Remote(node=other.address, service="probe", method="make"))

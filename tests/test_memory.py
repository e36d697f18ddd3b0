"""What has ended is gone at once: nothing of it waits for the cyclic collector, which may come late or be off."""

from __future__ import annotations

import gc
import http.client
import tracemalloc
import types
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.robustness.wire import UPGRADE, http_2_request, request_bytes
from tests.transports.link.ends import MIB, HandPeer, connect, links
from tests.waiting import wait_until
from trionet import ConnectionLost, Node, NodeAddress, NodeConfig, NotFound, Remote, TrionetError, open_node, rpc
from trionet.protocols.link.frames import CHUNK_BYTES, PREFACE, Chunk
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

ROUNDS = 3

REFUSED_REQUESTS = [
    request_bytes("/no/such/path/at/all", "x" * 1000),
    request_bytes("/local/things/echo", "[]", method="PATCH"),
    request_bytes("/local/things/echo", "[]", headers={"Transfer-Encoding": "chunked"}),
    b"nonsense\r\n\r\n",
    UPGRADE,
]
"""They have an HTTP status of their own."""


class Things:
    """What there is to be called."""

    @rpc
    def echo(self, *args: Any) -> tuple[Any, ...]:
        return args

    @rpc
    async def fail(self) -> None:
        raise ValueError("as it should")

    @rpc
    def fail_at_once(self) -> None:
        raise ValueError("as it should")

    @rpc
    async def refuse(self) -> None:
        raise NotFound("as it should")

    @rpc
    def mislead(self) -> int:
        return "no number"  # type: ignore[return-value]

    @rpc
    async def stay(self) -> None:
        await trio.sleep_forever()

    @rpc
    async def count(self) -> AsyncGenerator[int]:
        for number in range(3):
            yield number


@pytest.fixture(autouse=True, scope="module")
def frozen_before() -> Generator[None]:
    """Keep what other tests have left, half a million objects, out of the collections of this file's tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def without_collector() -> Generator[None]:
    gc.disable()
    yield
    gc.enable()


def to(node: Node, method: str) -> Remote:
    return Remote(node=node.address, service="things", method=method)


async def calls(one: Node, other: Node) -> None:
    for node in (one, other):
        await one.local.comm.send([1], to(node, "echo"))


async def failed_calls(one: Node, other: Node) -> None:
    for node in (one, other):
        for method in ("fail", "fail_at_once", "refuse", "no_such"):
            with suppress(TrionetError):
                await one.local.comm.send([], to(node, method))


async def cancelled_calls(one: Node, other: Node) -> None:
    with trio.move_on_after(0.02):
        await one.local.comm.send([], to(other, "stay"))


async def long_calls(one: Node, other: Node) -> None:
    await one.local.comm.send([bytes(MIB)], to(other, "echo"))


async def streams(one: Node, other: Node) -> None:
    async with one.local.comm.stream([], to(other, "count")) as items:
        assert [item async for item in items] == [0, 1, 2]


async def streams_left(one: Node, other: Node) -> None:
    async with one.local.comm.stream([], to(other, "count")) as items:
        await anext(items)


async def fan_outs(one: Node, other: Node) -> None:
    await one.local.groups.put("both", [one.address, other.address])
    for method in ("echo", "fail", "refuse"):
        await one.group("both").comm.send([], Remote(service="things", method=method))
    await one.group("both").options(service="things").call(Things.mislead)


async def unreachable_nodes(one: Node, other: Node) -> None:
    with suppress(TrionetError):
        await one.local.comm.send([], Remote(node=NodeAddress("127.0.0.1", 1), service="things", method="echo"))


async def broken_links(one: Node, other: Node) -> None:
    async def ask() -> None:
        with suppress(ConnectionLost):
            await one.local.comm.send([], to(other, "stay"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: bool(other.running_calls()))
        links(one)[0].abort()
    await wait_until(lambda: not (links(one) or links(other)))


async def parted_links(one: Node, other: Node) -> None:
    await one.local.comm.send([], to(other, "echo"))
    links(one)[0].retire("for the test")
    await wait_until(lambda: not (links(one) or links(other)))


async def links_amid_chunks(one: Node, other: Node) -> None:
    async with connect(one) as peer:
        await peer.send(*(Chunk(number % 2, number % 2, False, bytes(CHUNK_BYTES)) for number in range(20)))
    await wait_until(lambda: not links(one))


async def links_that_break_the_rules(one: Node, other: Node) -> None:
    async with connect(one) as peer:
        await peer.send(Chunk(1, 0, False, bytes(CHUNK_BYTES)), HandPeer.call(1, "stay"), Chunk(1, 0, False, b""))
        await peer.wait_closed()
    await wait_until(lambda: not links(one))


async def links_that_end_amid_calls(one: Node, other: Node) -> None:
    async with connect(one) as peer:
        await peer.send(*(HandPeer.call(number, "stay", service="things") for number in range(3)))
        await wait_until(lambda: len(one.running_calls()) == 3)
    await wait_until(lambda: not links(one))


async def handshakes_that_fail(one: Node, other: Node) -> None:
    for first in (b"", PREFACE[:3], PREFACE, PREFACE[:-1] + b"\x07", b"\x00"):
        stream = await trio.open_tcp_stream(one.address.ip, one.address.port)
        await stream.send_all(first)
        await stream.aclose()
    connections = one._endpoint._listener._connections  # type: ignore[attr-defined]  # noqa: SLF001  a look inside
    await wait_until(lambda: not connections)


async def http_connections(one: Node, other: Node) -> None:
    def ask() -> None:
        connection = http.client.HTTPConnection(one.address.ip, one.address.port)
        connection.request("PUT", "/local/things/echo", "[1]")
        connection.getresponse().read()
        connection.close()

    await trio.to_thread.run_sync(ask)
    connections = one._endpoint._listener._connections  # type: ignore[attr-defined]  # noqa: SLF001  a look inside
    await wait_until(lambda: not connections)


def http_exchanges(*requests: bytes) -> Callable[[Node, Node], Awaitable[None]]:
    """Return what sends each of `requests` on a connection of its own, and closes that at the first part of an answer.

    Of a call that stays, that is when it runs.
    """

    async def http_requests(one: Node, other: Node) -> None:
        for data in requests:
            stream = await trio.open_tcp_stream(one.address.ip, one.address.port)
            await stream.send_all(data)
            if b"stay" in data:
                await wait_until(lambda: bool(one.running_calls()))
            else:
                await stream.receive_some(1)
            await trio.aclose_forcefully(stream)
        connections = one._endpoint._listener._connections  # type: ignore[attr-defined]  # noqa: SLF001  a look inside
        await wait_until(lambda: not connections)

    return http_requests


async def periodic_tasks_that_fail(one: Node, other: Node) -> None:
    runs = trio.Event()

    def fail() -> None:
        runs.set()
        raise ValueError("as it should")

    task_id = await one.group("all").gossip.at(0.001, fail)
    await runs.wait()
    await one.local.gossip.del_(task_id)


async def listeners_and_subsets_that_fail(one: Node, other: Node) -> None:
    def fail(_: Any) -> Any:
        raise ValueError("as it should")

    async with open_node() as node:
        node.listen(fail)
        await node.local.groups.put("both", [node.address, other.address], subset=fail)
        await node.local.routes.put(Things(), "things")
        task_id = await node.group("both").gossip.at(0.001, lambda: 1 // 0)
        events = node.events()
        await anext(events)
        await node.local.gossip.del_(task_id)


async def children(one: Node, other: Node) -> None:
    child = await one.local.status.spawn(NodeConfig(launcher="in_process", stop_grace_s=0))
    await one.local.comm.send([], Remote(node=child, service="status", method="stop"))
    nursery = one._children.nursery  # noqa: SLF001  a look inside
    await wait_until(lambda: len(nursery.child_tasks) == 1)
    await wait_until(lambda: not links(one))


async def nodes(one: Node, other: Node) -> None:
    async with open_node():
        pass


async def nodes_that_were_called(one: Node, other: Node) -> None:
    async with open_node(NodeConfig(stop_grace_s=0)) as node:
        await node.local.routes.put(Things(), "things")
        await one.local.comm.send([], to(node, "echo"))
        await node.local.comm.send([], to(one, "echo"))
    await wait_until(lambda: not links(one))


async def nodes_whose_block_raises(one: Node, other: Node) -> None:
    with suppress(ValueError):
        async with open_node():
            raise ValueError("as it should")


async def nodes_in_memory(one: Node, other: Node) -> None:
    fabric = MemoryFabric()
    async with open_node(fabric=fabric) as node, open_node(fabric=fabric) as called:
        await called.local.routes.put(Things(), "things")
        await node.local.comm.send([bytes(MIB)], to(called, "echo"))
        with suppress(TrionetError):
            await node.local.comm.send([], to(called, "fail"))


async def _warm_up_and(work: Callable[[Node, Node], Awaitable[None]], rounds: int) -> list[Any]:
    """Return what `rounds` of `work` leave to the cyclic collector, once what is made once has been made."""
    async with open_node() as one, open_node() as other:
        for node in (one, other):
            await node.local.routes.put(Things(), "things")
        await work(one, other)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(rounds):
                await work(one, other)
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            return list(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()


def _is_ours(thing: object) -> bool:
    if type(thing) in weakref.ProxyTypes:
        return False
    if isinstance(thing, types.FrameType):
        return "/trionet/" in thing.f_code.co_filename
    if isinstance(thing, types.CoroutineType | types.AsyncGeneratorType | types.GeneratorType):
        return "/trionet/" in repr(thing) or "trionet" in (thing.__qualname__ or "")
    if (
        getattr(thing, "__dict__", None) == {}
    ):  # emptied: an exception of h11, which is a cycle, has a frame that knows it
        return False
    if isinstance(thing, BaseException) and type(thing).__module__ == "builtins":
        return True
    return type(thing).__module__.split(".")[0] in ("trionet", "trio") or isinstance(thing, bytearray)


@pytest.mark.slow
@pytest.mark.parametrize(
    "work",
    [
        calls,
        failed_calls,
        cancelled_calls,
        long_calls,
        streams,
        streams_left,
        fan_outs,
        unreachable_nodes,
        broken_links,
        parted_links,
        links_amid_chunks,
        links_that_break_the_rules,
        links_that_end_amid_calls,
        handshakes_that_fail,
        http_connections,
        http_exchanges(*REFUSED_REQUESTS),
        http_exchanges(request_bytes("/local/things/stay", "[]")),
        http_exchanges(http_2_request("/local/things/stay", b"[]", end_stream=True)),
        periodic_tasks_that_fail,
        listeners_and_subsets_that_fail,
        children,
        nodes,
        nodes_that_were_called,
        nodes_whose_block_raises,
        nodes_in_memory,
    ],
    ids=lambda work: work.__name__,
)
def test_nothing_that_has_ended_waits_for_the_cyclic_collector(work: Callable[[Node, Node], Awaitable[None]]) -> None:
    left = trio.run(_warm_up_and, work, ROUNDS)
    assert [thing for thing in left if _is_ours(thing)] == []


@pytest.mark.slow
async def test_memory_is_flat_while_links_come_send_parts_and_go() -> None:
    async with open_node() as node:
        await links_amid_chunks(node, node)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(10):
                await links_amid_chunks(node, node)  # 1.3 MB each
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 500_000


@pytest.mark.slow
async def test_memory_is_flat_while_a_hundred_nodes_are_opened_and_closed() -> None:
    async def open_and_close(count: int) -> None:
        for _ in range(count):
            async with open_node():
                pass

    await open_and_close(3)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await open_and_close(100)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000  # one is some 100 kB


async def test_an_error_that_came_over_http_is_gone_once_it_is_handled() -> None:
    async with open_node() as one, open_node(NodeConfig(transport="http")) as caller:
        await one.local.routes.put(Things(), "things")
        for method in ("fail", "refuse", "no_such"):
            try:
                await caller.local.comm.send([], to(one, method))
            except TrionetError as exc:
                seen = weakref.ref(exc)
            assert seen() is None

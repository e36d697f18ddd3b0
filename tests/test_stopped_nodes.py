"""Nobody waits for a node that has ended: iterators end, waits end with an error, and later calls say so."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    ChildEnded,
    ConnectionLost,
    Event,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Remote,
    TemporarilyUnavailable,
    TrionetError,
    open_node,
    simulation,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Literal

    from trionet import Node

    Waiter = Callable[[Node, Node], Awaitable[Any]]


async def hold() -> None:
    await trio.sleep_forever()


async def tick() -> AsyncGenerator[int]:
    yield 1
    await trio.sleep_forever()


def on(node: Node, method: str) -> Remote:
    return Remote(node=node.address, service="patience", method=method)


async def _watch(node: Node) -> list[Event]:
    return [event async for event in node.events()]


async def _in_member_scope(node: Node, other: Node, gid: str | None) -> bool:
    async with node.member(other.sid) if gid is None else node.group(gid).member(other.sid) as scope:
        await trio.sleep_forever()
    return scope.cancelled_caught


async def _read_stream(node: Node, other: Node) -> None:
    async with node.local.comm.stream([], on(other, "tick")) as items:
        async for _ in items:
            pass


async def _read_streams(node: Node) -> list[type[Any]]:
    async with node.all.comm.stream([], Remote(service="patience", method="tick"), items=True) as items:
        return [type(item) async for _, item in items if item != 1]


async def _wait_spread(node: Node) -> None:
    receipt = await node.all.gossip.send([], Remote(service="nobody", method="nothing"))
    await receipt.wait_spread()  # the other member can't be reached


async def _call_all(node: Node) -> set[str]:
    replies = await node.all.comm.send([], Remote(service="patience", method="hold"))
    return {type(error).__name__ for error in replies.errors.values()}


async def _spawn(node: Node) -> None:
    async def never(_: Node) -> None:
        await trio.sleep_forever()

    await node.spawn(NodeConfig(launcher="in_process", on_start=never, join=[]))


LOST = (ConnectionLost, NodeUnreachable, TemporarilyUnavailable)
WAITERS: dict[str, tuple[Waiter, Any]] = {
    "events": (lambda node, _: _watch(node), list),
    "member": (lambda node, other: _in_member_scope(node, other, None), True),
    "member of a group": (lambda node, other: _in_member_scope(node, other, "all"), True),
    "itself as a member": (lambda node, _: _in_member_scope(node, node, None), True),
    "a call": (lambda node, other: node.local.comm.send([], on(other, "hold")), LOST),
    "a call to itself": (lambda node, _: node.local.comm.send([], on(node, "hold")), LOST),
    "a fan-out": (lambda node, _: _call_all(node), {"ConnectionLost"}),
    "a stream": (_read_stream, LOST),
    "a stream of its own": (lambda node, _: _read_stream(node, node), LOST),
    "streams of a group": (lambda node, _: _read_streams(node), [ConnectionLost, ConnectionLost]),
    "join": (lambda node, _: node.join(["127.0.0.1:1"]), TemporarilyUnavailable),
    "spawn": (lambda node, _: _spawn(node), TemporarilyUnavailable),
}


@pytest.mark.parametrize("transport", ["link", "http"])
@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_whoever_waits_for_a_node_that_ends_waits_no_longer(how: str, transport: Literal["link", "http"]) -> None:
    outcomes: dict[str, Any] = {}

    async def wait(name: str, waiter: Waiter, node: Node, other: Node) -> None:
        try:
            outcomes[name] = await waiter(node, other)
        except TrionetError as exc:
            outcomes[name] = exc

    config = NodeConfig(join=[], transport=transport, stop_grace_s=0)
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=0)) as other, trio.open_nursery() as nursery:
            await other.local.routes.put({"hold": hold, "tick": tick}, "patience")
            with trio.CancelScope() as scope:
                async with open_node(config) as node:
                    await node.local.groups.add("all", other.address)
                    await node.local.routes.put({"hold": hold, "tick": tick}, "patience")
                    for name, (waiter, _) in WAITERS.items():
                        nursery.start_soon(wait, name, waiter, node, other)
                    while min(len(node.running_calls()), len(other.running_calls())) < 4:  # noqa: ASYNC110
                        await trio.sleep(0.01)  # until all that runs does
                    if how == "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
    assert outcomes.keys() == WAITERS.keys()
    for name, (_, expected) in WAITERS.items():
        if isinstance(expected, type | tuple):
            assert isinstance(outcomes[name], expected), name
        else:
            assert outcomes[name] == expected, name


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_calls_that_wait_for_their_turn_are_refused(transport: Literal["link", "http"]) -> None:
    outcomes: list[type[TrionetError]] = []

    async def call(node: Node, other: Node) -> None:
        try:
            await node.local.comm.send([], on(other, "hold"))
        except TrionetError as exc:
            outcomes.append(type(exc))

    config = NodeConfig(transport=transport, stop_grace_s=0, max_calls_per_peer=2)
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=0, max_calls_per_peer=2)) as other, trio.open_nursery() as nursery:
            await other.local.routes.put({"hold": hold}, "patience")
            async with open_node(config) as node:
                for _ in range(5):
                    nursery.start_soon(call, node, other)
                while len(other.running_calls()) < 2:  # noqa: ASYNC110
                    await trio.sleep(0.01)  # until those run that may
    assert sorted(kind.__name__ for kind in outcomes) == ["ConnectionLost"] * 2 + ["NodeUnreachable"] * 3


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_calls_that_wait_for_a_connection_wait_no_longer(transport: Literal["link", "http"]) -> None:
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):  # more than it has room for: the system lets those wait that come after
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        remote = Remote(node=NodeAddress(*listening.getsockname()), service="patience", method="hold")

        async def call(node: Node) -> None:
            with pytest.raises(LOST):
                await node.local.comm.send([], remote)

        config = NodeConfig(transport=transport, stop_grace_s=0, connect_timeout_s=2 * DEADLINE_S)
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery, open_node(config) as node:
                nursery.start_soon(call, node)
                await trio.testing.wait_all_tasks_blocked()


async def test_events_that_have_happened_are_given_before_the_end() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            events, unread, heard = node.events(), node.events(), list[Event]()
            node.listen(heard.append)
            child = await node.spawn(NodeConfig(launcher="in_process"))
            await node.local.comm.send([], Remote(node=child, service="status", method="stop"))
            await wait_until(lambda: bool(heard))
        told = [event async for event in events]
        assert told == [event async for event in unread] == [ChildEnded(node=child, status=0)]
        assert [event async for event in node.events()] == []
        assert [event async for event in events] == []


def test_the_events_of_a_node_that_crashes_end_too() -> None:
    async def main() -> bool:
        async with simulation.open_cluster(3, seed=1) as sim:
            events = sim.nodes[1].events()
            sim.crash(1)
            with trio.fail_after(10):
                async for _ in events:
                    pass
            return True

    assert simulation.run(main, seed=1)


async def test_a_spread_that_is_waited_for_has_an_end() -> None:
    failures = []

    async def wait(node: Node) -> None:
        try:
            await _wait_spread(node)
        except TemporarilyUnavailable as exc:
            failures.append(exc)

    with trio.fail_after(DEADLINE_S):
        async with open_node() as gone:
            pass
        async with trio.open_nursery() as nursery, open_node() as node:
            await node.local.groups.add("all", gone.address)
            nursery.start_soon(wait, node)
            await trio.sleep(0.2)
    assert len(failures) == 1


AFTER: dict[str, Callable[[Node, Node], Awaitable[Any]]] = {
    "status.get": lambda node, _: node.local.status.get("nid"),
    "status.stop": lambda node, _: node.local.status.stop(),
    "status.spawn": lambda node, _: node.local.status.spawn(NodeConfig()),
    "spawn": lambda node, _: node.spawn(NodeConfig()),
    "prewarm": lambda node, _: node.prewarm(),
    "groups.put": lambda node, other: node.local.groups.put("x", [other]),
    "groups.add": lambda node, other: node.local.groups.add("x", other.address),
    "groups.rem": lambda node, other: node.local.groups.rem("x", other.sid),
    "groups.del": lambda node, _: node.local.groups.del_("x"),
    "routes.put": lambda node, _: node.local.routes.put({"hold": hold}, "x"),
    "routes.get": lambda node, _: node.local.routes.get("x"),
    "routes.rem": lambda node, _: node.local.routes.rem("x"),
    "comm.send": lambda node, other: node.local.comm.send([], on(other, "hold")),
    "comm.send to itself": lambda node, _: node.local.comm.send([], on(node, "hold")),
    "comm.stream": _read_stream,
    "comm.stream of its own": lambda node, _: _read_stream(node, node),
    "gossip.tasks": lambda node, _: node.local.gossip.tasks(),
    "gossip.del": lambda node, _: node.local.gossip.del_(f"0@{node.address}"),
    "membership.members": lambda node, _: node.local.membership.members(),
    "join": lambda node, other: node.join([other.address]),
    "leave": lambda node, _: node.leave(),
    "set_tags": lambda node, _: node.set_tags({"a": "b"}),
    "member": lambda node, other: _in_member_scope(node, other, None),
    "member of a group": lambda node, other: _in_member_scope(node, other, "all"),
    "group comm.send": lambda node, _: _call_all(node),
    "group comm.stream": lambda node, _: _read_streams(node),
    "group status.get": lambda node, _: node.all.status.get("nid"),
    "group status.spawn": lambda node, _: node.all.status.spawn(NodeConfig()),
    "group status.stop": lambda node, _: node.all.status.stop(),
    "group groups.put": lambda node, other: node.all.groups.put("x", [other]),
    "group routes.put": lambda node, _: node.all.routes.put("a:B", "b"),
    "group gossip.send": lambda node, _: node.all.gossip.send([], Remote(service="a", method="b")),
    "group gossip.at": lambda node, _: node.all.gossip.at(1.0, hold),
    "group gossip.tasks": lambda node, _: node.all.gossip.tasks(),
    "group gossip.del": lambda node, _: node.all.gossip.del_(f"0@{node.address}"),
}


async def _refusal(asked: Awaitable[Any]) -> str:
    try:
        await asked
    except (TemporarilyUnavailable, NodeUnreachable) as exc:
        return str(exc)
    return ""


REFUSED = ("spawn", "join", "prewarm", "gossip.send", "gossip.at", "comm.send", "comm.send to itself", "comm.stream")


@pytest.mark.parametrize("transport", ["link", "http"])
async def test_what_is_asked_of_a_node_that_has_ended_is_answered_or_refused_at_once(
    transport: Literal["link", "http"],
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as other, open_node(NodeConfig(join=[], transport=transport)) as node:
            await node.local.groups.add("all", other.address)
            await node.local.routes.put({"hold": hold, "tick": tick}, "patience")
            node.stop()
            await trio.sleep_forever()
        for name, ask in AFTER.items():
            assert "stop" in await _refusal(ask(node, other)) or name not in REFUSED, name

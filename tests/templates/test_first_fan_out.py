"""The first call to each member of a group: it waits for the connections without a task for each member."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import wait_all_tasks_blocked

from tests.serving import serving
from tests.transports.link.ends import HandPeer, listen
from tests.waiting import DEADLINE_S, wait_until
from trionet import CallTimeout, Group, Node, NodeAddress, NodeConfig, NodeUnreachable, Remote, Replies, rpc
from trionet.protocols.link.frames import CallFrame
from trionet.transports.link.sockets import connect

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest

StartNode = Callable[..., Awaitable[Node]]

ECHO = Remote(service="echo", method="echo")


class Echo:
    @rpc
    def echo(self, value: Any) -> Any:
        return value


class Began(trio.abc.Instrument):
    """Notes the tasks that begin."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.names.append(task.name)


async def group_of(
    start: StartNode, count: int, *others: NodeAddress, config: NodeConfig | None = None
) -> tuple[Node, Group, list[Node]]:
    """Start a caller and members; return them, and the group of these and others, to which there are no links."""
    caller, nodes = await start(config), [await start() for _ in range(count)]
    for node in nodes:
        await node.local.routes.put(Echo(), "echo")
    await caller.local.groups.put("fleet", [*(node.address for node in nodes), *others])
    return caller, caller.group("fleet"), nodes


@contextmanager
def silent() -> Generator[NodeAddress]:
    """A peer that accepts a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield NodeAddress(*sock.getsockname())


def nobody() -> NodeAddress:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return NodeAddress(*sock.getsockname())


def outcomes(node: Node) -> dict[str, int]:
    """Return how many calls of the method have ended how."""
    counts = node.local.comm.counts.of("echo", "echo")
    return {outcome: sum(histogram[:64]) for outcome, histogram in counts.by_outcome.items() if sum(histogram[:64])}


def connecting(node: Node) -> int:
    links = node._endpoint.links  # noqa: SLF001
    assert links is not None
    return sum(one.state == "connecting" for one in links.in_progress())


async def test_no_task_waits_for_the_connection_of_a_member(start_node: StartNode) -> None:
    caller, group, nodes = await group_of(start_node, 3)
    began = Began()
    trio.lowlevel.add_instrument(began)
    replies = await group.comm.send(["five"], ECHO)
    trio.lowlevel.remove_instrument(began)
    assert replies.values == {node.sid: "five" for node in nodes}
    assert not [name for name in began.names if "call_one" in name]
    assert sum("_dial" in name for name in began.names) == len(nodes)
    assert outcomes(caller) == {"ok": 3}


async def test_a_member_that_cannot_be_reached_is_an_error_after_one_attempt(
    start_node: StartNode,
) -> None:
    gone = nobody()
    _, group, nodes = await group_of(start_node, 2, gone)
    began = Began()
    trio.lowlevel.add_instrument(began)
    replies = await group.comm.send(["five"], ECHO)
    trio.lowlevel.remove_instrument(began)
    assert replies.values == {node.sid: "five" for node in nodes}
    (error,) = replies.errors.values()
    assert type(error) is NodeUnreachable
    assert error.node == str(gone)
    assert str(gone) in error.text
    assert sum("_dial" in name for name in began.names) == len(nodes) + 1


async def test_members_that_cannot_be_reached_have_errors_of_their_own(start_node: StartNode) -> None:
    gone = nobody()
    _, group, _ = await group_of(start_node, 0, gone)
    errors = list[BaseException]()

    async def ask() -> None:
        errors.extend((await group.comm.send([1], ECHO)).errors.values())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert len({id(error) for error in errors}) == 2


async def test_a_member_that_says_nothing_is_a_definite_error_in_time(start_node: StartNode) -> None:
    with silent() as address:
        config = NodeConfig(connect_timeout_s=0.2)
        _, group, nodes = await group_of(start_node, 1, address, config=config)
        with trio.fail_after(DEADLINE_S):
            replies = await group.comm.send(["five"], ECHO)
    assert list(replies.values) == [nodes[0].sid]
    (error,) = replies.errors.values()
    assert type(error) is NodeUnreachable
    assert "within 0.2 s" in error.text


async def test_calls_that_wait_for_a_connection_are_shown_and_end_with_their_caller(start_node: StartNode) -> None:
    with silent() as one, silent() as other:
        caller, group, _ = await group_of(start_node, 1, one, other)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.comm.send, ["five"], ECHO)
            await wait_until(lambda: connecting(caller) == 2)
            await wait_until(lambda: outcomes(caller) == {"ok": 1})
            nursery.cancel_scope.cancel()
        assert connecting(caller) == 0
        assert outcomes(caller) == {"ok": 1, "cancelled": 2}


async def mute(nursery: trio.Nursery) -> tuple[NodeAddress, list[HandPeer]]:
    """Have a peer that answers no call; return its address, and its end of each link."""
    peers = list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.wait_closed()

    return await listen(nursery, behave), peers


async def test_at_the_deadline_of_a_partial_result_a_member_without_a_connection_is_late(start_node: StartNode) -> None:
    with silent() as address:
        replies = Replies[str]({}, {})
        for deadline_s in (0.3, 2, 8, 32):  # a busy machine needs some time even for the one that answers
            caller, group, nodes = await group_of(start_node, 1, address)
            with trio.move_on_after(deadline_s):
                replies = await group.options(partial=True, service="echo").call(Echo.echo, "five")
            assert type(replies.errors.pop(address.sid)) is CallTimeout
            assert connecting(caller) == 0
            if not replies.errors:
                break
        assert replies.values == {nodes[0].sid: "five"}


async def test_with_enough_values_no_connection_is_waited_for(start_node: StartNode) -> None:
    with silent() as address:
        _, group, nodes = await group_of(start_node, 1, address)
        with trio.fail_after(DEADLINE_S):
            replies = await group.options(wait="first", service="echo").call(Echo.echo, "five")
        assert (replies.values, replies.errors) == ({nodes[0].sid: "five"}, {})


async def test_a_call_is_not_sent_once_its_caller_has_left(start_node: StartNode, nursery: trio.Nursery) -> None:
    go_on, (address, peers) = trio.Event(), await mute(nursery)
    caller, group, _ = await group_of(start_node, 0, address)
    dial = caller._endpoint.links._connected  # type: ignore[union-attr]  # noqa: SLF001

    async def dial_later(node: NodeAddress) -> Any:
        await go_on.wait()
        return await dial(node)

    caller._endpoint.links._connected = dial_later  # type: ignore[union-attr]  # noqa: SLF001
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as calls:
            calls.start_soon(group.comm.send, ["five"], ECHO)
            await wait_until(lambda: connecting(caller) == 1)
            scope.cancel()
    go_on.set()
    await wait_until(lambda: bool(peers))
    await wait_all_tasks_blocked(0.05)
    assert not [frame for frame in peers[0].seen if isinstance(frame, CallFrame)]


async def test_the_deadline_of_the_caller_is_that_of_a_call_that_has_waited(
    start_node: StartNode, nursery: trio.Nursery
) -> None:
    address, peers = await mute(nursery)
    _, group, _ = await group_of(start_node, 0, address)
    with trio.move_on_after(60):
        async with trio.open_nursery() as calls:
            calls.start_soon(group.comm.send, ["five"], ECHO)
            await wait_until(lambda: bool(peers and peers[0].seen))
            calls.cancel_scope.cancel()
    (call,) = [frame for frame in peers[0].seen if isinstance(frame, CallFrame)]
    assert call.timeout_s is not None
    assert 30 < call.timeout_s <= 60


async def reset(stream: trio.SocketStream) -> None:
    """Be a peer that resets each connection once it has got something."""
    await stream.receive_some()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_peer_that_resets_the_connection_is_a_definite_error(start_node: StartNode) -> None:
    async with serving(reset) as address:
        _, group, nodes = await group_of(start_node, 1, address)
        replies = await group.comm.send(["five"], ECHO)
        assert replies.values == {nodes[0].sid: "five"}
        assert [type(error) for error in replies.errors.values()] == [NodeUnreachable]


async def test_a_call_that_cannot_be_sent_at_once_when_connected_is_sent_in_a_task(start_node: StartNode) -> None:
    caller, group, nodes = await group_of(start_node, 2)
    value = bytes(range(256)) * 1024  # such a call is never sent at once
    began = Began()
    trio.lowlevel.add_instrument(began)
    replies = await group.comm.send([value], ECHO)
    trio.lowlevel.remove_instrument(began)
    assert replies.values == {node.sid: value for node in nodes}
    assert sum("call_one" in name for name in began.names) == len(nodes)
    assert sum("_dial" in name for name in began.names) == len(nodes)
    assert outcomes(caller) == {"ok": 2}


async def test_a_call_whose_deadline_is_over_when_connected_is_not_sent(
    start_node: StartNode, nursery: trio.Nursery
) -> None:
    address, peers = await mute(nursery)
    _, group, _ = await group_of(start_node, 0, address)
    for late_s in (0.0, 0.05):
        with trio.move_on_at(trio.current_time() - late_s) as scope:
            await group.comm.send(["five"], ECHO)
        assert scope.cancelled_caught
    await wait_all_tasks_blocked(0.05)
    assert not [frame for peer in peers for frame in peer.seen if isinstance(frame, CallFrame)]


async def test_one_fan_out_that_is_cancelled_takes_no_connection_from_another(
    start_node: StartNode, nursery: trio.Nursery
) -> None:
    caller, group, nodes = await group_of(start_node, 2)
    go_on, dial, replies = trio.Event(), caller._endpoint.links._connected, list[Any]()  # type: ignore[union-attr]  # noqa: SLF001

    async def dial_later(node: NodeAddress) -> Any:
        await go_on.wait()
        return await dial(node)

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            replies.append(await group.comm.send(["five"], ECHO))

    caller._endpoint.links._connected = dial_later  # type: ignore[union-attr]  # noqa: SLF001
    scopes = [trio.CancelScope() for _ in range(3)]
    async with trio.open_nursery() as calls:
        for scope in scopes:
            calls.start_soon(ask, scope)
        await wait_until(lambda: connecting(caller) == 6)
        scopes[1].cancel()
        await wait_until(lambda: connecting(caller) == 4)
        go_on.set()
    assert [one.values for one in replies] == [{node.sid: "five" for node in nodes}] * 2
    assert outcomes(caller) == {"ok": 4, "cancelled": 2}


async def test_where_descriptors_are_few_each_member_has_a_value_or_a_definite_error(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, group, nodes = await group_of(start_node, 6)
    left = [3]

    async def few(node: NodeAddress) -> socket.socket:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return await connect(node)

    with monkeypatch.context() as patched:
        patched.setattr("trionet.transports.link.tcp.connect", few)
        replies = await group.comm.send(["five"], ECHO)
    assert len(replies.values) == 3
    assert {type(error) for error in replies.errors.values()} == {NodeUnreachable}
    again = await group.comm.send(["five"], ECHO)
    assert again.values == {node.sid: "five" for node in nodes}

"""How links are made: dialling, both sides at once, refusals, and peers that only speak HTTP."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.ports import free_port
from tests.transports.link.ends import (
    HandPeer,
    Hold,
    call,
    chosen_link,
    connect,
    hello,
    links,
    listen,
    serve_raw,
    socket_names,
    transport,
)
from tests.waiting import wait_until
from trionet import Node, NodeAddress, NodeConfig, NodeUnreachable, Remote, open_node
from trionet.protocols.link.frames import (
    MARK,
    PREFACE,
    Bye,
    CallFrame,
    Ping,
    Reply,
    encode_frame,
    with_length,
)
from trionet.router import Method, Router
from trionet.security.live_keys import LiveKeys
from trionet.transports.base import Request
from trionet.transports.link.sockets import plain_socket
from trionet.transports.link.transport import LinkTransport
from trionet.transports.web import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trionet.transports.base import Handler

    Start = Callable[..., Awaitable[Node]]


async def _answer(peer: HandPeer) -> None:
    while True:
        frame = await peer.receive()
        if isinstance(frame, CallFrame):
            await peer.send(Reply(frame.msg_id, "answer"))


# ---- dialling


@pytest.mark.parametrize("attempt", range(10))
async def test_two_nodes_that_call_each_other_at_once_settle_on_one_link(start: Start, attempt: int) -> None:
    hold = Hold()
    one, other = await start(hold=hold.handle), await start(hold=hold.handle)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(call, one, other, "hold")
            nursery.start_soon(call, other, one, "hold")
        await hold.wait_started(20)
        hold.release.set()
    assert hold.finished == 20
    smaller, larger = (one, other) if one.address < other.address else (other, one)
    ours, theirs = chosen_link(smaller, larger.address), chosen_link(larger, smaller.address)
    assert socket_names(ours) == socket_names(theirs)[::-1]
    assert ours.core.is_initiator
    assert len(links(one)) == len(links(other)) == 2  # both have dialled
    (left_over,) = (link for link in links(smaller) if link is not ours)
    assert left_over.core.is_idle


@pytest.mark.parametrize("stall_s", [8, 40])
async def test_a_handshake_is_not_charged_for_what_this_node_stands_still_for(
    start: Start, nursery: trio.Nursery, autojump_clock: MockClock, stall_s: float
) -> None:
    node = await start(NodeConfig(connect_timeout_s=5))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    said = PREFACE + with_length(encode_frame(hello()))

    async def say() -> None:
        theirs.send(said[5:20])
        autojump_clock.jump(stall_s)
        await trio.sleep(1)
        theirs.send(said[20:])

    nursery.start_soon(say)
    with ours, theirs:
        greeted = await transport(node).accept(ours, said[:5])
    assert greeted.peer == hello()


async def test_concurrent_callers_share_one_attempt(start: Start, nursery: trio.Nursery) -> None:
    peers = list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await _answer(peer)

    node, address = await start(), await listen(nursery, behave)
    async with trio.open_nursery() as calls:
        for _ in range(50):
            calls.start_soon(call, node, address, "any")
    assert len(peers) == len(links(node)) == 1
    assert peers[0].hello.address == node.address


async def test_a_caller_that_gives_up_while_the_link_is_made_spoils_it_for_nobody(
    start: Start, nursery: trio.Nursery
) -> None:
    dialled, go_on, made, answers = trio.Event(), trio.Event(), list[HandPeer](), list[str]()

    async def serve(stream: trio.SocketStream) -> None:
        dialled.set()
        await go_on.wait()
        peer = HandPeer(stream)
        made.append(peer)
        await peer.shake_hands(hello())
        await _answer(peer)

    node, address = await start(), await serve_raw(nursery, serve)
    impatient = trio.CancelScope()

    async def ask_in_vain() -> None:
        with impatient:
            await call(node, address, "in_vain")

    async def ask() -> None:
        answers.append(await call(node, address, "patient"))

    async with trio.open_nursery() as calls:
        calls.start_soon(ask_in_vain)
        await dialled.wait()
        calls.start_soon(ask)
        await wait_all_tasks_blocked(0.01)
        impatient.cancel()
        await wait_until(lambda: impatient.cancelled_caught)
        go_on.set()
    assert answers == ["answer"]
    assert len(made) == 1
    assert [frame.method for frame in made[0].seen if isinstance(frame, CallFrame)] == ["patient"]


async def test_nobody_there_is_told_to_all_who_wait_and_tried_again_for_the_next(start: Start) -> None:
    node, unreachable = await start(), list[NodeUnreachable]()
    address = NodeAddress("127.0.0.1", free_port())

    async def ask() -> None:
        with pytest.raises(NodeUnreachable, match=f"no connection to {address}") as caught:
            await call(node, address, "any")
        unreachable.append(caught.value)

    async with trio.open_nursery() as calls:
        for _ in range(10):
            calls.start_soon(ask)
    assert len(unreachable) == 10
    other = await start(NodeConfig(port=address.port))
    assert await call(node, other, "echo", 1) == (1,)


@pytest.mark.parametrize(
    "name", ["no..name", "x" * 70, "\N{SNOWMAN}", "a\N{SNOWMAN}.b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\ud800", "."]
)
@pytest.mark.parametrize("config", [NodeConfig(), NodeConfig(transport="http")], ids=["link", "http"])
async def test_a_name_that_cannot_be_one_is_unreachable(start: Start, name: str, config: NodeConfig) -> None:
    node, other = await start(config), await start(config)
    with pytest.raises(NodeUnreachable, match="no connection to"):
        await call(node, NodeAddress(name, 80), "any")
    assert list(await call(node, other, "echo", 1)) == [1]  # and the node goes on


@pytest.mark.parametrize("config", [NodeConfig(), NodeConfig(transport="http")], ids=["link", "http"])
async def test_a_name_in_any_script_may_be_one(start: Start, config: NodeConfig) -> None:
    node = await start(config)
    with pytest.raises(NodeUnreachable, match="no connection to b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher"):
        await call(node, NodeAddress("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.invalid", 80), "any")


async def test_a_peer_that_says_nothing_is_unreachable_when_the_time_to_connect_is_over(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    node, address = await start(NodeConfig(connect_timeout_s=3)), await serve_raw(nursery, serve)
    begun = trio.current_time()
    with pytest.raises(NodeUnreachable, match=f"no connection to {address} within 3 s"):
        await call(node, address, "any")
    assert trio.current_time() - begun == pytest.approx(3, abs=0.1)


async def test_a_peer_that_retires_every_link_at_once_is_unreachable(start: Start, nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        peer = HandPeer(stream)
        await peer.shake_hands(hello(), behind=with_length(encode_frame(Bye("always"))))  # so that no call crosses it
        await peer.wait_closed()

    node, address = await start(), await serve_raw(nursery, serve)
    with pytest.raises(NodeUnreachable, match="closes every link at once"):
        await call(node, address, "any")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PREFACE[:-1] + b"\x02" + with_length(b"whatever a hello is then"), "it speaks version 2 of the link"),
        (PREFACE + with_length(encode_frame(Bye("not you"))), "it refused: not you"),
        (PREFACE + with_length(encode_frame(Ping(1))), "its first frame is a Ping, not a hello"),
        (PREFACE + b"\x00\xff\xff\xff", "a frame of 16,777,215 bytes"),
        (PREFACE + b"\x01\xff\xff\xff\xff", "it answers in another mode than this node's"),
        (PREFACE + b"\xff", "it refused the link, with the unknown reason 255"),
        (PREFACE + with_length(b"\xc1"), "not a frame"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it does not begin as a link does"),
        (b"\xf5\xf5", "it does not begin as a link does"),
        (PREFACE[:4], "the connection was closed during the handshake"),
        (PREFACE + b"\0\0", "the connection was closed during the handshake"),
        (b"", "the connection was closed during the handshake"),
    ],
)
async def test_a_peer_that_begins_badly_is_unreachable_with_the_reason(
    start: Start, nursery: trio.Nursery, answer: bytes, reason: str
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    node, address = await start(), await serve_raw(nursery, serve)
    with pytest.raises(NodeUnreachable, match=reason):
        await call(node, address, "any")
    assert links(node) == []


async def test_frames_that_come_with_the_hello_are_not_lost(start: Start, nursery: trio.Nursery) -> None:
    calls = [HandPeer.call(1, "echo", "in one piece"), HandPeer.call(2, "echo", "cut in the middle")]
    data = b"".join(with_length(encode_frame(frame)) for frame in calls)
    answers = list[Reply]()

    async def serve(stream: trio.SocketStream) -> None:
        peer = HandPeer(stream)
        peer.ponging = False  # not in the middle of a frame
        await peer.shake_hands(hello(), behind=data[:-5])
        answers.append(await peer.receive_a(Reply))
        await peer.send_bytes(data[-5:])
        answers.append(await peer.receive_a(Reply))
        await peer.wait_closed()

    node, address = await start(), await serve_raw(nursery, serve)
    async with trio.open_nursery() as calling:
        calling.start_soon(call, node, address, "any")
        await wait_until(lambda: len(answers) == 2)
        calling.cancel_scope.cancel()
    assert answers == [Reply(1, {"$tuple": ["in one piece"]}), Reply(2, {"$tuple": ["cut in the middle"]})]


@pytest.mark.slow
async def test_a_link_begins_however_its_first_bytes_are_cut(start: Start) -> None:
    node = await start()
    first = PREFACE + b"".join(with_length(encode_frame(frame)) for frame in (hello(), HandPeer.call(1, "echo", 1)))
    for place in range(1, len(first)):
        async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
            await stream.send_all(first[:place])
            await wait_all_tasks_blocked()
            await stream.send_all(first[place:])
            peer = HandPeer(stream)
            await peer.take_hello()
            assert await peer.receive_a(Reply) == Reply(1, {"$tuple": [1]})


async def test_a_node_that_comes_back_at_its_address_gets_a_new_link(start: Start) -> None:
    one, config = await start(), NodeConfig(port=free_port())
    async with open_node(config) as two:  # its links end before its port is free
        await two.local.routes.put({"echo": lambda *args: args}, "probe")
        await call(one, two, "echo")
    await wait_until(lambda: links(one) == [])
    again = await start(config)
    assert await call(again, one, "echo", 1) == (1,)
    assert await call(one, again, "echo", 1) == (1,)
    assert len(links(one)) == len(links(again)) == 1


async def test_features_that_are_not_known_are_no_obstacle(start: Start) -> None:
    node = await start()
    own = hello()
    own.features = ["compression", "time travel"]
    async with connect(node, own) as peer:
        await peer.send(HandPeer.call(1, "echo"))
        assert isinstance(await peer.receive(), Reply)


# ---- HTTP


@pytest.fixture
async def http_only(nursery: trio.Nursery) -> tuple[NodeAddress, list[bytes]]:
    """The address of a server that only speaks HTTP, with the service ``probe``; the first bytes of its connections."""

    async def count(to: int) -> AsyncGenerator[int]:
        for number in range(to):
            yield number

    router, began_with = Router(), list[bytes]()
    router.put("local", "probe", {"echo": Method(lambda *args: args), "count": Method(count)})
    web = WebServer(router, NodeConfig())
    await web.started(nursery)

    async def serve(stream: trio.SocketStream) -> None:
        first = bytes(await stream.receive_some())
        began_with.append(first[:1])
        await web.connect(plain_socket(stream), first).run()

    return await serve_raw(nursery, serve), began_with


async def test_a_peer_that_only_speaks_http_is_called_over_http(
    start: Start, http_only: tuple[NodeAddress, list[bytes]]
) -> None:
    node, (address, began_with) = await start(), http_only
    for number in range(3):
        assert await call(node, address, "echo", number, {"a": b"b"}) == (number, {"a": b"b"})
    assert began_with == [MARK, b"P"]  # one attempt at a link, then HTTP
    async with node.local.comm.stream([3], Remote(node=address, service="probe", method="count")) as items:
        assert [item async for item in items] == [0, 1, 2]
    assert MARK not in began_with[1:]
    assert links(node) == []


async def test_after_a_while_a_link_is_tried_again(
    start: Start,
    http_only: tuple[NodeAddress, list[bytes]],
    patient_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trionet.transports.link.tcp._HTTP_ONLY_S", 5)
    node, (address, began_with) = await start(), http_only
    assert await call(node, address, "echo", 1) == (1,)
    await trio.sleep(4)
    assert await call(node, address, "echo", 2) == (2,)
    assert began_with.count(MARK) == 1
    await trio.sleep(2)
    assert await call(node, address, "echo", 3) == (3,)
    assert began_with.count(MARK) == 2


async def test_http_can_be_forced_and_both_kinds_of_nodes_call_each_other(start: Start) -> None:
    plain, linked = await start(NodeConfig(transport="http")), await start()
    assert await call(plain, linked, "echo", 1) == (1,)
    assert links(plain) == links(linked) == []
    # The other way round there is a link: a node takes both.
    assert await call(linked, plain, "echo", 2) == (2,)
    assert len(links(linked)) == 1
    also_plain = await start(NodeConfig(transport="http"))
    assert await call(plain, also_plain, "echo", 3) == (3,)
    assert links(also_plain) == []


class _Dialing(LinkTransport):
    """A transport whose connection attempts last until it ends."""

    def dial(self, node: NodeAddress) -> None:
        self.start_soon(trio.sleep_forever)


async def test_a_transport_that_is_ending_starts_nothing_more() -> None:
    async def no_handler(*_: object) -> None: ...

    own, keys = NodeAddress("127.0.0.1", 1), LiveKeys()
    dialing = _Dialing(own, NodeConfig(), cast("Handler", no_handler), lambda _: None, keys)
    request = Request("local", "s", "m", b"", None, "id", own)
    outcomes = []

    async def call(number: int) -> None:
        try:
            await dialing.call(NodeAddress("127.0.0.1", 2 + number), request)
        except NodeUnreachable as exc:
            outcomes.append(str(exc))

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as running:
            await running.start(dialing.run)
            running.cancel_scope.cancel()
            for number in range(8):  # one in each of the passes in which it ends
                nursery.start_soon(call, number)
                await trio.lowlevel.cancel_shielded_checkpoint()
        await wait_all_tasks_blocked()
        assert outcomes
        assert all("stop" in outcome for outcome in outcomes)
        nursery.cancel_scope.cancel()

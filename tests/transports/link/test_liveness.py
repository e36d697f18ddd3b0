"""What a peer is charged for: the answers that it owes, and no time in which it owed none or this node stood still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.transports.link.ends import Closed, HandPeer, call, connect, links, listen
from tests.waiting import wait_until
from trionet import ConnectionLost, Node, NodeConfig, open_node
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import CHUNK_BYTES, Bye, CallFrame, Chunk, Ping, Pong, Reply, with_length
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    Start = Callable[..., Awaitable[Node]]
    Behave = Callable[[HandPeer], Awaitable[None]]

SILENCE_S = 30.0


# ---- links


@pytest.mark.slow
async def test_a_call_after_a_long_silence_may_take_its_time(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    """Its node may be blocked, so that pings aren't answered either."""

    async def behave(peer: HandPeer) -> None:
        first = await peer.receive_a(CallFrame)
        await peer.send(Reply(first.msg_id, 1))
        second = await peer.receive_a(CallFrame)
        await trio.sleep(SILENCE_S - 2)
        await peer.send(Reply(second.msg_id, 2))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    assert await call(node, address, "any") == 1
    await trio.sleep(SILENCE_S - 3)
    assert await call(node, address, "any") == 2
    assert len(links(node)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stall_s", [5, 40, 1000])
async def test_what_this_node_stands_still_for_is_not_charged_to_its_peers(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock, stall_s: float
) -> None:
    """A clock that jumps, a process that was stopped and a loop that was blocked look alike from inside."""

    async def behave(peer: HandPeer) -> None:
        frame = await peer.receive_a(CallFrame)
        peer.ponging = False
        await ask_and_stall.wait()
        await trio.sleep(SILENCE_S / 2)
        await peer.send(Reply(frame.msg_id, "late"))
        await peer.wait_closed()

    ask_and_stall = trio.Event()

    async def stall() -> None:
        await trio.sleep(5)  # pings are on their way
        patient_clock.jump(stall_s)
        ask_and_stall.set()

    node, address = await start(), await listen(nursery, behave)
    nursery.start_soon(stall)
    assert await call(node, address, "any") == "late"


@pytest.mark.slow
async def test_a_link_is_not_idle_for_what_this_node_stands_still_for(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    node, address = await start(NodeConfig(idle_timeout_s=20)), await listen(nursery, _echo)
    assert await call(node, address, "any") == "echo"
    (link,) = links(node)
    patient_clock.jump(1000)
    await trio.sleep(15)
    assert links(node) == [link]
    assert not link.core.is_retired
    await trio.sleep(10)
    assert link.core.is_retired


async def _echo(peer: HandPeer) -> None:
    frame = await peer.receive_a(CallFrame)
    await peer.send(Reply(frame.msg_id, "echo"))
    await _pong(peer)


async def test_in_memory_a_call_after_a_long_silence_may_take_its_time(autojump_clock: MockClock) -> None:
    fabric = MemoryFabric()
    async with open_node(fabric=fabric) as one, open_node(fabric=fabric) as other:
        await other.local.routes.put({"echo": lambda *args: args}, "probe")
        assert await call(one, other, "echo", 1) == (1,)
        await trio.sleep(SILENCE_S - 3)
        endpoint = fabric.endpoints[other.address]
        endpoint.hold()  # as a handler does that blocks its node, or SIGSTOP
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                await trio.sleep(SILENCE_S - 2)
                endpoint.release()

            nursery.start_soon(go_on)
            assert await call(one, other, "echo", 2) == (2,)


# ---- peers that only take up room


async def _says_nothing(peer: HandPeer) -> None:
    await trio.sleep_forever()


async def _answers_pings_and_no_bye(peer: HandPeer) -> None:
    await _pong(peer)


async def _only_pings(peer: HandPeer) -> None:
    while True:
        await peer.send(Ping(1))
        await trio.sleep(5)


async def _pings_and_answers_pings(peer: HandPeer) -> None:
    decoder = FrameDecoder()
    while True:
        with trio.move_on_after(5) as scope:
            if not (data := bytes(await peer.stream.receive_some())):
                raise Closed
            for frame, _ in decoder.feed(data):
                if isinstance(frame, Ping):
                    await peer.send(Pong(frame.token))
        if scope.cancelled_caught:
            await peer.send(Ping(1))


async def _drips_a_frame(peer: HandPeer) -> None:
    await peer.send_bytes(with_length(bytes(60_000))[:4])
    while True:
        await peer.send_bytes(b"\x93")
        await trio.sleep(5)


async def _begins_a_long_call_and_answers_pings(peer: HandPeer) -> None:
    await peer.send(Chunk(1, 0, False, bytes(CHUNK_BYTES)))
    await _pong(peer)


async def _calls_and_reads_nothing(peer: HandPeer) -> None:
    await peer.send(peer.call(1, "big"))
    while True:
        await peer.send(Ping(1))
        await trio.sleep(5)


async def _says_bye_and_stays(peer: HandPeer) -> None:
    await peer.send(Bye("any"))
    await _pong(peer)


async def _closes_one_half(peer: HandPeer) -> None:
    await peer.stream.send_eof()
    await trio.sleep_forever()


async def _pong(peer: HandPeer) -> None:
    decoder = FrameDecoder()
    while data := bytes(await peer.stream.receive_some()):
        for frame, _ in decoder.feed(data):
            if isinstance(frame, Ping):
                await peer.send(Pong(frame.token))


@pytest.mark.slow
@pytest.mark.parametrize(
    "behave",
    [
        _says_nothing,
        _answers_pings_and_no_bye,
        _only_pings,
        _pings_and_answers_pings,
        _drips_a_frame,
        _begins_a_long_call_and_answers_pings,
        _calls_and_reads_nothing,
        _says_bye_and_stays,
        _closes_one_half,
    ],
    ids=lambda behave: behave.__name__.strip("_"),
)
async def test_a_link_of_no_use_is_closed_whatever_its_peer_does(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock, behave: Behave
) -> None:
    idle_s = 10.0
    node = await start(NodeConfig(idle_timeout_s=idle_s), big=lambda: bytes(10_000_000))

    async def misbehave(peer: HandPeer) -> None:
        try:
            await behave(peer)
        except (Closed, trio.BrokenResourceError):
            await trio.sleep_forever()

    async with connect(node, receive_buffer_bytes=64 * 1024) as peer:
        nursery.start_soon(misbehave, peer)
        await wait_until(lambda: len(links(node)) == 1)
        await trio.sleep(idle_s + SILENCE_S + 8)
        assert links(node) == []
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_link_in_use_stays_open_for_as_long_as_its_peer_answers_pings(
    start: Start, patient_clock: MockClock
) -> None:
    node = await start(NodeConfig(idle_timeout_s=40), stay=trio.sleep_forever)
    async with connect(node) as peer, trio.open_nursery() as nursery:
        await peer.send(peer.call(1, "stay"))
        nursery.start_soon(_pong, peer)
        await wait_until(lambda: len(links(node)) == 1)
        await trio.sleep(100)
        assert len(links(node)) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_peer_that_says_this_and_that_but_answers_no_ping_loses_its_calls(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    node, address = await start(NodeConfig(idle_timeout_s=40)), await listen(nursery, _only_pings)
    with pytest.raises(ConnectionLost, match="it answered no ping for 40 s"):
        await call(node, address, "any")

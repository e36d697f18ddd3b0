"""Calls that were cancelled, and whose handlers don't confirm that they have finished."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.link.ends import HandPeer, call, cancel_when, events_of, hello, links, listen, serve_raw
from tests.waiting import wait_until
from trionet import Node, NodeAddress, OrphanedCall, OrphanedCalls, Remote
from trionet.message import PACKET
from trionet.nesting import PACKETS
from trionet.protocols.link.frames import CallFrame, Cancel, Cancelled, Reply
from trionet.protocols.link.round_trip import RoundTrip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Node]]


async def _never_confirm(peer: HandPeer) -> None:
    await peer.wait_closed()


@pytest.mark.parametrize(
    ("hello_after_s", "grace_s"), [(0, RoundTrip.GRACE_MIN_S), (0.05, 0.3), (1, RoundTrip.GRACE_MAX_S)]
)
async def test_without_a_confirmation_the_scope_exits_quietly_after_the_grace(
    start: Start,
    nursery: trio.Nursery,
    patient_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    hello_after_s: float,
    grace_s: float,
) -> None:
    """The hello's round trip is the first that is measured."""

    async def serve(stream: trio.SocketStream) -> None:
        await trio.sleep(hello_after_s)
        peer = HandPeer(stream)
        peer.ponging = False
        await peer.shake_hands(hello())
        await peer.wait_closed()

    node, address = await start(), await serve_raw(nursery, serve)
    async with events_of(node) as events:
        begun = trio.current_time()
        with trio.move_on_after(5) as scope:
            await call(node, address, "any")
        assert scope.cancelled_caught
        assert trio.current_time() - begun == pytest.approx(5 + grace_s, abs=0.03)
    (event,) = events
    assert isinstance(event, OrphanedCall)
    assert (event.node, event.gid, event.service, event.method) == (address, "local", "probe", "any")
    assert event.id
    assert node.statistics().calls_orphaned == 1
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"the call local/probe/any to {address} was cancelled, and may still be running there"
    ]


async def test_the_slot_of_an_orphan_is_free_again_when_its_late_answer_comes(
    start: Start, nursery: trio.Nursery
) -> None:
    peers, answers = list[HandPeer](), list[Any]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave, hello(max_calls=1))
    await cancel_when(lambda: bool(peers and peers[0].seen), lambda: call(node, address, "first"))
    assert node.statistics().calls_orphaned == 1

    async def ask() -> None:
        answers.append(await call(node, address, "second"))

    async with trio.open_nursery() as calls:
        calls.start_soon(ask)
        await wait_all_tasks_blocked(0.05)
        assert [type(frame) for frame in peers[0].seen] == [CallFrame, Cancel]
        await peers[0].send(Cancelled(1))
        await wait_until(lambda: len(peers[0].seen) == 3)
        await peers[0].send(Reply(2, "served"))
    assert answers == ["served"]
    assert len(links(node)) == 1


async def test_a_packet_of_the_protocols_is_no_orphan_and_nobody_waits_for_its_confirmation(
    start: Start, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    peers = list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave, hello(max_calls=1))
    comm = node.local.comm
    packet = comm.prepare([b"news"], {}, PACKET, depth=PACKETS)
    async with events_of(node) as events:
        await cancel_when(lambda: bool(peers and peers[0].seen), lambda: comm.call(address, packet))
        with trio.move_on_after(0.05):
            await comm.call(address, packet)
        await wait_until(lambda: len(peers[0].seen) == 2)
    assert events == []
    assert [type(frame) for frame in peers[0].seen] == [CallFrame, CallFrame]
    assert (node.statistics().calls_orphaned, caplog.records) == (0, [])


async def test_there_is_no_grace_for_a_peer_that_has_gone(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    came = trio.Event()

    async def behave(peer: HandPeer) -> None:
        peer.ponging = False  # the grace would be a second
        await peer.receive_a(CallFrame)
        came.set()
        await peer.receive_a(Cancel)
        peer.reset()

    node, address = await start(), await listen(nursery, behave)
    begun = trio.current_time()
    await cancel_when(came.is_set, lambda: call(node, address, "any"))
    assert trio.current_time() - begun < 0.9
    assert node.statistics().calls_orphaned == 0


async def test_what_this_node_stands_still_for_is_no_part_of_the_grace(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    """Its loop is blocked just after the cancel was put: the peer hears of it only then."""
    called = trio.Event()

    async def behave(peer: HandPeer) -> None:
        frame = await peer.receive_a(CallFrame)
        called.set()
        await peer.receive_a(Cancel)
        patient_clock.jump(40)
        await trio.sleep(0.5)
        await peer.send(Cancelled(frame.msg_id))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    await cancel_when(called.is_set, lambda: call(node, address, "any"))
    assert node.statistics().calls_orphaned == 0


def _send(node: Node, group: str, to: NodeAddress, **options: Any) -> Awaitable[Any]:
    return node.local.comm.send([], Remote(node=to, service="probe", method="any"), **options)


def _fan_out(node: Node, group: str, to: NodeAddress, **options: Any) -> Awaitable[Any]:
    return node.group(group).comm.send([], Remote(service="probe", method="any"), **options)


async def _stream(node: Node, group: str, to: NodeAddress, **options: Any) -> None:
    async with node.local.comm.stream([], Remote(node=to, service="probe", method="any"), **options) as items:
        async for _ in items:
            pass


async def _stream_of_group(node: Node, group: str, to: NodeAddress, **options: Any) -> None:
    async with node.group(group).comm.stream([], Remote(service="probe", method="any"), **options) as items:
        async for _ in items:
            pass


async def _items_of_group(node: Node, group: str, to: NodeAddress, **options: Any) -> None:
    async with node.group(group).comm.stream([], Remote(service="probe", method="any"), items=True, **options) as items:
        async for _ in items:
            pass


WAYS = [_send, _fan_out, _stream, _stream_of_group, _items_of_group]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_orphans_are_raised_only_where_the_caller_asked(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock, way: Callable[..., Awaitable[Any]]
) -> None:
    node, addresses = await start(), [await listen(nursery, _never_confirm) for _ in range(2)]
    await node.local.groups.put("members", addresses)
    asked = addresses[:1] if way in (_send, _stream) else addresses
    for options in ({}, {"orphans": "report"}):
        before = node.statistics().calls_orphaned
        with trio.move_on_after(1) as scope:
            await way(node, "members", addresses[0], **options)
        assert scope.cancelled_caught
        assert node.statistics().calls_orphaned == before + len(asked)
    async with events_of(node) as events:
        with pytest.raises(OrphanedCalls) as caught, trio.move_on_after(1):
            await way(node, "members", addresses[0], orphans="raise")
    orphans = [event for event in events if isinstance(event, OrphanedCall)]
    assert caught.value.calls == {str(orphan.node): orphan.id for orphan in orphans}
    assert set(caught.value.calls) == set(map(str, asked))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_another_word_for_what_to_do_about_orphans_is_refused(
    start: Start, nursery: trio.Nursery, way: Callable[..., Awaitable[Any]]
) -> None:
    node, address = await start(), await listen(nursery, _never_confirm)
    await node.local.groups.put("members", [address])
    with pytest.raises(ValueError, match="orphans is 'report' or 'raise', not 'shout'"):
        await way(node, "members", address, orphans="shout")

"""Streams over links: in order, held back by a slow reader, and ended on the far side with the block."""

from __future__ import annotations

import random
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.link.ends import MIB, HandPeer, Hold, call, connect, hello, links, listen, serve_raw
from tests.waiting import wait_until
from trionet import ConnectionLost, Node, NodeAddress, NodeConfig, Remote, RemoteError
from trionet.protocols.link.frames import (
    CHUNK_BYTES,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    End,
    Error,
    Item,
    encode_frame,
    with_length,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Start = Callable[..., Awaitable[Node]]

CREDIT_BYTES = 256 * 1024
"""How far a stream may be ahead of its reader."""


class Source:
    """A stream, and what becomes of it.

    Attributes:
        made: how many items the generator has made.
        ended: how many generators have run to their last line, for whatever reason.
        resume: set to let a generator end that lingers.
    """

    def __init__(self, *, lingers: bool = False) -> None:
        self.made = self.begun = self.ended = 0
        self.resume = trio.Event()
        self._lingers = lingers

    async def items(self, *sizes: int) -> AsyncGenerator[tuple[int, bytes]]:
        """Give items of those sizes, each with its place; without sizes, small ones for ever."""
        self.begun += 1
        try:
            if sizes:
                for place, size in enumerate(sizes):
                    self.made += 1
                    yield place, bytes([place % 256]) * size
            while not sizes:
                self.made += 1
                yield self.made, b""
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
                if self._lingers:
                    await self.resume.wait()
            self.ended += 1

    async def same(self, size: int) -> AsyncGenerator[bytes]:
        """Give items of one size for ever."""
        async with aclosing(self.items()) as items:
            async for _ in items:
                yield bytes(size)


def stream(
    node: Node, to: Node | NodeAddress, method: str, *args: Any, **options: Any
) -> AbstractAsyncContextManager[Any]:
    address = to.address if isinstance(to, Node) else to
    return node.local.comm.stream(args, Remote(node=address, service="probe", method=method), **options)


async def test_large_items_and_small_ones_come_in_order(start: Start) -> None:
    rng = random.Random(seed := random.randrange(2**32))
    sizes = [rng.choice((0, 10, CHUNK_BYTES - 50, CHUNK_BYTES, 200_000, MIB)) for _ in range(60)]
    source = Source()
    one, other = await start(), await start(items=source.items)
    async with stream(one, other, "items", *sizes) as items:
        got = [(place, len(data), set(data)) async for place, data in items]
    expected = [(place, size, {place} if size else set()) for place, size in enumerate(sizes)]
    assert got == expected, f"with seed {seed}"
    assert source.ended == 1


async def test_many_streams_and_calls_share_one_link(start: Start) -> None:
    source = Source()
    one, other = await start(), await start(items=source.items)

    async def read(count: int) -> None:
        async with stream(one, other, "items", *[100] * count) as items:
            assert [place async for place, _ in items] == list(range(count))

    async with trio.open_nursery() as nursery:
        await call(one, other, "echo")
        for count in range(1, 40):
            nursery.start_soon(read, count)
            nursery.start_soon(call, one, other, "echo", count)
    assert source.ended == 39
    assert len(links(one)) == 1


# ---- back-pressure


@pytest.mark.parametrize("size", [1000, 10_000, 60_000, 3 * CHUNK_BYTES, MIB])
async def test_a_generator_is_not_further_ahead_than_its_credit(start: Start, size: int) -> None:
    source = Source()
    one, other = await start(), await start(same=source.same)
    most_ahead = CREDIT_BYTES // size + 2  # the one that goes over the credit, and the one that is ready by then
    async with stream(one, other, "same", size) as items:
        await wait_until(lambda: source.made >= min(most_ahead - 2, 2))
        for taken in range(1, 3 * most_ahead):
            await anext(items)
            if taken % max(1, most_ahead // 10) == 0:
                await wait_all_tasks_blocked(0.001)
                assert source.made <= taken + most_ahead
        await wait_all_tasks_blocked(0.01)
        assert source.made >= 3 * most_ahead  # and is not left behind
    assert source.ended == 1


async def test_on_the_wire_a_stream_goes_as_far_as_its_credit_and_one_item_more(start: Start) -> None:
    source = Source()
    node = await start(same=source.same)
    async with connect(node) as peer:
        await peer.send(HandPeer.call(1, "same", 1000, credit=0), HandPeer.call(2, "echo"))
        await peer.receive()
        assert not any(isinstance(frame, Item) for frame in peer.seen)
        await peer.send(Credit(1, 1))
        assert isinstance(await peer.receive(), Item)
        await peer.send(Credit(1, 2500), HandPeer.call(3, "echo"))  # 1,000 bytes are owed
        await peer.receive_a(Item)
        await peer.receive_a(Item)
        await wait_all_tasks_blocked(0.01)
        await peer.send(HandPeer.call(4, "echo"), Cancel(1))
        await peer.receive_a(Cancelled)
        assert sum(isinstance(frame, Item) for frame in peer.seen) == 3
    assert source.ended == 1


async def test_a_stream_that_nobody_reads_is_in_nobodys_way(start: Start) -> None:
    source = Source()
    one, other = await start(), await start(items=source.items, same=source.same)
    async with stream(one, other, "same", 1000), stream(one, other, "same", MIB):
        await wait_all_tasks_blocked(0.01)
        assert await call(one, other, "echo", 1) == (1,)
        async with stream(one, other, "items", 1, 2, 3) as items:
            assert [len(data) async for _, data in items] == [1, 2, 3]
    assert source.ended == 3


# ---- leaving


async def test_leaving_early_runs_the_generator_to_its_end_before_the_block_exits(start: Start) -> None:
    source = Source()
    one, other = await start(), await start(items=source.items)
    for count in range(1, 11):
        async with stream(one, other, "items") as items:
            async for place, _ in items:
                if place > 5:
                    break
        assert source.ended == source.begun == count
    async with stream(one, other, "items"):
        pass
    assert source.ended == source.begun
    assert one.statistics().calls_orphaned == 0


async def test_leaving_by_an_exception_or_cancellation_does_so_too(start: Start) -> None:
    source = Source()
    one, other = await start(), await start(items=source.items)
    with suppress(ZeroDivisionError):
        async with stream(one, other, "items") as items:
            assert await anext(items)
            raise ZeroDivisionError
    assert source.ended == 1
    with trio.CancelScope() as scope:
        async with stream(one, other, "items") as items:
            assert await anext(items)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert source.ended == 2
    with trio.move_on_after(0.05) as scope:
        async with stream(one, other, "items") as items:
            async for _ in items:
                pass
    assert scope.cancelled_caught
    assert source.ended == source.begun
    assert one.statistics().calls_orphaned == 0


async def test_a_generator_runs_under_the_time_that_came_with_its_call(start: Start, patient_clock: MockClock) -> None:
    """The peer doesn't cancel: the generator's node ends it by itself."""
    ended_at_s = list[float]()

    async def wait() -> AsyncGenerator[str]:
        try:
            yield "first"
            await trio.sleep_forever()
        finally:
            ended_at_s.append(trio.current_time())

    node = await start(wait=wait)
    async with connect(node) as peer:
        begun = trio.current_time()
        await peer.send(HandPeer.call(1, "wait", timeout_s=2.0, credit=1000))
        assert await peer.receive() == Item(1, "first")
        assert (await peer.receive_a(Error)).error["name"] == "CallTimeout"
        assert ended_at_s == [pytest.approx(begun + 2, abs=0.01)]


async def test_a_generator_that_waits_is_ended_too(start: Start) -> None:
    hold = Hold()

    async def wait() -> AsyncGenerator[int]:
        yield 1
        await hold.handle()
        yield 2

    one, other = await start(), await start(wait=wait)
    async with stream(one, other, "wait") as items:
        assert await anext(items) == 1
        await hold.wait_started()
    assert (hold.running, hold.cancelled) == (0, 1)


async def test_a_generator_that_lingers_is_an_orphan(start: Start) -> None:
    source = Source(lingers=True)
    one, other = await start(), await start(items=source.items)
    async with stream(one, other, "items") as items:
        await anext(items)
    assert source.ended == 0
    assert one.statistics().calls_orphaned == 1
    source.resume.set()
    await wait_until(lambda: source.ended == 1)
    assert await call(one, other, "echo", 1) == (1,)


async def test_a_generator_that_fails_at_its_end_disturbs_nobody_who_has_left(start: Start) -> None:
    async def fail() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    one, other = await start(), await start(fail=fail)
    async with stream(one, other, "fail") as items:
        await anext(items)
    assert one.statistics().calls_orphaned == 0
    assert await call(one, other, "echo", 1) == (1,)


# ---- ends


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_an_exception_of_the_generator_comes_after_the_items_before_it(start: Start, count: int) -> None:
    async def fail() -> AsyncGenerator[int]:
        for number in range(count):
            yield number
        raise ValueError("no more")

    one, other = await start(), await start(fail=fail)
    async with stream(one, other, "fail") as items:
        for number in range(count):
            assert await anext(items) == number
        with pytest.raises(RemoteError, match="ValueError: no more"):
            await anext(items)
    assert len(links(one)) == 1


async def test_an_item_that_is_too_large_or_cannot_travel_is_a_remote_error_because_the_generator_ran(
    start: Start,
) -> None:
    ended = 0

    async def give(what: str) -> AsyncGenerator[Any]:
        nonlocal ended
        try:
            yield 1
            yield bytes(200_000) if what == "large" else give
            yield 2
        finally:
            ended += 1

    one, other = await start(NodeConfig(max_message_bytes=128 * 1024)), await start(give=give)
    for what, error in ("large", "MessageTooLarge"), ("code", "EncodeError"):
        async with stream(one, other, "give", what) as items:
            assert await anext(items) == 1
            with pytest.raises(RemoteError, match=error):
                await anext(items)
    assert ended == 2
    assert await call(one, other, "echo", 1) == (1,)
    assert len(links(one)) == 1


async def test_what_came_before_the_link_broke_can_be_read_and_then_it_is_lost(start: Start) -> None:
    source = Source()
    one, other = await start(), await start(items=source.items)
    async with stream(one, other, "items", *[10] * 100) as items:
        await wait_until(lambda: source.ended == 1)
        await wait_all_tasks_blocked(0.01)
        links(one)[0].abort()
        assert [place async for place, _ in items] == list(range(100))
    source.made = 0
    async with stream(one, other, "items") as items:
        await anext(items)
        links(one)[0].abort()
        with pytest.raises(ConnectionLost):
            async for _ in items:
                pass
    await wait_until(lambda: source.ended == 2)
    assert one.statistics().calls_orphaned == 0


async def test_a_stream_keeps_its_link_open_and_ends_well_on_one_that_is_being_closed(
    start: Start, patient_clock: MockClock
) -> None:
    go_on = trio.Event()

    async def slow() -> AsyncGenerator[int]:
        yield 1
        await go_on.wait()
        yield 2

    one, other = await start(NodeConfig(idle_timeout_s=2)), await start(slow=slow)
    async with stream(one, other, "slow") as items:
        assert await anext(items) == 1
        await trio.sleep(10)
        (link,) = links(one)
        assert not link.core.is_retired
        link.retire("for the test")
        await wait_all_tasks_blocked(0.01)
        go_on.set()
        assert [item async for item in items] == [2]
    await wait_until(lambda: links(one) == [])


# ---- over groups


async def test_the_items_of_all_members_come_as_they_are_made(start: Start) -> None:
    sources = [Source() for _ in range(4)]
    caller, members = await start(), [await start(items=source.items) for source in sources]
    await caller.local.groups.put("members", [member.address for member in members])
    got: dict[str, list[int]] = {member.sid: [] for member in members}
    remote = Remote(service="probe", method="items")
    async with caller.group("members").comm.stream([10] * 30, remote, items=True) as answers:
        async for sid, (place, _) in answers:
            got[sid].append(place)
    assert got == {member.sid: list(range(30)) for member in members}
    assert [source.ended for source in sources] == [1] * 4


async def test_leaving_a_stream_of_a_group_early_ends_every_generator(start: Start) -> None:
    sources = [Source() for _ in range(4)]
    caller, members = await start(), [await start(items=source.items) for source in sources]
    await caller.local.groups.put("members", [member.address for member in members])
    seen = set[str]()
    async with caller.group("members").comm.stream([], Remote(service="probe", method="items"), items=True) as answers:
        async for sid, _ in answers:
            seen.add(sid)
            if len(seen) == 4:
                break
    assert [(source.begun, source.ended) for source in sources] == [(1, 1)] * 4
    assert caller.statistics().calls_orphaned == 0


async def test_a_member_that_fails_is_an_outcome_and_the_others_go_on(start: Start) -> None:
    async def fail(*sizes: int) -> AsyncGenerator[int]:
        yield 1
        raise ValueError("broken")

    source = Source()
    caller, good, bad = await start(), await start(items=source.items), await start(items=fail)
    await caller.local.groups.put("members", [good.address, bad.address])
    outcomes: dict[str, list[Any]] = {good.sid: [], bad.sid: []}
    remote = Remote(service="probe", method="items")
    async with caller.group("members").comm.stream([1, 2, 3], remote, items=True) as answers:
        async for sid, outcome in answers:
            outcomes[sid].append(outcome)
    assert [place for place, _ in outcomes[good.sid]] == [0, 1, 2]
    first, error = outcomes[bad.sid]
    assert first == 1
    assert isinstance(error, RemoteError)
    assert error.node == str(bad.address)


# ---- a peer that doesn't keep to its credit


@pytest.mark.parametrize("large", [False, True])
async def test_a_peer_that_sends_more_items_than_its_credit_is_cut_off(
    start: Start, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, large: bool
) -> None:
    """What nobody reads is kept: it must not grow without bounds."""
    sent_bytes = 0

    async def behave(peer: HandPeer) -> None:
        nonlocal sent_bytes
        number = (await peer.receive_a(CallFrame)).msg_id
        transfer = 0
        while True:
            if large:
                item = b"\x93\x06" + bytes([number]) + b"\xc5\xff\xff" + bytes(65_535)
                await peer.send(Chunk(transfer, 1, False, item[:40_000]), Chunk(transfer, 1, True, item[40_000:]))
                transfer += 1
            else:
                await peer.send(Item(number, bytes(10_000)))
            sent_bytes += 65_000 if large else 10_000
            assert sent_bytes < 100 * MIB

    node, address = await start(), await listen(nursery, behave)
    async with stream(node, address, "any") as items:
        await wait_until(lambda: links(node) == [])
        with pytest.raises(ConnectionLost, match="more items than it was allowed"):
            async for _ in items:
                pass
    assert "it broke the protocol: more items than it was allowed" in caplog.text


async def test_an_end_that_comes_before_what_it_ends_is_no_trouble(start: Start, nursery: trio.Nursery) -> None:
    early = b"".join(with_length(encode_frame(frame)) for frame in (End(1), Item(1, 1), Credit(1, 1), Cancelled(1)))

    async def serve(raw: trio.SocketStream) -> None:
        peer = HandPeer(raw)
        await peer.shake_hands(hello(), behind=early)  # so that the node reads them before it makes a call
        number = (await peer.receive_a(CallFrame)).msg_id
        await peer.send(Item(number, "item"), End(number), Item(number, "too late"), End(number))
        await peer.wait_closed()

    node, address = await start(), await serve_raw(nursery, serve)
    async with stream(node, address, "any") as items:
        assert [item async for item in items] == ["item"]
    await wait_all_tasks_blocked(0.01)
    assert len(links(node)) == 1

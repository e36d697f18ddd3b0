"""Large values and many calls: what is under way, how large it may be, and who waits."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.link.ends import MIB, HandPeer, Hold, call, hello, links, listen, outbox, passes_until
from tests.waiting import DEADLINE_S, wait_until
from trionet import CallTimeout, MessageTooLarge, Node, NodeConfig, RemoteError, TrionetError
from trionet.protocols.link.frames import CHUNK_BYTES, CallFrame, Chunk, Reply, Window
from trionet.transports.link.outgoing import LinkClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Node]]

SMALL = NodeConfig(max_message_bytes=128 * 1024)


# ---- large values


async def test_small_calls_are_answered_before_a_large_one_that_began_before_them(start: Start) -> None:
    one, other = await start(), await start(size=len)
    await call(one, other, "echo")
    (link,), ended = links(one), list[int]()

    async def send(size: int) -> None:
        assert await call(one, other, "size", bytes(size)) == size
        ended.append(size)

    begun = outbox(link).put_bytes
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, 10 * MIB)
        await passes_until(lambda: outbox(link).put_bytes > begun + CHUNK_BYTES)
        for size in range(3):
            await send(size)
    assert ended == [0, 1, 2, 10 * MIB]
    assert links(one) == [link]


async def test_small_answers_pass_a_large_one_that_began_before_them(start: Start) -> None:
    one, other = await start(), await start(make=bytes)
    await call(one, other, "echo")
    (link,), ended = links(other), list[int]()

    async def fetch(size: int) -> None:
        assert len(await call(one, other, "make", size)) == size
        ended.append(size)

    begun = outbox(link).put_bytes
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch, 10 * MIB)
        await passes_until(lambda: outbox(link).put_bytes > begun + CHUNK_BYTES)
        for size in range(3):
            await fetch(size)
    assert ended == [0, 1, 2, 10 * MIB]


async def _answer(peer: HandPeer, count: int) -> None:
    """Answer that many calls with None, and give back what they took of the window."""
    for _ in range(count):
        frame, chunked_bytes = await peer.receive_whole()
        assert isinstance(frame, CallFrame)
        await peer.send(Window(0, chunked_bytes), Reply(frame.msg_id, None))


async def test_on_the_wire_a_large_call_is_chunks_in_turn_with_others_and_a_small_one_goes_between(
    start: Start, nursery: trio.Nursery
) -> None:
    small_is_put, peers = trio.Event(), list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.receive_a(Chunk)
        await small_is_put.wait()
        await _answer(peer, 3)

    node = await start()
    address = await listen(nursery, behave, receive_buffer_bytes=64 * 1024)
    async with trio.open_nursery() as calls:
        calls.start_soon(call, node, address, "a", "a" * 3 * MIB)
        calls.start_soon(call, node, address, "b", "b" * 3 * MIB)
        await wait_until(lambda: bool(peers and peers[0].seen))
        calls.start_soon(call, node, address, "small")
        await wait_all_tasks_blocked(0.01)
        small_is_put.set()
    seen = peers[0].seen
    chunks = [frame for frame in seen if isinstance(frame, Chunk)]
    assert len(seen) == len(chunks) + 1
    numbers = [chunk.transfer for chunk in chunks]
    first, last = numbers[0], numbers[-1]
    both = numbers[numbers.index(last) : len(numbers) - numbers[::-1].index(first)]
    assert len(both) > 80
    assert all(one != other for one, other in itertools.pairwise(both))  # they take turns
    assert [chunk.last for chunk in chunks].count(True) == 2
    assert all(len(chunk.data) == CHUNK_BYTES for chunk in chunks if not chunk.last)
    (small,) = (place for place, frame in enumerate(seen) if isinstance(frame, CallFrame))
    assert small < next(place for place, frame in enumerate(seen) if isinstance(frame, Chunk) and frame.last)


async def test_no_more_chunked_bytes_are_under_way_than_the_peer_allows(start: Start, nursery: trio.Nursery) -> None:
    node, peers = await start(), list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.wait_closed()

    window_bytes = 1 * MIB
    address = await listen(nursery, behave, hello(window_bytes=window_bytes, max_message_bytes=window_bytes))
    async with trio.open_nursery() as calls:
        for _ in range(10):
            calls.start_soon(call, node, address, "large", "l" * 300_000)
        await wait_until(lambda: bool(peers) and sum(c.last for c in peers[0].seen if isinstance(c, Chunk)) == 3)
        await wait_all_tasks_blocked(0.05)
        under_way = sum(len(frame.data) for frame in peers[0].seen if isinstance(frame, Chunk))
        assert 900_000 < under_way <= window_bytes  # three have come; a fourth would be over
        await peers[0].send(Window(0, under_way // 3))
        await wait_until(lambda: sum(c.last for c in peers[0].seen if isinstance(c, Chunk)) == 4)
        calls.cancel_scope.cancel()
        peers[0].reset()


async def test_the_windows_are_given_back_however_often_they_are_used(start: Start) -> None:
    """Twelve times what both windows hold, in each direction: chunks that were not given back would stop it."""
    one, other = await start(SMALL), await start(SMALL)
    data = bytes(SMALL.max_message_bytes - 1000)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(24):
                nursery.start_soon(call, one, other, "echo", data)
                nursery.start_soon(call, other, one, "echo", data)


# ---- limits


async def test_an_answer_over_the_limit_is_a_remote_error_and_the_link_lives(start: Start) -> None:
    one, other = await start(SMALL), await start(SMALL, make=bytes)
    await call(one, other, "echo")
    (link,) = links(one)
    with pytest.raises(
        RemoteError,
        match=f"a value of 131,078 bytes is over the limit of {SMALL.max_message_bytes:,} bytes.*max_message_bytes",
    ):
        await call(one, other, "make", SMALL.max_message_bytes)
    assert len(await call(one, other, "make", SMALL.max_message_bytes - 1000)) == SMALL.max_message_bytes - 1000
    assert links(one) == [link]


@pytest.mark.parametrize("configs", [(SMALL, NodeConfig()), (NodeConfig(), SMALL)], ids=["the caller's", "the other's"])
async def test_the_smaller_limit_of_the_two_counts_for_answers(
    start: Start, configs: tuple[NodeConfig, NodeConfig]
) -> None:
    one, other = await start(configs[0]), await start(configs[1], make=bytes)
    with pytest.raises(RemoteError, match="over the limit"):
        await call(one, other, "make", 2 * SMALL.max_message_bytes)
    assert len(await call(one, other, "make", SMALL.max_message_bytes - 1000)) == SMALL.max_message_bytes - 1000


async def test_a_request_over_the_peers_limit_is_refused_at_the_sender(start: Start) -> None:
    one, other = await start(), await start(SMALL)
    await call(one, other, "echo")
    (link,) = links(one)
    served, put_bytes = other.statistics().calls_served, outbox(link).put_bytes
    limit = f"over the limit of {other.address} of {SMALL.max_message_bytes:,} bytes: its max_message_bytes"
    with pytest.raises(MessageTooLarge, match=limit):
        await call(one, other, "echo", bytes(SMALL.max_message_bytes))
    assert outbox(link).put_bytes == put_bytes
    assert await call(one, other, "echo", 1) == (1,)
    assert other.statistics().calls_served == served + 1
    assert links(one) == [link]


@pytest.mark.parametrize("kind", [ValueError, CallTimeout])
async def test_an_error_with_a_long_text_arrives_where_messages_are_small(start: Start, kind: type[Exception]) -> None:
    def fail() -> None:
        raise kind("\N{SNOWMAN}" * 100_000)

    one, other = await start(SMALL), await start(SMALL, fail=fail)
    await call(one, other, "echo")
    (link,) = links(one)
    with pytest.raises(RemoteError if kind is ValueError else kind, match="\N{SNOWMAN}"):
        await call(one, other, "fail")
    assert links(one) == [link]


async def test_many_long_errors_at_once_wait_for_room(start: Start) -> None:
    hold, errors = Hold(), list[TrionetError]()

    async def fail() -> None:
        await hold.handle()
        raise ValueError("x" * 60_000)

    one, other = await start(), await start(fail=fail)

    async def ask() -> None:
        with pytest.raises(TrionetError) as caught:
            await call(one, other, "fail")
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(ask)
        await hold.wait_started(300)
        hold.release.set()
    assert [type(error) for error in errors] == [RemoteError] * 300


async def test_calls_beyond_those_that_the_peer_takes_at_once_wait_at_the_caller(start: Start) -> None:
    hold = Hold()
    one, other = await start(), await start(NodeConfig(max_calls_per_peer=4), hold=hold.handle)
    await call(one, other, "echo")
    (link,), answers = links(one), list[str]()

    async def ask() -> None:
        answers.append(await call(one, other, "hold"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await hold.wait_started(4)
        await wait_all_tasks_blocked(0.01)
        assert hold.started == len(link.core.outgoing.in_progress) == 4
        hold.release.set()
    assert answers == ["released"] * 50
    assert hold.most == 4
    assert links(one) == [link]


async def test_a_call_that_is_cancelled_just_as_its_turn_comes_passes_the_turn_on(
    start: Start, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers, scope, answers = list[HandPeer](), trio.CancelScope(), list[str]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.wait_closed()

    async def ask(method: str) -> None:
        answers.append(await call(node, address, method))

    async def ask_in_vain() -> None:
        with scope:
            await ask("in_vain")

    node, address = await start(), await listen(nursery, behave, hello(max_calls=1))
    async with trio.open_nursery() as calls:
        calls.start_soon(ask, "first")
        await wait_until(lambda: bool(peers and peers[0].seen))
        for task in ask_in_vain, lambda: ask("last"):
            calls.start_soon(task)
            await wait_all_tasks_blocked(0.01)
        handle = LinkClient.handle

        def handle_and_cancel(client: LinkClient, answered: Any) -> None:
            handle(client, answered)
            scope.cancel()

        monkeypatch.setattr(LinkClient, "handle", handle_and_cancel)
        await peers[0].send(Reply(1, "first"))
        await wait_until(lambda: len(peers[0].seen) == 2)
        assert scope.cancelled_caught
        await peers[0].send(Reply(2, "last"))
    assert answers == ["first", "last"]
    assert [frame.method for frame in peers[0].seen if isinstance(frame, CallFrame)] == ["first", "last"]


async def test_a_call_that_waited_for_its_turn_in_vain_passes_the_turn_on(start: Start) -> None:
    """The one in front is refused for its size when its turn comes; the one behind must not wait for ever."""
    hold = Hold()
    small = NodeConfig(max_calls_per_peer=1, max_message_bytes=64 * 1024)
    one, other = await start(), await start(small, hold=hold.handle)
    refused = trio.Event()

    async def ask_too_much() -> None:
        with pytest.raises(MessageTooLarge):
            await call(one, other, "echo", bytes(100_000))
        refused.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, one, other, "hold")
        await hold.wait_started()
        nursery.start_soon(ask_too_much)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(call, one, other, "hold")
        await wait_all_tasks_blocked(0.01)
        assert not refused.is_set()
        hold.release.set()
        await hold.wait_started(2)

"""Peers that don't keep to the rules, or don't read: each is cut off alone, and none grows the node's memory."""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.link.ends import MIB, HandPeer, Hold, call, connect, hello, links, listen, outbox
from tests.waiting import DEADLINE_S, wait_until
from trionet import ConnectionLost, Node, NodeConfig, TrionetError
from trionet.nesting import DEEPEST, PACKETS
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import (
    CHUNK_BYTES,
    PREFACE,
    Abandon,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    Direction,
    Error,
    Frame,
    Item,
    Ping,
    Reply,
    Window,
    direction_of_calls,
    encode_frame,
    with_length,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trionet.transports.link.tcp import TCPLink

    Start = Callable[..., Awaitable[Node]]

CONFIG = NodeConfig(max_calls_per_peer=3, max_message_bytes=256 * 1024)
CONFIG_OF_MANY = NodeConfig(max_message_bytes=125_000)


@asynccontextmanager
async def bystander(start: Start, node: Node, hold: Hold) -> AsyncGenerator[None]:
    """Another node, whose call is in progress while the block lasts, and is answered on the same link after it."""
    other = await start()
    answers = list[str]()

    async def ask() -> None:
        answers.append(await call(other, node, "stay"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await hold.wait_started()
        (link,) = links(other)
        yield
        assert await call(other, node, "echo", 1) == (1,)
        assert links(other) == [link]
        hold.release.set()
    assert answers == ["released"]


def _chunk(frame: Frame, direction: Direction = 0) -> Chunk:
    """Return `frame` in one chunk."""
    return Chunk(1, direction, True, encode_frame(frame))


_HOLD: list[Frame] = [HandPeer.call(number, "hold") for number in range(1, 5)]
_FULL = bytes(CHUNK_BYTES)

BREACHES: dict[str, tuple[list[Frame] | bytes, str]] = {
    "more calls than allowed": (_HOLD, "more than 3 calls at once"),
    "more calls than allowed at one depth": (
        [HandPeer.call(number, "hold", depth=5) for number in range(4)],
        "more than 3 calls at once",
    ),
    "more calls than allowed at the deepest": (
        [HandPeer.call(number, "hold", depth=DEEPEST) for number in range(4)],
        "more than 3 calls at once",
    ),
    "a chunked call in the window of another depth": (
        [_chunk(HandPeer.call(1, "echo", depth=1), direction_of_calls(2))],
        "a chunked CallFrame",
    ),
    "more chunked bytes than the window of a depth": (
        [Chunk(number, direction_of_calls(3), False, _FULL) for number in range(9)],
        "more chunked bytes than it was allowed",
    ),
    "one number twice": ([_HOLD[0], _HOLD[0]], "one number twice"),
    "a second hello": ([hello()], "a second hello"),
    "a kind that is not known": (with_length(b"\x92\x0f\x01"), "not a frame"),
    "garbage": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame of 1,195,725,856 bytes"),
    "zeros": (bytes(100), "not a frame"),
    "a frame of 2^32 - 1 bytes": (b"\xff\xff\xff\xff", "a frame of 4,294,967,295 bytes"),
    "more chunked bytes than the window": (
        [Chunk(number, 0, False, _FULL) for number in range(9)],
        "more chunked bytes than it was allowed",
    ),
    "more chunked bytes than a message": (
        [Chunk(1, 0, False, _FULL) for _ in range(5)],
        "more chunked bytes than it was allowed",
    ),
    "more chunked answers than the window": (
        [Chunk(number, 1, False, _FULL) for number in range(9)],
        "more chunked bytes than it was allowed",
    ),
    "an empty chunk": ([Chunk(1, 0, False, b"")], "a chunk of 0 bytes that is not the last"),
    "a short chunk in the middle": ([Chunk(1, 1, False, b"x")], "a chunk of 1 bytes that is not the last"),
    "a chunked frame that is none": ([Chunk(1, 0, True, b"\xc1")], "not a frame"),
    "a chunked ping": ([_chunk(Ping(1))], "a chunked Ping"),
    "a chunked hello": ([_chunk(hello())], "a chunked Hello"),
    "a chunked chunk": ([_chunk(Chunk(2, 0, True, b""))], "a chunked Chunk"),
    "a chunked call among the answers": ([_chunk(HandPeer.call(1, "echo"), 1)], "a chunked CallFrame"),
    "a chunked answer among the calls": ([_chunk(Reply(1, None))], "a chunked Reply"),
}


@pytest.mark.parametrize(("breach", "reason"), BREACHES.values(), ids=BREACHES.keys())
async def test_a_peer_that_breaks_the_rules_is_cut_off_alone_with_a_reason_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture, breach: list[Frame] | bytes, reason: str
) -> None:
    hold, stay = Hold(), Hold()
    node = await start(CONFIG, hold=hold.handle, stay=stay.handle)
    data = breach if isinstance(breach, bytes) else b"".join(with_length(encode_frame(frame)) for frame in breach)
    async with bystander(start, node, stay), connect(node) as peer:
        peer.ponging = False
        with suppress(trio.BrokenResourceError):  # it may be cut off before it has sent it all
            await peer.stream.send_all(data)
        await peer.wait_closed()
        await wait_until(lambda: len(links(node)) == 1)
        (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
        assert record.getMessage().startswith("the link with a node without address is closed: it broke the protocol: ")
        assert reason in record.getMessage()
    assert hold.running == 0
    assert hold.cancelled == hold.started


async def test_half_a_frame_and_then_the_end_is_a_breach(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    stay = Hold()
    node = await start(stay=stay.handle)
    async with bystander(start, node, stay):
        async with connect(node) as peer:
            await peer.send_bytes(with_length(encode_frame(Ping(1)))[:-1])
            await peer.stream.send_eof()
            peer.ponging = False
            await peer.wait_closed()
        assert "it broke the protocol: it ended in the middle of a frame" in caplog.text
        await wait_until(lambda: len(links(node)) == 1)


async def test_half_a_frame_and_then_silence_is_borne_for_half_a_minute(
    start: Start, patient_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trionet")
    stay = Hold()
    node = await start(stay=stay.handle)
    async with bystander(start, node, stay), connect(node) as peer:
        await peer.send_bytes(with_length(encode_frame(Ping(1)))[:-1])
        await wait_all_tasks_blocked(0.01)
        await trio.sleep(29)
        assert len(links(node)) == 2
        await trio.sleep(3)
        await wait_until(lambda: len(links(node)) == 1)
        assert "no sign of life for 30 s" in caplog.text


async def test_a_peer_that_says_nothing_while_calls_are_in_progress_is_cut_off_after_half_a_minute(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    async def behave(peer: HandPeer) -> None:
        peer.ponging = False
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    begun = trio.current_time()
    with pytest.raises(ConnectionLost, match="no sign of life for 30 s"):
        await call(node, address, "any")
    assert 30 <= trio.current_time() - begun < 33


async def test_a_peer_that_answers_pings_may_take_as_long_as_it_likes(
    start: Start, nursery: trio.Nursery, patient_clock: MockClock
) -> None:
    async def behave(peer: HandPeer) -> None:
        frame = await peer.receive_a(CallFrame)
        with trio.move_on_after(60):
            await peer.receive()
        await peer.send(Reply(frame.msg_id, "at last"))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    assert await call(node, address, "any") == "at last"


ODD: dict[str, CallFrame] = {
    "a number for arguments": CallFrame(1, "local", "probe", "echo", 7, None, "id", None),
    "a text for arguments": CallFrame(1, "local", "probe", "echo", "text", None, "id", None),
    "a map for arguments": CallFrame(1, "local", "probe", "echo", {"a": 1}, None, "id", None),
    "a list for keywords": CallFrame(1, "local", "probe", "echo", [], [1], "id", None),
    "a number for keywords": CallFrame(1, "local", "probe", "named", [], 7, "id", None),
    "numbers for the names of keywords": CallFrame(1, "local", "probe", "named", [], {7: 7}, "id", None),
    "an argument of an unknown type": CallFrame(
        1, "local", "probe", "echo", [{"$type": ["no.such:Type", {}]}], None, "", None
    ),
    "a tag that is none": CallFrame(1, "local", "probe", "echo", [{"$what": 1}], None, "id", None),
    "a group that there is not": CallFrame(1, "nowhere", "probe", "echo", [], None, "id", None),
    "a stream where there is none": HandPeer.call(1, "echo", credit=1000),
    "a call where there is a stream": HandPeer.call(1, "numbers"),
    "a time that is no number": HandPeer.call(1, "nothing", timeout_s=float("nan")),
}


@pytest.mark.parametrize("frame", ODD.values(), ids=ODD.keys())
async def test_a_call_that_makes_no_sense_is_answered_and_the_link_lives(
    start: Start, caplog: pytest.LogCaptureFixture, frame: CallFrame
) -> None:
    async def numbers() -> AsyncGenerator[int]:
        yield 1

    node = await start(numbers=numbers, named=lambda *, name=None: name, nothing=lambda: None)
    async with connect(node) as peer:
        await peer.send(frame)
        answer = await peer.receive()
        assert isinstance(answer, Error) or frame.method == "nothing"
        await peer.send(HandPeer.call(2, "echo"))
        assert (await peer.receive_a(Reply)).in_reply_to == 2
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_answers_to_nothing_and_odd_credits_and_windows_are_ignored(start: Start) -> None:
    node = await start()
    async with connect(node) as peer:
        await peer.send(Reply(7, 1), Error(7, {}), Cancelled(7), Item(7, 1), Abandon(7), Window(0, 2**40))
        await peer.send(Window(1, -(2**40)), HandPeer.call(1, "echo"))
        assert isinstance(await peer.receive(), Reply)
    assert await _serves(start, node)


async def test_credit_for_a_call_whose_long_answer_is_being_sent_is_ignored(start: Start) -> None:
    node = await start(make=bytes)
    async with connect(node, hello(max_message_bytes=200_000, window_bytes=200_000)) as peer:
        calls = [HandPeer.call(number, "make", 150_000) for number in (1, 2)]  # the second waits for the window
        await peer.send(*calls, Credit(2, 1), HandPeer.call(3, "echo"))
        while (await peer.receive_a(Reply)).in_reply_to != 3:
            pass


async def test_a_peer_that_calls_as_soon_as_it_has_its_long_answer_keeps_to_its_number_of_calls(start: Start) -> None:
    """It may have read the whole answer before the task that has sent it runs again."""
    node, rounds = await start(NodeConfig(max_calls_per_peer=1), make=bytes), 300
    frames = [HandPeer.call(number, "make", 70_000) for number in range(1, rounds + 1)]

    def call_in_turn() -> int:
        """Be a peer in a thread, which needn't wait for the node's scheduler."""
        with socket.create_connection((node.address.ip, node.address.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(PREFACE + with_length(encode_frame(hello())) + with_length(encode_frame(frames[0])))
            decoder, answered, rest = FrameDecoder(), 0, len(PREFACE)
            while answered < rounds and (data := sock.recv(65_536)):
                skipped, rest = min(rest, len(data)), max(0, rest - len(data))
                for frame, _ in decoder.feed(data[skipped:]):
                    if isinstance(frame, Chunk) and frame.last:
                        answered += 1
                        following: list[Frame] = [Window(1, 70_011), *frames[answered : answered + 1]]
                        sock.sendall(b"".join(with_length(encode_frame(each)) for each in following))
            return answered

    with trio.fail_after(DEADLINE_S):
        assert await trio.to_thread.run_sync(call_in_turn) == rounds


async def test_an_item_in_reply_to_a_call_is_a_breach(start: Start, nursery: trio.Nursery) -> None:
    async def behave(peer: HandPeer) -> None:
        await peer.send(Item((await peer.receive_a(CallFrame)).msg_id, 1))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    with pytest.raises(ConnectionLost, match="which is no stream"):
        await call(node, address, "any")


@pytest.mark.parametrize(
    "error", [{}, {"code": "x", "text": "y"}, {"code": 1, "text": 2}, {"code": 10**9, "text": "odd"}]
)
async def test_an_error_that_makes_no_sense_is_one_all_the_same(
    start: Start, nursery: trio.Nursery, error: dict[str, Any]
) -> None:
    async def behave(peer: HandPeer) -> None:
        await peer.send(Error((await peer.receive_a(CallFrame)).msg_id, error))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    with pytest.raises(TrionetError):
        await call(node, address, "any")
    await wait_until(lambda: len(links(node)) == 1)


# ---- who doesn't read


async def test_a_caller_that_does_not_read_is_served_no_further_than_the_outbox_holds(
    start: Start, nursery: trio.Nursery
) -> None:
    """Calls that come faster than their answers are read."""
    stay = Hold()
    node = await start(make=bytes, stay=stay.handle)
    async with bystander(start, node, stay), connect(node, receive_buffer_bytes=64 * 1024) as peer:
        link = await link_of_hand(node)
        await peer.send(*(HandPeer.call(number, "make", 60_000) for number in range(300)))
        await wait_until(lambda: waiting_bytes(link) > MIB // 2)
        await wait_all_tasks_blocked(0.05)
        assert waiting_bytes(link) <= MIB + 64 * 1024
        # Then it reads, and has its answers, every one.
        numbers = set[int]()
        while len(numbers) < 300:
            numbers.add((await peer.receive_a(Reply)).in_reply_to)
        assert waiting_bytes(link) == 0


async def test_a_peer_may_have_as_many_calls_in_progress_at_each_depth(start: Start) -> None:
    hold = Hold()
    node = await start(CONFIG, hold=hold.handle)
    async with connect(node) as peer:
        count = 3 * (DEEPEST + 1)
        await peer.send(*(HandPeer.call(number, "hold", depth=number // 3) for number in range(count)))
        await hold.wait_started(count)
        hold.release.set()
        answered = {(await peer.receive_a(Reply)).in_reply_to for _ in range(count)}
        assert answered == set(range(count))
        await peer.send(*(HandPeer.call(number, "echo", depth=DEEPEST) for number in range(3)))
        assert {(await peer.receive_a(Reply)).in_reply_to for _ in range(3)} == {0, 1, 2}


async def test_long_calls_give_back_the_window_of_their_own_depth(start: Start) -> None:
    node = await start(CONFIG, size=len)
    async with connect(node) as peer:
        for depth in range(PACKETS + 1):
            direction = direction_of_calls(depth)
            await peer.send(_chunk(HandPeer.call(depth, "size", bytes(30_000), depth=depth), direction))
            assert (await peer.receive_a(Window)).direction == direction


async def test_a_packet_is_taken_while_there_is_no_room_and_nothing_that_only_says_it_is_one(start: Start) -> None:
    node = await start(make=bytes)
    async with connect(node, receive_buffer_bytes=64 * 1024) as peer:
        link = await link_of_hand(node)
        await peer.send(*(HandPeer.call(number, "make", 60_000) for number in range(300)))
        await wait_until(lambda: not outbox(link).has_room)
        await wait_all_tasks_blocked(0.05)
        incoming = link.core.incoming.running
        assert node.statistics().calls_served == 300
        in_progress = len(incoming)
        assert in_progress
        await peer.send(HandPeer.call(300, "packet", b"", depth=PACKETS, service="membership"))
        await wait_until(lambda: node.statistics().calls_served == 301)
        assert len(incoming) == in_progress
        await peer.send(HandPeer.call(301, "make", 60_000, depth=PACKETS))
        await wait_until(lambda: node.statistics().calls_served == 302)
        assert len(incoming) == in_progress + 1


async def test_no_further_call_begins_while_long_answers_of_four_windows_wait(start: Start) -> None:
    made, hold = set[int](), Hold()

    def make(size: int, number: int) -> bytes:
        made.add(number)
        return bytes(size)

    node = await start(CONFIG_OF_MANY, make=make, hold=hold.handle)
    async with connect(node, hello(window_bytes=250_000, max_message_bytes=250_000)) as peer:
        calls = (HandPeer.call(number, "make", 100_000, number) for number in range(2, 50))
        await peer.send(HandPeer.call(1, "hold"), *calls)
        for _ in range(2):  # as many as the window holds
            assert isinstance((await peer.receive_whole())[0], Reply)
        await wait_all_tasks_blocked(0.01)
        assert len(made) == 12  # two have been read, and ten are four windows
        waiting = max(set(range(2, 50)) - made)
        # Cancelling is confirmed at once: of a call that hasn't begun, and of one whose handler has finished.
        hold.release.set()
        await wait_until(lambda: hold.finished == 1)
        await peer.send(Cancel(waiting), Cancel(1))
        assert {(await peer.receive_a(Cancelled)).in_reply_to for _ in range(2)} == {waiting, 1}
        answered = 2
        await peer.send(Window(1, 2 * 100_008))
        while answered < 47:
            frame, chunked_bytes = await peer.receive_whole()
            assert isinstance(frame, Reply)
            answered += 1
            await peer.send(Window(1, chunked_bytes))
        await peer.send(HandPeer.call(50, "echo"))
        assert (await peer.receive_a(Reply)).in_reply_to == 50
        assert made == set(range(2, 50)) - {waiting}


async def test_a_peer_that_provokes_answers_and_reads_none_is_cut_off(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusals don't wait for room; pongs and others don't, either."""
    caplog.set_level(logging.INFO, "trionet")
    stay = Hold()
    node = await start(stay=stay.handle)
    lot = with_length(encode_frame(HandPeer.call(1, "x" * 130))) * 1000
    async with bystander(start, node, stay), connect(node, receive_buffer_bytes=64 * 1024) as peer:
        link, most = await link_of_hand(node), 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_for_ever, peer, lot)
            with trio.fail_after(DEADLINE_S):
                while link in links(node):
                    await trio.sleep(0.001)
                    most = max(most, waiting_bytes(link))
            nursery.cancel_scope.cancel()
        assert MIB < most < 9 * MIB
        assert "it does not read its input" in caplog.text


async def test_what_frames_that_wait_take_besides_their_bytes_counts(start: Start) -> None:
    """A pong has 7 bytes, and takes ten times as many."""
    node = await start()
    lot = with_length(encode_frame(Ping(7))) * 10_000
    async with connect(node, receive_buffer_bytes=4096) as peer:
        link, most = await link_of_hand(node), 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_for_ever, peer, lot)
            with trio.fail_after(DEADLINE_S):
                while link in links(node):
                    await trio.sleep(0.001)
                    most = max(most, len(outbox(link)._frames))  # noqa: SLF001  a look inside
            nursery.cancel_scope.cancel()
        assert 10_000 < most < 150_000


async def test_callers_of_a_peer_that_does_not_read_are_slowed_and_others_are_served(
    start: Start, nursery: trio.Nursery
) -> None:
    read, peers = trio.Event(), list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await read.wait()
        while True:
            frame, chunked_bytes = await peer.receive_whole()
            assert isinstance(frame, CallFrame)
            await peer.send(Window(0, chunked_bytes), Reply(frame.msg_id, len(frame.args[0])))

    node, other = await start(), await start()
    address = await listen(nursery, behave, receive_buffer_bytes=64 * 1024)
    answers = list[int]()

    async def ask(size: int) -> None:
        answers.append(await call(node, address, "any", bytes(size)))

    async with trio.open_nursery() as calls:
        for _ in range(300):
            calls.start_soon(ask, 60_000)
        for _ in range(10):
            calls.start_soon(ask, 8 * MIB)
        await wait_until(lambda: len(links(node)) == 1)
        (link,) = links(node)
        await wait_until(lambda: waiting_bytes(link) > MIB // 2)
        await wait_all_tasks_blocked(0.05)
        assert waiting_bytes(link) <= MIB + 64 * 1024
        assert len(link.core.outgoing.in_progress) < 100  # the others wait at the caller
        assert answers == []
        assert await call(node, other, "echo", 1) == (1,)
        assert await call(other, node, "echo", 1) == (1,)
        read.set()
    assert sorted(answers) == [60_000] * 300 + [8 * MIB] * 10
    assert link in links(node)


async def _send_for_ever(peer: HandPeer, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await peer.stream.send_all(data)


def waiting_bytes(link: TCPLink) -> int:
    """Return how many bytes of short frames wait to be written."""
    count: int = outbox(link)._queued_bytes  # noqa: SLF001  a look inside
    return count


async def link_of_hand(node: Node) -> TCPLink:
    """Return the link with the peer that gave no address."""
    await wait_until(lambda: any(link.core.peer.address is None for link in links(node)))
    return next(link for link in links(node) if link.core.peer.address is None)


async def _serves(start: Start, node: Node) -> bool:
    return bool(await call(await start(), node, "echo", 1) == (1,))

"""Two nodes and the one link between them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.transports.link.ends import (
    MIB,
    HandPeer,
    Hold,
    call,
    connect,
    count_writes,
    hello,
    links,
    listen,
    outbox,
)
from tests.waiting import DEADLINE_S, wait_until
from trionet import (
    ConnectionLost,
    Node,
    NodeConfig,
    NodeUnreachable,
)
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import (
    CHUNK_BYTES,
    PREFACE,
    Bye,
    CallFrame,
    Error,
    Hello,
    Reply,
    encode_frame,
    with_length,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Node]]

BEFORE_SILENCE_S = 20.0
"""A link that hears nothing for 30 s is closed anyway."""

SMALL = NodeConfig(max_message_bytes=128 * 1024)


# ---- one connection for all


async def test_calls_in_both_directions_share_one_connection(start: Start) -> None:
    one, other = await start(), await start()
    assert links(one) == links(other) == []  # none before it is needed
    async with trio.open_nursery() as nursery:
        await call(one, other, "echo")
        for _ in range(50):
            nursery.start_soon(call, one, other, "echo")
            nursery.start_soon(call, other, one, "echo")
    (mine,), (theirs,) = links(one), links(other)
    assert mine.core.is_initiator
    assert not theirs.core.is_initiator
    assert mine.core.peer.address == other.address
    assert theirs.core.peer.address == one.address


async def test_a_hundred_calls_are_in_progress_at_once(start: Start) -> None:
    hold = Hold()
    one, other = await start(), await start(hold=hold.handle)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(call, one, other, "hold")
        await hold.wait_started(100)
        assert hold.running == 100
        hold.release.set()
    assert len(links(one)) == 1


async def test_answers_come_in_the_order_in_which_handlers_end_not_in_that_of_the_calls(start: Start) -> None:
    gates = [trio.Event() for _ in range(10)]

    async def wait(number: int) -> int:
        await gates[number].wait()
        return number

    one, other, got = await start(), await start(wait=wait), list[int]()

    async def ask(number: int) -> None:
        got.append(await call(one, other, "wait", number))

    order = random.Random(7).sample(range(10), 10)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, number)
        for number in order:
            gates[number].set()
            await wait_until(lambda number=number: number in got)  # type: ignore[misc]
    assert got == order


async def test_the_round_trip_is_measured_by_the_hello_and_at_the_other_side_by_a_ping(
    start: Start, patient_clock: MockClock
) -> None:
    one, other = await start(), await start()
    await call(one, other, "echo")
    (ours,), (theirs,) = links(one), links(other)
    assert ours.core.round_trip.smoothed_s is not None
    assert theirs.core.round_trip.smoothed_s is None
    await trio.sleep(2)
    assert theirs.core.round_trip.smoothed_s is not None


async def test_who_is_called_says_hello_and_answers_what_came_with_the_callers_in_one_write(start: Start) -> None:
    node = await start()
    async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
        early = CallFrame(1, "local", "probe", "echo", ["early"], None, "id", None)
        await stream.send_all(PREFACE + b"".join(with_length(encode_frame(each)) for each in (hello(), early)))
        got = bytes(await stream.receive_some())
        frames = [frame for frame, _ in FrameDecoder().feed(got.removeprefix(PREFACE))]
        assert [type(frame) for frame in frames] == [Hello, Reply]


async def test_handlers_are_cancelled_and_calls_lost_on_both_sides_when_the_link_breaks(start: Start) -> None:
    here, there = Hold(), Hold()
    one, other = await start(hold=here.handle), await start(hold=there.handle)
    lost = []

    async def ask(by: Node, to: Node) -> None:
        with pytest.raises(ConnectionLost):
            await call(by, to, "hold")
        lost.append(by)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, one, other)
        await there.wait_started()
        nursery.start_soon(ask, other, one)
        await here.wait_started()
        links(one)[0].abort()
    assert set(map(id, lost)) == {id(one), id(other)}
    await wait_until(lambda: here.cancelled == there.cancelled == 1)
    await wait_until(lambda: links(one) == links(other) == [])
    assert await call(one, other, "echo", 1) == (1,)


async def test_a_link_whose_peer_has_gone_takes_no_calls_though_a_handler_takes_its_time_to_end(start: Start) -> None:
    hold = Hold(stubborn=True)
    one, other = await start(hold=hold.handle), await start()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ConnectionLost):
                await call(other, one, "hold")

        nursery.start_soon(ask)
        await hold.wait_started()
        (dying,) = links(one)
        links(other)[0].abort()
        with trio.fail_after(BEFORE_SILENCE_S):
            await wait_until(lambda: dying.core.is_retired)
        with trio.fail_after(DEADLINE_S):
            assert await call(one, other, "echo", 1) == (1,)  # by another link
        assert hold.running == 1
        assert dying in links(one)
        hold.release.set()
    await wait_until(lambda: dying not in links(one))


async def test_a_link_whose_peer_has_closed_its_side_is_closed_though_a_handler_takes_its_time(start: Start) -> None:
    hold = Hold(stubborn=True)
    node = await start(hold=hold.handle)
    async with connect(node) as peer:
        await peer.send(peer.call(1, "hold"))
        await hold.wait_started()
        (dying,) = links(node)
        await peer.stream.send_eof()
        with trio.fail_after(BEFORE_SILENCE_S):
            await wait_until(lambda: dying.core.is_retired)
        assert hold.running == 1
        hold.release.set()
    await wait_until(lambda: links(node) == [])


@pytest.mark.parametrize(("calls", "least", "most"), [(12, 1, 3), (100, 6, 9)])
async def test_calls_that_are_made_in_one_scheduler_pass_go_out_in_few_writes_and_so_do_their_answers(
    start: Start, calls: int, least: int, most: int
) -> None:
    one, other = await start(), await start()
    await call(one, other, "echo")
    (link,) = links(one)
    await wait_until(lambda: link.core.round_trip.smoothed_s is not None)  # no ping is on its way
    here, there = count_writes(link), count_writes(links(other)[0])
    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(call, one, other, "echo")
    # The first call is alone, and doesn't wait for others; after that, sixteen go out at once.
    assert least <= len(here) <= most
    assert least <= len(there) <= most


class _WriterTurns(trio.abc.Instrument):
    """Counts how often the tasks that write are woken."""

    def __init__(self) -> None:
        self.count = 0

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name.endswith("._write")


@pytest.mark.parametrize("method", ["echo", "wait"])
async def test_a_lone_call_and_its_answer_are_written_at_once_each_by_the_task_that_makes_it(
    start: Start, method: str
) -> None:
    one, other = await start(), await start(wait=trio.lowlevel.checkpoint)
    await call(one, other, "echo")
    here, there, turns = count_writes(links(one)[0]), count_writes(links(other)[0]), _WriterTurns()
    trio.lowlevel.add_instrument(turns)
    try:
        for _ in range(10):
            await call(one, other, method)
    finally:
        trio.lowlevel.remove_instrument(turns)
    assert (len(here), len(there), turns.count) == (10, 10, 0)


# ---- the end of a link


async def test_an_idle_link_is_closed_and_a_later_call_makes_another(start: Start, patient_clock: MockClock) -> None:
    idle_s = 10
    one, other = await start(NodeConfig(idle_timeout_s=idle_s)), await start()
    await call(one, other, "echo")
    (link,) = links(one)
    await trio.sleep(idle_s - 2)
    assert links(one) == [link]
    await call(one, other, "echo")  # idle from now on
    await trio.sleep(idle_s - 2)
    assert links(one) == [link]
    await trio.sleep(idle_s)
    assert links(one) == links(other) == []
    assert await call(other, one, "echo", 1) == (1,)
    (another,) = links(one)
    assert another is not link


async def test_a_link_with_a_call_in_progress_is_not_idle(start: Start, patient_clock: MockClock) -> None:
    hold = Hold()
    one, other = await start(NodeConfig(idle_timeout_s=2)), await start(hold=hold.handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, one, other, "hold")
        await hold.wait_started()
        (link,) = links(one)
        await trio.sleep(20)
        assert links(one) == [link]
        hold.release.set()
    assert hold.finished == 1


async def test_calls_in_progress_are_answered_on_a_link_that_is_being_closed(start: Start) -> None:
    here, there = Hold(), Hold()
    one, other = await start(hold=here.handle), await start(hold=there.handle)
    answers = []

    async def ask(by: Node, to: Node) -> None:
        answers.append(await call(by, to, "hold"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, one, other)
        await there.wait_started()
        nursery.start_soon(ask, other, one)
        await here.wait_started()
        (old,) = links(one)
        old.retire("for the test")
        assert old.core.is_retired
        # New calls get a new link, in both directions.
        assert await call(one, other, "echo", 1) == (1,)
        assert await call(other, one, "echo", 1) == (1,)
        assert len(links(one)) == len(links(other)) == 2
        here.release.set()
        there.release.set()
    assert answers == ["released"] * 2
    await wait_until(lambda: old not in links(one) and len(links(other)) == 1)


@pytest.mark.slow
async def test_no_call_is_lost_when_links_are_closed_as_idle_at_any_moment(start: Start) -> None:
    """A link that is being closed is replaced; what is under way on it is answered."""
    rng = random.Random(seed := random.randrange(2**32))
    one, other = await start(size=len), await start(size=len)
    closed = 0

    async def ask(by: Node, to: Node) -> None:
        for _ in range(60):
            size = rng.choice((0, 10, 100_000))
            assert await call(by, to, "size", bytes(size)) == size

    async def close_some() -> None:
        nonlocal closed
        while True:
            for _ in range(rng.randrange(20, 60)):
                await trio.lowlevel.checkpoint()
            for link in links(rng.choice((one, other))):
                closed += not link.core.is_retired
                link.retire("idle")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_some)
            async with trio.open_nursery() as askers:
                for _ in range(4):
                    askers.start_soon(ask, one, other)
                    askers.start_soon(ask, other, one)
            nursery.cancel_scope.cancel()
    except BaseException as exc:
        exc.add_note(f"the seed was {seed}")
        raise
    assert closed > 5, f"with seed {seed}"
    await wait_until(lambda: all(not link.core.is_retired for link in links(one) + links(other)))


async def test_a_call_lost_before_it_was_sent_is_definite_and_one_lost_after_is_not(
    start: Start, nursery: trio.Nursery
) -> None:
    reset = trio.Event()

    async def behave(peer: HandPeer) -> None:
        await peer.receive_a(CallFrame)
        await reset.wait()  # and reads no more
        peer.reset()

    node, raised = await start(), dict[str, type[Exception]]()
    address = await listen(nursery, behave, receive_buffer_bytes=64 * 1024)

    async def ask(name: str, size: int) -> None:
        try:
            await call(node, address, name, bytes(size))
        except (ConnectionLost, NodeUnreachable) as exc:
            raised[name] = type(exc)

    async with trio.open_nursery() as calls:
        calls.start_soon(ask, "small", 10)
        await wait_until(lambda: len(links(node)) == 1 and len(links(node)[0].core.outgoing.in_progress) == 1)
        calls.start_soon(ask, "large", 15 * MIB)
        await wait_until(lambda: outbox(links(node)[0]).sent_bytes > CHUNK_BYTES)
        await wait_all_tasks_blocked(0.05)  # until nothing more can be written
        calls.start_soon(ask, "small_behind", 10)
        calls.start_soon(ask, "large_in_turn", 15 * MIB)
        calls.start_soon(ask, "large_without_room", 15 * MIB)
        await wait_all_tasks_blocked(0.05)
        reset.set()
    assert raised == {
        "small": ConnectionLost,
        "large": ConnectionLost,
        "small_behind": NodeUnreachable,
        "large_in_turn": NodeUnreachable,
        "large_without_room": NodeUnreachable,
    }


async def test_a_stopping_node_answers_what_it_has_taken_on_and_says_bye(start: Start) -> None:
    hold = Hold()
    node = await start(NodeConfig(stop_grace_s=DEADLINE_S), hold=hold.handle)
    async with connect(node) as peer:
        await peer.send(HandPeer.call(1, "hold"))
        await hold.wait_started()
        node.stop()
        assert isinstance(await peer.receive(), Bye)
        await peer.send(HandPeer.call(2, "echo"))
        refusal = await peer.receive_a(Error)
        assert (refusal.in_reply_to, refusal.error["name"]) == (2, "TemporarilyUnavailable")
        hold.release.set()
        assert await peer.receive() == Reply(1, "released")
        await peer.send(Bye("so be it"))
        await peer.wait_closed()


async def test_every_node_with_a_link_hears_of_the_end_of_the_other(start: Start, nursery: trio.Nursery) -> None:
    one, other = await start(), await start()
    await call(one, other, "echo")
    other.stop()
    await wait_until(lambda: links(one) == [])
    with pytest.raises(NodeUnreachable):
        await call(one, other, "echo")

"""A caller that is cancelled takes its handlers along, and goes on when they have finished."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.link.ends import (
    MIB,
    HandPeer,
    Hold,
    call,
    cancel_when,
    connect,
    events_of,
    links,
    listen,
    outbox,
)
from tests.waiting import DEADLINE_S
from trionet import Node, NodeConfig, Remote, current_call
from trionet.protocols.link.frames import (
    CHUNK_BYTES,
    Abandon,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Error,
    Frame,
    Reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

    Start = Callable[..., Awaitable[Node]]


# ---- confirmed


async def test_the_handler_has_finished_when_the_callers_scope_exits(start: Start) -> None:
    hold = Hold()
    one, other = await start(), await start(hold=hold.handle)
    async with events_of(one) as events:
        for count in range(1, 21):
            await cancel_when(lambda count=count: hold.started == count, lambda: call(one, other, "hold"))  # type: ignore[misc]
            assert (hold.running, hold.cancelled) == (0, count)  # with no checkpoint in between
    assert events == []
    assert len(links(one)) == 1


async def test_a_deadline_at_the_caller_ends_the_handler_too(start: Start) -> None:
    hold = Hold()
    one, other = await start(), await start(hold=hold.handle)
    await call(one, other, "echo")
    for _ in range(5):
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.02):
            await call(one, other, "hold")
        assert hold.running == 0
    assert hold.cancelled == hold.started
    assert one.statistics().calls_orphaned == 0


async def test_cancellation_goes_on_to_the_calls_that_the_handler_has_made(start: Start) -> None:
    hold = Hold()
    last = await start(hold=hold.handle)

    async def pass_on() -> Any:
        return await call(middle, last, "hold")

    middle, first = await start(pass_on=pass_on), await start()
    await cancel_when(lambda: hold.running == 1, lambda: call(first, middle, "pass_on"))
    assert (hold.running, hold.cancelled) == (0, 1)
    assert first.statistics().calls_orphaned == middle.statistics().calls_orphaned == 0


async def test_every_handler_of_a_fan_out_has_finished_when_its_scope_exits(start: Start) -> None:
    hold = Hold()
    caller, members = await start(), [await start(hold=hold.handle) for _ in range(5)]
    await caller.local.groups.put("members", [member.address for member in members])
    remote = Remote(service="probe", method="hold")
    for count in range(5, 55, 5):
        await cancel_when(
            lambda count=count: hold.started == count,  # type: ignore[misc]
            lambda: caller.group("members").comm.send([], remote),
        )
        assert (hold.running, hold.cancelled) == (0, count)


async def test_a_fan_out_that_waits_for_the_first_has_ended_the_others_when_it_returns(start: Start) -> None:
    hold = Hold()
    caller, quick = await start(), await start(work=lambda: "quick")
    slow = [await start(work=hold.handle) for _ in range(3)]
    await caller.local.groups.put("members", [member.address for member in (quick, *slow)])
    replies = await caller.group("members").comm.send([], Remote(service="probe", method="work"), wait="first")
    assert replies.values == {quick.sid: "quick"}
    assert hold.running == 0


@pytest.mark.parametrize("answer", [Reply(1, "done"), Error(1, {"code": 13, "text": "no"}), Cancelled(1)], ids=repr)
async def test_any_answer_confirms_that_the_handler_has_finished(
    start: Start, nursery: trio.Nursery, answer: Frame
) -> None:
    came, was_asked_to_cancel = trio.Event(), list[Cancel]()

    async def behave(peer: HandPeer) -> None:
        assert (await peer.receive_a(CallFrame)).msg_id == 1
        came.set()
        was_asked_to_cancel.append(await peer.receive_a(Cancel))
        await peer.send(answer)
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave)
    await cancel_when(came.is_set, lambda: call(node, address, "any"))
    assert was_asked_to_cancel == [Cancel(1)]
    assert node.statistics().calls_orphaned == 0


async def test_a_handler_that_makes_nothing_of_being_cancelled_and_one_that_fails_at_it_are_confirmed(
    start: Start,
) -> None:
    begun = 0

    async def swallow() -> str:
        nonlocal begun
        begun += 1
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            finally:
                scope.cancel()
        return "done all the same"

    async def fail() -> None:
        nonlocal begun
        begun += 1
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise ValueError("while being cancelled") from None

    one, other = await start(), await start(swallow=swallow, fail=fail)
    await cancel_when(lambda: begun == 1, lambda: call(one, other, "swallow"))
    await cancel_when(lambda: begun == 2, lambda: call(one, other, "fail"))
    assert one.statistics().calls_orphaned == 0


# ---- not sent, or not to the end


async def test_a_call_of_a_scope_that_is_cancelled_or_expired_already_is_not_made(start: Start) -> None:
    one, other = await start(), await start()
    await call(one, other, "echo")
    (link,) = links(one)
    served, put_bytes = other.statistics().calls_served, outbox(link).put_bytes
    for scope in (trio.CancelScope(), trio.CancelScope(deadline=trio.current_time() - 1)):
        with scope:
            if scope.deadline > trio.current_time():
                scope.cancel()
            await call(one, other, "echo")
        assert scope.cancelled_caught
    await call(one, other, "echo")
    assert other.statistics().calls_served == served + 1
    assert outbox(link).put_bytes < put_bytes + 200  # one call's


async def test_a_call_that_is_cancelled_while_it_waits_for_its_turn_never_runs(start: Start) -> None:
    hold = Hold()
    one, other = await start(), await start(NodeConfig(max_calls_per_peer=1), hold=hold.handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, one, other, "hold")
        await hold.wait_started()
        for _ in range(3):
            with trio.move_on_after(0.01) as scope:
                await call(one, other, "hold")
            assert scope.cancelled_caught
        hold.release.set()
    assert await call(one, other, "echo", 1) == (1,)
    assert hold.started == 1
    assert one.statistics().calls_orphaned == 0


async def test_a_call_that_is_cancelled_while_its_long_request_is_sent_never_runs(start: Start) -> None:
    """Ten times 10 MiB: more than the windows hold, if what was abandoned were not given back."""
    sizes = list[int]()
    one, other = await start(), await start(size=lambda data: sizes.append(len(data)))
    await call(one, other, "echo")
    (link,) = links(one)
    for _ in range(10):
        begun = outbox(link).put_bytes
        await cancel_when(
            lambda begun=begun: outbox(link).put_bytes > begun + 2 * CHUNK_BYTES,  # type: ignore[misc]
            lambda: call(one, other, "size", bytes(10 * MIB)),
        )
        assert len(link.core.outgoing.in_progress) == 0
    assert sizes == []
    await call(one, other, "size", bytes(15 * MIB))
    assert sizes == [15 * MIB]
    assert one.statistics().calls_orphaned == 0
    assert links(one) == [link]


async def test_on_the_wire_the_rest_of_an_abandoned_request_does_not_come(start: Start, nursery: trio.Nursery) -> None:
    abandoned, peers = trio.Event(), list[HandPeer]()

    async def behave(peer: HandPeer) -> None:
        peers.append(peer)
        await peer.receive_a(Chunk)
        await abandoned.wait()
        await peer.receive_a(Abandon)
        await peer.send(Reply((await peer.receive_a(CallFrame)).msg_id, "next"))
        await peer.wait_closed()

    node, address = await start(), await listen(nursery, behave, receive_buffer_bytes=64 * 1024)
    await cancel_when(lambda: bool(peers and peers[0].seen), lambda: call(node, address, "a", "a" * 12 * MIB))
    abandoned.set()
    assert await call(node, address, "b") == "next"
    chunks = [frame for frame in peers[0].seen if isinstance(frame, Chunk)]
    assert not any(chunk.last for chunk in chunks)
    assert len(chunks) < 12 * MIB // CHUNK_BYTES
    kinds = [type(frame) for frame in peers[0].seen[len(chunks) :]]
    assert kinds == [Abandon, CallFrame]  # and no cancel: there is nothing to cancel


async def test_a_long_answer_that_is_on_its_way_when_the_caller_gives_up_is_abandoned(start: Start) -> None:
    one, other = await start(), await start(make=bytes)
    await call(one, other, "echo")
    (mine,), (theirs,) = links(one), links(other)
    for _ in range(10):
        begun = outbox(theirs).put_bytes
        await cancel_when(
            lambda begun=begun: outbox(theirs).put_bytes > begun + 2 * CHUNK_BYTES,  # type: ignore[misc]
            lambda: call(one, other, "make", 12 * MIB),
        )
        assert len(mine.core.outgoing.in_progress) == 0
        assert outbox(theirs).put_bytes < begun + 11 * MIB
    assert len(await call(one, other, "make", 15 * MIB)) == 15 * MIB
    assert one.statistics().calls_orphaned == 0
    assert links(one) == [mine]


@pytest.mark.slow
async def test_calls_that_are_cancelled_at_any_moment_leave_nothing_behind(start: Start) -> None:
    """Slots, windows and handlers: all of them can be used afterwards as before."""
    rng = random.Random(seed := random.randrange(2**32))
    running = dict[int, bool]()

    async def work(number: int, data: bytes, size: int, passes: int) -> bytes:
        running[number] = True
        try:
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            return bytes(size)
        finally:
            running[number] = False

    config = NodeConfig(max_calls_per_peer=4, max_message_bytes=MIB)
    one, other = await start(config), await start(config, work=work, echo=lambda data: data)
    sizes = (0, 100, CHUNK_BYTES - 200, 3 * CHUNK_BYTES, MIB - 1000)
    numbers = iter(range(1_000_000))

    async def ask() -> None:
        for _ in range(40):
            number = next(numbers)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel_in_a_while() -> None:
                        for _ in range(rng.choice((0, 1, 2, 5, 10, 20, 50))):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel_in_a_while)
                    args = bytes(rng.choice(sizes)), rng.choice(sizes), rng.choice((0, 1, 10, 1_000_000))
                    await call(one, other, "work", number, *args)
                    nursery.cancel_scope.cancel()
            assert not running.get(number), f"with seed {seed}"

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ask)
        assert len(running) > 30
        assert one.statistics().calls_orphaned == 0
        (link,) = links(one)
        assert link.core.is_idle
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(call, one, other, "echo", bytes(MIB - 1000))
    except BaseException as exc:
        exc.add_note(f"the seed was {seed}")
        raise


# ---- deadlines, as the handler's node sees them


async def test_a_handler_runs_under_the_time_that_came_with_the_call(start: Start, patient_clock: MockClock) -> None:
    """The peer doesn't cancel: the handler's node ends it by itself."""
    ended_late_s = list[float]()

    async def wait() -> None:
        deadline = current_call().deadline
        try:
            await trio.sleep_forever()
        finally:
            ended_late_s.append(trio.current_time() - deadline)

    node = await start(wait=wait)
    async with connect(node) as peer:
        await peer.send(HandPeer.call(1, "wait", timeout_s=2.0))
        error = await peer.receive_a(Error)
        assert error.in_reply_to == 1
        assert error.error["name"] == "CallTimeout"
    assert ended_late_s == [pytest.approx(0, abs=0.01)]


@pytest.mark.parametrize("timeout_s", [0, 0.0, -1.0, float("-inf")])
@pytest.mark.parametrize("method", ["sync", "hold", "stream"])
async def test_a_call_whose_time_is_over_when_it_comes_does_not_run(
    start: Start, timeout_s: float, method: str
) -> None:
    ran = list[str]()
    hold = Hold()

    async def stream() -> AsyncGenerator[int]:
        ran.append("stream")
        yield 1

    node = await start(hold=hold.handle, sync=lambda: ran.append("sync"), stream=stream)
    async with connect(node) as peer:
        frame = HandPeer.call(1, method, timeout_s=timeout_s, credit=1000 if method == "stream" else None)
        await peer.send(frame, HandPeer.call(2, "echo"))
        assert (await peer.receive_a(Error)).error["name"] == "CallTimeout"
        assert (await peer.receive_a(Reply)).in_reply_to == 2
    assert ran == []
    assert hold.started == 0


async def test_cancelling_what_is_not_there_or_twice_is_harmless(start: Start) -> None:
    hold = Hold()
    node = await start(hold=hold.handle)
    async with connect(node) as peer:
        await peer.send(Cancel(7), HandPeer.call(1, "hold"), Cancel(1), Cancel(1), Cancel(8))
        assert await peer.receive() == Cancelled(1)
        await peer.send(Cancel(1), HandPeer.call(1, "echo"))  # the number may be used again
        assert isinstance(await peer.receive(), Reply)
    assert hold.running == 0

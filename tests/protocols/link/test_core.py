"""A core at its edges: the link closes in the midst of things."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.protocols.link.cores import (
    IDLE_S,
    KIB,
    call_frame,
    encoded,
    frames_in,
    greeted,
    hello,
    open_core,
    start_call,
    start_stream,
)
from trionet.errors import ConnectionLost, NodeUnreachable, TemporarilyUnavailable
from trionet.nesting import DEEPEST, PACKETS
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.events import Closed, RoomFreed
from trionet.protocols.link.frames import (
    CALLS,
    CHUNK_BYTES,
    REPLIES,
    Abandon,
    Bye,
    CallFrame,
    Chunk,
    Credit,
    Item,
    Ping,
    Pong,
    Reply,
    encode_frame,
)
from trionet.protocols.link.holdings import Account
from trionet.protocols.link.liveness import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(core: LinkCore, data: bytes, now: float = 0.0) -> list[IncomingCall]:
    """Feed the peer's calls, and accept them."""
    calls = list[IncomingCall]()
    for event in core.receive(data, now):
        assert isinstance(event, IncomingCall)
        core.incoming.accept(event)
        calls.append(event)
    return calls


def reason(core: LinkCore) -> str | None:
    """Return why a link has closed."""
    return next((event.reason for event in core.events if isinstance(event, Closed)), None)


def at_rest() -> LinkCore:
    """Return a link whose round trip has been measured, and on which nothing happens."""
    core = open_core()
    core.advance(1.0)
    assert frames_in(core.data_to_send()) == [Ping(1)]
    assert not list(core.receive(encoded(Pong(1)), 1.5))
    core.advance(2.0)
    assert core.liveness.is_resting
    return core


@pytest.mark.parametrize(("sent_of_second", "error"), [(0, NodeUnreachable), (1, ConnectionLost)])
def test_one_byte_of_a_call_that_has_gone_out_makes_its_error_indefinite(
    sent_of_second: int, error: type[Exception]
) -> None:
    core = open_core()
    first, second = start_call(core), start_call(core)
    core.data_to_send()
    core.sent(second.start_offset + sent_of_second)
    core.close("any reason")
    assert isinstance(first.answer, ConnectionLost)
    assert isinstance(second.answer, error)


def test_a_long_call_that_waits_for_its_window_has_a_definite_error_and_one_that_has_begun_has_not() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    first, second = (start_call(core, bytes(100 * KIB)) for _ in range(2))
    while core.outbox.is_pending:
        core.sent(len(core.data_to_send()))
    core.close("any reason")
    assert isinstance(first.answer, ConnectionLost)
    assert isinstance(second.answer, NodeUnreachable)


def test_a_call_whose_own_frame_is_too_much_to_hold_is_answered_with_the_others() -> None:
    account, cores = Account(100 * KIB), list[LinkCore]()
    core = open_core(holding=account.open(lambda reason: cores[0].close(reason, is_fault=True)))
    cores.append(core)
    calls = [start_call(core, bytes(40 * KIB)) for _ in range(2)]
    assert not core.is_closed
    calls.append(start_call(core, bytes(40 * KIB)))
    (closed,) = core.events
    assert isinstance(closed, Closed)
    assert closed.outgoing == calls
    assert [type(call.answer) for call in calls] == [NodeUnreachable] * 3
    assert core.outgoing.in_progress == {}
    assert account.partial_bytes + account.whole_bytes == 0


def one_frame_from_its_limit(*, long_call: bool = False) -> tuple[LinkCore, list[OutgoingCall]]:
    """Return a link, and its calls, that closes at the next frame, for then it holds too much."""
    account, cores = Account(64 * 1024 * KIB), list[LinkCore]()
    holding = account.open(lambda reason: cores[0].close(reason, is_fault=True))
    core = open_core(greeted(peer=hello(max_calls=100)), holding)
    cores.append(core)
    calls = [start_call(core, bytes(200 * KIB))] if long_call else []
    core.sent(len(core.data_to_send()))
    while not account.whole_bytes:
        calls.append(start_call(core, bytes(KIB)))
    account.limit_bytes = account.whole_bytes
    return core, calls


def test_a_long_call_can_be_cancelled_when_its_last_frame_is_too_much_to_hold() -> None:
    core, (call, *others) = one_frame_from_its_limit(long_call=True)
    assert not core.cancel(call)
    (closed,) = core.events
    assert isinstance(closed, Closed)
    assert closed.outgoing == others


@pytest.mark.parametrize(
    "command", [lambda core: core.retire("any reason"), lambda core: core.advance(1.0)], ids=["bye", "ping"]
)
def test_a_link_that_closes_as_it_sends_a_frame_has_no_deadline_any_more(command: Callable[[LinkCore], None]) -> None:
    core, _ = one_frame_from_its_limit()
    command(core)
    assert core.is_closed
    core.advance(100.0)
    assert core.liveness.deadline == math.inf


def test_bytes_are_held_until_they_have_been_passed_to_the_operating_system() -> None:
    account = Account(64 * 1024 * KIB)
    core = open_core(greeted(peer=hello(max_calls=100)), account.open(lambda _: None))
    while core.outbox.has_room:
        start_call(core, bytes(30 * KIB))
    held_bytes = account.whole_bytes
    written = len(core.data_to_send())
    assert account.whole_bytes == held_bytes
    core.sent(written)
    assert account.whole_bytes <= held_bytes - written


def test_a_long_item_of_a_link_that_has_closed_is_over() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    (call,) = core.receive(encoded(call_frame(1, credit=1_000_000)), 0)
    assert isinstance(call, IncomingCall)
    core.incoming.accept(call)
    transfers = [core.incoming.send_item(call, encode_frame(Item(1, bytes(100 * KIB)))) for _ in range(2)]
    core.data_to_send()
    core.close("any reason")
    (closed,) = core.events
    assert isinstance(closed, Closed)
    assert closed.transfers == transfers  # one of them has begun
    assert all(transfer is not None and transfer.is_over for transfer in transfers)


# ---- time


def test_only_the_pong_with_the_token_of_the_last_ping_counts() -> None:
    core = open_core()
    core.advance(1.0)
    assert not list(core.receive(encoded(Pong(2)), 1.5))
    assert core.round_trip.smoothed_s is None
    assert not list(core.receive(encoded(Pong(1)), 2.0))
    assert core.round_trip.smoothed_s == 1.0


def test_a_link_at_rest_is_looked_at_when_it_may_have_become_idle_and_then_retires() -> None:
    core = at_rest()
    assert core.liveness.deadline == IDLE_S
    core.advance(IDLE_S)
    assert core.is_retired
    assert frames_in(core.data_to_send()) == [Bye("idle")]


def test_a_call_in_either_direction_and_a_retirement_wake_a_link_at_rest() -> None:
    calling, called, retired = at_rest(), at_rest(), at_rest()
    start_call(calling)
    assert calling.liveness.deadline == AT_ONCE
    serve(called, encoded(call_frame(1)), 40.0)
    assert called.liveness.deadline == 41.0
    retired.retire("any")
    assert retired.liveness.deadline == AT_ONCE


def test_a_link_is_idle_from_the_end_of_its_last_call_on() -> None:
    called, calling = at_rest(), at_rest()
    (call,) = serve(called, encoded(call_frame(1)), 40.0)
    called.incoming.answer(call, encode_frame(Reply(1, None)))
    start_call(calling)
    assert len(list(calling.receive(encoded(Reply(1, None)), 40.0))) == 1
    assert [core.is_idle for core in (called, calling)] == [True, True]
    assert [core.liveness.used_at for core in (called, calling)] == [40.0, 40.0]


def test_a_link_is_in_use_while_a_call_runs() -> None:
    core = at_rest()
    serve(core, encoded(call_frame(1)), 40.0)
    core.advance(41.0)
    assert core.liveness.used_at == 41.0


def test_a_long_call_on_its_way_keeps_a_link_in_use() -> None:
    core = at_rest()
    assert not list(core.receive(encoded(Chunk(1, CALLS, False, bytes(CHUNK_BYTES))), 50.0))
    assert core.liveness.used_at == 50.0


def test_a_bye_that_is_not_answered_closes_the_link_after_half_a_minute() -> None:
    core = at_rest()
    core.retire("any")
    core.data_to_send()
    for now in range(3, 40):
        core.advance(now)
    assert reason(core) == "it did not part within 30 s"


def test_a_peer_that_is_always_amid_a_frame_may_send_others_for_ever() -> None:
    core = at_rest()
    ping = encoded(Ping(7))
    serve(core, encoded(call_frame(1)) + ping[:-1], 2.0)
    for now in range(3, 300):
        pong = encoded(Pong(core.liveness.pings))
        assert not list(core.receive(ping[-1:] + pong + ping[:-1], now - 0.5))
        core.advance(now)
        core.data_to_send()
    assert reason(core) is None


# ---- when to write


def test_a_lone_call_is_due_at_once_and_others_are_not_until_there_are_sixteen() -> None:
    core = open_core(greeted(peer=hello(max_calls=100)))
    start_call(core)
    assert core.outbox.is_due
    core.data_to_send()
    for _ in range(15):
        start_call(core)
        assert not core.outbox.is_due
    start_call(core)
    assert core.outbox.is_due


def test_after_a_burst_of_answers_even_a_lone_call_waits_for_others() -> None:
    core = open_core()
    for _ in range(2):
        start_call(core)
    core.data_to_send()
    assert len(list(core.receive(encoded(Reply(1, None), Reply(2, None)), 0.0))) == 2
    start_call(core)
    assert not core.outbox.is_due


def test_answers_to_one_input_are_due_when_it_has_been_handled() -> None:
    core = open_core()
    for event in core.receive(encoded(call_frame(1), call_frame(2)), 0.0):
        assert isinstance(event, IncomingCall)
        core.incoming.answer(event, encode_frame(Reply(event.frame.msg_id, None)))
        assert not core.outbox.is_due
    assert core.outbox.is_due


def test_a_link_is_finished_when_the_last_answer_has_been_passed_on() -> None:
    core = open_core()
    (call,) = serve(core, encoded(call_frame(1), Bye("any")))
    core.data_to_send()
    core.incoming.answer(call, encode_frame(Reply(1, None)))
    assert not core.is_finished
    core.data_to_send()
    assert core.is_finished


# ---- back-pressure


def test_room_that_is_freed_is_an_event_and_a_peer_that_reads_nothing_is_cut_off() -> None:
    core = open_core(greeted(peer=hello(max_calls=1_000)))
    while core.outbox.has_room:
        start_call(core, bytes(60 * KIB))
    while not core.outbox.has_room:
        core.data_to_send()
    assert core.events == [RoomFreed()]
    core.close_if_stuck()
    assert not core.is_closed
    for _ in range(9 * 1024 // 60):
        start_call(core, bytes(60 * KIB))
    assert core.outbox.is_due
    core.close_if_stuck()
    assert reason(core) == "it does not read its input"


def test_while_four_windows_of_long_answers_wait_no_further_call_begins() -> None:
    core = open_core(greeted(own=hello(max_calls=100), peer=hello(window_bytes=100 * KIB)))
    calls = serve(core, encoded(*(call_frame(number) for number in range(10))))
    for call in calls:
        core.incoming.answer(call, encode_frame(Reply(call.frame.msg_id, bytes(90 * KIB))))
        if core.incoming.is_full:
            break
    assert sum(call.transfer is not None for call in calls) == 5
    for _ in range(2):
        core.data_to_send()
    assert not core.incoming.is_full
    assert RoomFreed() in core.events


def test_callers_find_room_while_four_windows_of_long_answers_wait() -> None:
    core = open_core(greeted(peer=hello(max_calls=100, window_bytes=100 * KIB), own=hello(max_calls=100)))
    for call in serve(core, encoded(*(call_frame(number) for number in range(6)))):
        core.incoming.answer(call, encode_frame(Reply(call.frame.msg_id, bytes(90 * KIB))))
    while core.outbox.has_room:
        start_call(core, bytes(60 * KIB))
    assert not core.events
    while core.outbox.is_pending:
        core.data_to_send()
    assert core.incoming.is_full
    assert core.events == [RoomFreed()]


# ---- places, windows and credits


@pytest.mark.parametrize("depth", [0, 3, DEEPEST])
def test_as_many_calls_as_promised_may_be_in_progress_at_a_depth_and_no_more(depth: int) -> None:
    core = open_core()  # two are
    for _ in range(3):
        for call in serve(core, encoded(call_frame(1, depth=depth), call_frame(2, depth=depth))):
            core.incoming.answer(call, encode_frame(Reply(call.frame.msg_id, None)))
    serve(core, encoded(call_frame(1, depth=depth), call_frame(2, depth=depth)))
    assert not core.is_closed
    serve(core, encoded(call_frame(3, depth=depth)))
    assert reason(core) == "it broke the protocol: more than 2 calls at once at one depth, or one number twice"


def test_calls_that_hold_no_slot_are_counted_by_the_receiver_alone() -> None:
    core = open_core()  # two are
    for number in (1, 2, 3):
        assert core.incoming.is_full_at(PACKETS) == (number > 2)
        serve(core, encoded(call_frame(number, depth=PACKETS)))
    assert not core.is_closed


@pytest.mark.parametrize(
    ("frame", "direction"), [(call_frame(1, depth=1), CALLS), (call_frame(1), REPLIES), (Reply(1, None), CALLS)]
)
def test_a_chunked_frame_in_the_window_of_another_direction_is_a_fault(
    frame: CallFrame | Reply, direction: int
) -> None:
    core = open_core()
    assert not list(core.receive(encoded(Chunk(1, direction, True, encode_frame(frame))), 0.0))
    assert reason(core) == f"it broke the protocol: a chunked {type(frame).__name__}"


_OVER = "more chunked bytes than it was allowed"


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([Chunk(1, CALLS, False, bytes(4095))], "a chunk of 4095 bytes that is not the last"),
        ([Chunk(1, CALLS, False, bytes(50_000))] * 3, _OVER),
        (
            [Chunk(number, CALLS, False, bytes(50_000)) for number in range(5)],
            "more chunked bytes than it was allowed",
        ),
    ],
    ids=["too short", "over a message", "over the window"],
)
def test_chunks_beyond_what_is_allowed_are_a_fault(chunks: list[Chunk], fault: str) -> None:
    core = open_core(greeted(own=hello(window_bytes=200 * KIB, max_message_bytes=100 * KIB)))
    *allowed, last = chunks
    assert not list(core.receive(encoded(*allowed), 0.0))
    assert not core.is_closed
    assert not list(core.receive(encoded(last), 0.0))
    assert reason(core) == f"it broke the protocol: {fault}"


def test_of_a_call_that_is_abandoned_only_the_rest_goes_back_to_the_window() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    first, second = start_call(core, bytes(140 * KIB)), start_call(core, bytes(100 * KIB))
    core.data_to_send()
    assert not core.cancel(first)
    assert frames_in(core.data_to_send()) == [Abandon(1)]  # 63 KiB are still held by the peer
    assert second.transfer is not None
    assert not second.transfer.number
    third = start_call(core, bytes(80 * KIB))
    assert not core.cancel(second)
    assert third.transfer is not None
    assert third.transfer.number == 2
    assert third.transfer.offset == 0


def test_the_deepest_long_calls_do_not_wait_for_their_window() -> None:
    core = open_core(greeted(peer=hello(window_bytes=150 * KIB)))
    start_call(core, bytes(100 * KIB), depth=DEEPEST)
    with pytest.raises(TemporarilyUnavailable, match="nested 8 deep or deeper"):
        start_call(core, bytes(100 * KIB), depth=DEEPEST)
    assert len(core.outgoing.in_progress) == 1


def test_nobody_is_told_that_a_packet_is_cancelled() -> None:
    core = open_core()
    packet = start_call(core, depth=PACKETS)
    core.data_to_send()
    assert not core.cancel(packet)
    assert not core.outbox.is_pending


def test_a_stream_that_is_read_gets_as_much_credit_as_was_read() -> None:
    core = open_core()
    stream = start_stream(core)
    core.data_to_send()
    granted = credit = stream.credit_bytes
    for _ in range(30):
        item = encode_frame(Item(1, bytes(50_000)))
        assert list(core.receive(encoded(Item(1, bytes(50_000))), 0.0)) == [stream]
        credit -= len(item)
        _, size = stream.items.popleft()
        core.outgoing.consumed(stream, size)
        credit += sum(each.size for each in frames_in(core.data_to_send()) if isinstance(each, Credit))
        assert stream.credit_bytes == credit
        assert granted // 2 - len(item) <= credit <= granted


def test_items_use_up_the_credit_of_a_stream() -> None:
    core = open_core()
    (call,) = serve(core, encoded(call_frame(1, credit=1_000)))
    item = encode_frame(Item(1, bytes(100)))
    assert core.incoming.send_item(call, item) is None
    assert call.credit_bytes == 1_000 - len(item)
    assert len(list(core.receive(encoded(Credit(1, 500)), 0.0))) == 1
    assert call.credit_bytes == 1_500 - len(item)

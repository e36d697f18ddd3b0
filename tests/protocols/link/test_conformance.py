"""What a core does with each kind of frame in each state: one table, without sockets or tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, get_args

import pytest

from tests.protocols.link.cores import KIB, call_frame, encoded, frames_in, hello, open_core, start_call, start_stream
from trionet.protocols.link.calls import IncomingCall, OutgoingCall
from trionet.protocols.link.events import Closed, Event
from trionet.protocols.link.frames import (
    CALLS,
    CHUNK_BYTES,
    PREFACE,
    REPLIES,
    Abandon,
    Blob,
    Bye,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    End,
    Error,
    Frame,
    Item,
    Ping,
    Pong,
    Reply,
    Window,
    encode_frame,
)
from trionet.protocols.link.handshake import Handshake, HandshakeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.link.core import LinkCore

LONG: Final = bytes(150 * KIB)  # three chunks; two of these are more than a window
LONG_CALL: Final = encode_frame(call_frame(1, LONG))
LONG_REPLY: Final = encode_frame(Reply(1, LONG))
TWO_CHUNKS: Final = bytes(100 * KIB)
_CALL_PARTS = [encode_frame(call_frame(1, TWO_CHUNKS))[place:][:CHUNK_BYTES] for place in (0, CHUNK_BYTES)]
_REPLY_PARTS = [encode_frame(Reply(1, TWO_CHUNKS))[place:][:CHUNK_BYTES] for place in (0, CHUNK_BYTES)]

# ---- frames: those that belong to a call or a transfer are about number 1

FRAMES: Final[dict[str, Frame]] = {
    "hello": hello(),
    "call": call_frame(7),
    "call-again": call_frame(1),
    "reply": Reply(1, "value"),
    "error": Error(1, {"code": 13}),
    "cancel": Cancel(1),
    "cancelled": Cancelled(1),
    "item": Item(1, "item"),
    "end": End(1),
    "credit": Credit(1, 1000),
    "chunk-begins": Chunk(5, CALLS, False, _CALL_PARTS[0]),
    "chunk-of-call": Chunk(1, CALLS, True, _CALL_PARTS[1]),
    "chunk-of-reply": Chunk(1, REPLIES, True, _REPLY_PARTS[1]),
    "chunk-alone": Chunk(6, REPLIES, True, encode_frame(Reply(1, "value"))),
    "chunk-of-ping": Chunk(6, REPLIES, True, encode_frame(Ping(1))),
    "blob": Blob(5, CALLS, False, bytes(5000)),
    "blob-of-call": Blob(1, CALLS, True, bytes(5000)),
    "blob-too-short": Blob(5, CALLS, True, bytes(100)),
    "abandon": Abandon(1),
    "window": Window(CALLS, len(LONG_CALL)),
    "ping": Ping(7),
    "pong": Pong(1),
    "bye": Bye("any"),
}

# ---- states


def idle() -> LinkCore:
    return open_core()


def calling() -> LinkCore:
    core = idle()
    start_call(core)
    return core


def streaming() -> LinkCore:
    core = idle()
    start_stream(core)
    return core


def answering(*, credit: int | None = None) -> LinkCore:
    core = idle()
    for call in core.receive(encoded(call_frame(1, credit=credit)), 0):
        assert isinstance(call, IncomingCall)
        core.incoming.accept(call)
    return core


def giving_items() -> LinkCore:
    return answering(credit=100_000)


def sending_call() -> LinkCore:
    core = idle()
    start_call(core, LONG)
    return core


def call_waits() -> LinkCore:
    core = sending_call()
    start_call(core, LONG)
    while core.outbox.is_pending:
        core.data_to_send()
    return core


def sending_answer() -> LinkCore:
    core = answering()
    core.incoming.answer(core.incoming.running[1], LONG_REPLY)
    return core


def sending_item() -> LinkCore:
    core = giving_items()
    core.incoming.send_item(core.incoming.running[1], encode_frame(Item(1, LONG)))
    return core


def receiving_call() -> LinkCore:
    core = idle()
    assert not list(core.receive(encoded(Chunk(1, CALLS, False, _CALL_PARTS[0])), 0))
    return core


def receiving_answer() -> LinkCore:
    core = calling()
    assert not list(core.receive(encoded(Chunk(1, REPLIES, False, _REPLY_PARTS[0])), 0))
    return core


def pinged() -> LinkCore:
    core = idle()
    core.advance(1.0)
    assert core.liveness.pinged_at == 1.0
    return core


def bye_sent() -> LinkCore:
    core = idle()
    core.retire("idle")
    return core


def bye_received() -> LinkCore:
    core = idle()
    assert not list(core.receive(encoded(Bye("any")), 0))
    return core


def both_byes() -> LinkCore:
    core = bye_sent()
    core.data_to_send()
    assert not list(core.receive(encoded(Bye("any")), 0))
    return core


def bye_delayed() -> LinkCore:
    core = sending_call()
    core.retire("idle")
    return core


def bye_received_own_delayed() -> LinkCore:
    core = sending_call()
    assert not list(core.receive(encoded(Bye("any")), 0))
    return core


def last_call() -> LinkCore:
    """Both have said bye, and a call of this side has not been answered."""
    core = calling()
    core.data_to_send()
    assert not list(core.receive(encoded(Bye("any")), 0))
    return core


def closed() -> LinkCore:
    core = calling()
    core.close("any reason")
    return core


OPEN: Final[dict[str, Callable[[], LinkCore]]] = {
    state.__name__: state
    for state in (
        idle,
        calling,
        streaming,
        answering,
        giving_items,
        sending_call,
        call_waits,
        sending_answer,
        sending_item,
        receiving_call,
        receiving_answer,
        pinged,
        bye_sent,
        bye_received,
        both_byes,
        bye_delayed,
        bye_received_own_delayed,
        last_call,
        closed,
    )
}

# Before it is open: whether this side is the initiator, and what has come.
HANDSHAKES: Final[dict[str, tuple[bool, bytes]]] = {
    "initiator_expects_preface": (True, b""),
    "acceptor_expects_preface": (False, b""),
    "initiator_expects_hello": (True, PREFACE),
    "acceptor_expects_hello": (False, PREFACE),
}

# ---- outcomes


class Outcome(NamedTuple):
    """What follows from a frame.

    Attributes:
        events: their names; of an `OutgoingCall`, the name of its answer. In lower case what else can be seen.
        sent: names of the frames that are sent; not those of a transfer that goes on as before.
        fault: why the connection is closed, by a fault of the peer.
    """

    events: str = ""
    sent: str = ""
    fault: str = ""


def broken(reason: str) -> Outcome:
    return Outcome(fault=f"it broke the protocol: {reason}")


NOTHING: Final = Outcome()

# What states have in common: this side's call 1 is in progress; or the peer's is; or neither.
CALLED: Final = "calling sending_call call_waits receiving_answer bye_delayed bye_received_own_delayed last_call "
ANSWERS: Final = "answering giving_items sending_answer sending_item "
NEITHER: Final = "idle receiving_call pinged bye_sent bye_received both_byes "
ALL_OPEN: Final = CALLED + "streaming " + ANSWERS + NEITHER


def answered(kind: str) -> dict[Outcome, str]:
    return {Outcome(kind): CALLED + "streaming", NOTHING: ANSWERS + NEITHER + "closed"}


TABLE: Final[dict[str, dict[Outcome, str]]] = {
    "hello": {
        broken("a second hello"): ALL_OPEN,
        NOTHING: "closed",
    },
    "call": {
        Outcome("IncomingCall"): ALL_OPEN,
        NOTHING: "closed",
    },
    "call-again": {
        Outcome("IncomingCall"): CALLED + "streaming " + NEITHER,
        broken("more than 2 calls at once at one depth, or one number twice"): ANSWERS,
        NOTHING: "closed",
    },
    "reply": answered("Reply"),
    "error": answered("Error"),
    "cancelled": answered("Cancelled"),
    "end": answered("End"),
    "item": {
        Outcome("Item"): "streaming",
        broken("an item of 8 bytes in reply to 1, which is no stream"): CALLED,
        NOTHING: ANSWERS + NEITHER + "closed",
    },
    "cancel": {
        Outcome("CancelReceived"): "answering giving_items sending_item",
        Outcome("", "Abandon Cancelled"): "sending_answer",
        NOTHING: CALLED + "streaming " + NEITHER + "closed",
    },
    "credit": {
        Outcome("CreditReceived"): "answering giving_items sending_item",
        NOTHING: CALLED + "streaming sending_answer " + NEITHER + "closed",
    },
    "chunk-begins": {
        Outcome("gathered"): ALL_OPEN,
        NOTHING: "closed",
    },
    "chunk-of-call": {
        Outcome("IncomingCall"): "receiving_call",
        broken("not a frame"): ALL_OPEN.replace("receiving_call ", ""),
        NOTHING: "closed",
    },
    "chunk-of-reply": {
        Outcome("Reply", "Window"): "receiving_answer",
        broken("not a frame"): ALL_OPEN.replace("receiving_answer ", ""),
        NOTHING: "closed",
    },
    "chunk-alone": {
        Outcome("Reply", "Window"): CALLED + "streaming",
        Outcome("", "Window"): ANSWERS + NEITHER,
        NOTHING: "closed",
    },
    "chunk-of-ping": {
        broken("a chunked Ping"): ALL_OPEN,
        NOTHING: "closed",
    },
    "blob": {
        Outcome("gathered"): ALL_OPEN,
        NOTHING: "closed",
    },
    "blob-of-call": {
        Outcome("gathered"): ALL_OPEN,
        NOTHING: "closed",
    },
    "blob-too-short": {
        broken("a blob of 100 bytes"): ALL_OPEN,
        NOTHING: "closed",
    },
    "abandon": {
        Outcome("released", "Window"): "receiving_call receiving_answer",
        NOTHING: ALL_OPEN.replace("receiving_call ", "").replace("receiving_answer ", "") + "closed",
    },
    "window": {
        Outcome("", "Chunk"): "call_waits",
        NOTHING: ALL_OPEN.replace("call_waits ", "") + "closed",
    },
    "ping": {
        Outcome("", "Pong"): ALL_OPEN,
        NOTHING: "closed",
    },
    "pong": {
        Outcome("measured"): "pinged",
        NOTHING: ALL_OPEN.replace("pinged ", "") + "closed",
    },
    "bye": {
        Outcome("Retired", "Bye"): "idle calling streaming receiving_call receiving_answer pinged " + ANSWERS,
        Outcome("Retired"): "sending_call call_waits",  # this side's bye follows the call
        Outcome("finished"): "bye_sent",
        NOTHING: "bye_received both_byes bye_delayed bye_received_own_delayed last_call closed",
    },
}
_NO_LINK: Final = "it does not begin as a link does"
_NO_HELLO: Final = "its first frame is a {}, not a hello"


def expected(state: str, name: str) -> Outcome:
    """Return what the table says; for handshakes, where frames differ in little, what these rules say."""
    if state in OPEN:
        (outcome,) = (outcome for outcome, states in TABLE[name].items() if state in states.split())
        return outcome
    is_initiator, received = HANDSHAKES[state]
    bye = "" if is_initiator else "Bye"
    kind = type(FRAMES[name]).__name__
    if not received:
        return Outcome("", bye, _NO_LINK)
    if name == "hello":
        return Outcome("Greeted")
    return Outcome("", bye, "it refused: any" if name == "bye" else _NO_HELLO.format(kind))


# ---- what happens


def _name(event: Event) -> str:
    if isinstance(event, OutgoingCall):
        return "Item" if event.answer is None else type(event.answer).__name__
    return type(event).__name__


def in_handshake(state: str, data: bytes) -> Outcome:
    """Return what follows when `data` comes in the handshake."""
    is_initiator, received = HANDSHAKES[state]
    handshake = Handshake(hello(), is_initiator=is_initiator)
    handshake.data_to_send()
    if received:
        assert handshake.receive(received) is None
    events = fault = ""
    try:
        if handshake.receive(data) is not None:
            events = "Greeted"
    except HandshakeError as exc:
        fault = str(exc)
    due = handshake.data_to_send()
    sent = [type(each).__name__ for each in frames_in(due.removeprefix(PREFACE))]
    return Outcome(events, " ".join(sent), fault)


def in_link(core: LinkCore, data: bytes) -> Outcome:
    """Return what follows when `data` comes in the open link; calls are accepted, and not answered."""
    before = core.data_to_send()
    is_transfer_amid = bool(before) and isinstance(frames_in(before)[-1], Chunk) and core.outbox.is_pending
    core.events.clear()
    was_finished = core.is_finished
    holding = core._holding  # noqa: SLF001  it is the test's own
    partial_bytes, events, fault = holding.partial_bytes, list[str](), ""
    for event in core.receive(data, 2.0):
        if isinstance(event, IncomingCall):
            core.incoming.accept(event)
        events.append(_name(event))
    for event in core.events:
        if isinstance(event, Closed):
            assert event.is_fault
            reason, mark, _ = event.reason.partition(": not a frame")
            fault = reason + mark
        else:
            events.append(_name(event))
    sent = [type(each).__name__ for each in frames_in(core.data_to_send())]
    if is_transfer_amid and not core.is_closed and "Abandon" not in sent:
        assert sent.pop() == "Chunk"
    if not events and not core.is_closed:
        facts = {
            "gathered": holding.partial_bytes > partial_bytes,
            "released": holding.partial_bytes < partial_bytes,
            "measured": core.round_trip.smoothed_s is not None,
            "finished": core.is_finished and not was_finished,
        }
        events += [name for name, is_so in facts.items() if is_so]
    return Outcome(" ".join(events), " ".join(sent), fault)


def test_the_table_has_one_outcome_for_each_kind_of_frame_in_each_state() -> None:
    assert {type(frame) for frame in FRAMES.values()} == set(get_args(Frame))
    assert TABLE.keys() == FRAMES.keys()
    for name, row in TABLE.items():
        assert sorted(" ".join(row.values()).split()) == sorted(OPEN), name


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("name", FRAMES)
def test_an_open_link_handles_every_frame_in_every_state(name: str, state: str) -> None:
    assert in_link(OPEN[state](), encoded(FRAMES[name])) == expected(state, name)


@pytest.mark.parametrize("state", HANDSHAKES)
@pytest.mark.parametrize("name", FRAMES)
def test_a_handshake_handles_every_frame_in_every_state(name: str, state: str) -> None:
    assert in_handshake(state, encoded(FRAMES[name])) == expected(state, name)


@pytest.mark.parametrize("state", OPEN)
def test_the_end_of_the_input_closes_the_link_in_every_state_and_is_a_fault_within_a_frame(state: str) -> None:
    for data, reason in (
        (b"", "the other side closed it"),
        (encoded(Ping(1))[:-1], "it broke the protocol: it ended in the middle of a frame"),
    ):
        core = OPEN[state]()
        is_closed, outgoing, running = core.is_closed, list(core.outgoing.in_progress.values()), core.incoming.running
        incoming = list(running.values())
        core.events.clear()
        assert list(core.receive(data, 2.0)) == []
        core.receive_end()
        core.receive_end()
        found = [event for event in core.events if isinstance(event, Closed)]
        if is_closed:
            assert found == []
            continue
        (event,) = found
        assert (event.reason, event.is_fault, event.outgoing, event.incoming) == (
            reason,
            bool(data),
            outgoing,
            incoming,
        )
        assert all(call.answer is not None for call in outgoing)
        assert not any(call.is_running for call in incoming)
        assert core.is_retired


@pytest.mark.parametrize("state", HANDSHAKES)
def test_the_end_of_the_input_ends_a_handshake_in_every_state(state: str) -> None:
    assert in_handshake(state, b"") == Outcome(fault="the connection was closed during the handshake")


@pytest.mark.parametrize("state", OPEN)
def test_garbage_closes_the_link_in_every_state(state: str) -> None:
    expected_outcome = NOTHING if state == "closed" else broken("not a frame")
    assert in_link(OPEN[state](), bytes(8)) == expected_outcome


def test_a_closed_link_sends_nothing_and_has_no_deadline() -> None:
    for state in OPEN.values():
        core = state()
        core.close("any reason")
        assert core.data_to_send() == b""
        assert core.frame_to_send() is None
        assert core.liveness.deadline == float("inf")
        core.advance(1e9)
        assert not core.outbox.is_pending

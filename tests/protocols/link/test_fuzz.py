"""Cores and handshakes under random, mutated and cut streams of frames, with commands between them."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from tests.protocols.link.cores import KIB, call_frame, encoded, hello
from trionet.blobs import BLOB_CODE
from trionet.errors import TrionetError
from trionet.nesting import DEEPEST, PACKETS
from trionet.protocols.link.calls import STREAM_CREDIT_BYTES, IncomingCall, OutgoingCall, OutgoingStream
from trionet.protocols.link.chunks import Transfer
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.events import CancelReceived, Closed, CreditReceived, Event, PeerSilent, Retired, RoomFreed
from trionet.protocols.link.frames import (
    MAX_FRAME_BYTES,
    PREFACE,
    REPLIES,
    Abandon,
    Blob,
    Bye,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    End,
    Error,
    Frame,
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    Window,
    encode_frame,
    with_length,
)
from trionet.protocols.link.handshake import Greeted, Handshake, HandshakeError, PeerSpeaksHTTP
from trionet.protocols.link.holdings import Account
from trionet.protocols.link.outgoing import LinkRetired

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CALLS: Final = 3
OWN: Final = hello(max_calls=MAX_CALLS, window_bytes=16 * KIB, max_message_bytes=12 * KIB)
LARGE: Final = hello(max_calls=MAX_CALLS, window_bytes=100 * KIB, max_message_bytes=80 * KIB)
PEER: Final = hello(max_calls=MAX_CALLS, window_bytes=150 * KIB, max_message_bytes=100 * KIB)

# ---- streams of bytes

_LONG_CALL = encode_frame(call_frame(3, bytes(5000)))
_LONG_REPLY = encode_frame(Reply(1, bytes(5000)))
_LONG_ITEM = encode_frame(Item(2, bytes(5000)))
_BLOB_CALL = encode_frame(call_frame(6, msgspec.msgpack.Ext(BLOB_CODE, b"")))
_FRAMES: list[Frame] = [
    OWN,
    Hello(None, 1024, 2**25, 2**24, ["a feature"]),
    CallFrame(1, "local", "probe", "pid", [1, "two", {"three": [None, 4.5, b"bytes"]}], {"key": -1}, "id", 1.5),
    CallFrame(2, "all", "counter", "count", [], None, "id", None, 65_536),
    CallFrame(5, "local", "probe", "pid", [], None, "id", None, None, 1, "", "an id", bytes(30)),
    call_frame(3, depth=1),
    call_frame(4, depth=PACKETS),
    Reply(1, {"nid": "ab" * 32, "more": list(range(20))}),
    Reply(2, None),
    Error(1, {"code": 13, "name": "RemoteError", "text": "ValueError: no"}),
    Error(3, {}),
    Cancel(1),
    Cancel(2),
    Cancelled(1),
    Item(1, ["an item", 2**63]),
    Item(2, None),
    End(2),
    Credit(1, 131_072),
    Credit(2, -(2**63)),
    Chunk(3, 0, False, _LONG_CALL[:4096]),
    Chunk(3, 0, True, _LONG_CALL[4096:]),
    Chunk(4, REPLIES, False, _LONG_REPLY[:4096]),
    Chunk(4, REPLIES, True, _LONG_REPLY[4096:]),
    Chunk(5, REPLIES, True, _LONG_ITEM),
    Chunk(6, REPLIES, True, encode_frame(Ping(1))),
    Chunk(7, 1, True, b"end"),
    Blob(8, 0, False, bytes(5000)),
    Blob(8, 0, True, bytes(4096)),
    Chunk(8, 0, True, _BLOB_CALL),
    Blob(9, REPLIES, True, bytes(5000)),
    Chunk(9, REPLIES, True, _BLOB_CALL),
    Blob(9, REPLIES, False, bytes(70_000)),
    Abandon(3),
    Abandon(4),
    Abandon(8),
    Window(0, 131_072),
    Window(1, 2**63),
    Window(1, -1000),
    Ping(1),
    Pong(1),
    Bye("idle"),
]
_VALID = [encoded(frame) for frame in _FRAMES]
_SHORT = [data for data in _VALID if len(data) < KIB]
_INTERESTING = [0x00, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC4, 0xC7, 0xCA, 0xCF, 0xD3, 0xD9, 0xDC, 0xDD, 0xDF, 0xFF]
_LENGTH_BYTES = 4


def _kept(rng: random.Random) -> bytes:
    """Return a stream of frames with nothing wrong but their order."""
    return b"".join(rng.choices(_VALID, k=rng.randint(1, 6)))


def _mutated(rng: random.Random) -> bytes:
    """Return a stream of valid frames with some things wrong: bytes, lengths, what is there twice, and what is not."""
    stream = bytearray(b"".join(rng.choices(_SHORT, k=rng.randint(1, 4))))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(stream) + 1)
        match rng.randrange(7):
            case 0 if place < len(stream):
                stream[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(stream):
                stream[place] = rng.choice(_INTERESTING)
            case 2:
                del stream[place : place + rng.randint(1, 8)]
            case 3:
                stream[place:place] = rng.randbytes(rng.randint(1, 8))
            case 4:
                begin = rng.randrange(len(stream) + 1)
                stream[place:place] = stream[begin : begin + rng.randint(1, 64)]
            case 5:
                size = rng.choice((0, 1, 5, MAX_FRAME_BYTES, 2**32 - 1))
                stream[place : place + _LENGTH_BYTES] = size.to_bytes(_LENGTH_BYTES, "big")
            case _:
                del stream[place:]
    return bytes(stream)


def _framed(rng: random.Random) -> bytes:
    """Return random bytes in frames of the right length."""
    return b"".join(with_length(rng.randbytes(rng.randint(0, 40))) for _ in range(rng.randint(1, 3)))


def _tagged(rng: random.Random) -> bytes:
    """Return frames that begin well: an array of the right kind, with random elements."""
    heads = [bytes([0x90 + rng.randrange(12), rng.randrange(18)]) for _ in range(2)]
    return b"".join(with_length(head + rng.randbytes(rng.randrange(30))) for head in heads)


def _random(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(0, 200))


_KINDS = (_kept, _kept, _kept, _mutated, _mutated, _mutated, _framed, _tagged, _random)

# ---- one case


class Fuzzed:
    """A core, a driver that does what a random number says, and what is promised about them.

    Attributes:
        events: how many there were.
    """

    def __init__(self, rng: random.Random, greeted: Greeted) -> None:
        self.events = 0
        self._rng = rng
        self._account = Account(rng.choice((20 * KIB, 2**20, 2**20)))
        self._holding = self._account.open(self._pay)
        self._now = 100.0
        self.core = LinkCore(greeted, self._holding, name="a", now=self._now, idle_timeout_s=75, max_containers=50)
        self._made: list[OutgoingCall] = []
        self._dropped = set[int]()
        self._answered = Counter[int]()
        self._items: list[Transfer] = []
        self._unsent = 0
        self._is_closed = False
        self._may_be_long = self.core.incoming.max_answer_bytes > 71_000

    def _pay(self, reason: str) -> None:
        self.core.close(reason, is_fault=True)

    # ---- commands

    def call(self) -> None:
        """Make a call or start a stream, as far as the peer allows."""
        core, rng = self.core, self._rng
        depth = rng.choice((0, 0, 0, 1, DEEPEST, PACKETS))
        if not (core.outgoing.free_places[depth] and core.outbox.has_room and core.wake(self._now)):
            return
        call: OutgoingCall = OutgoingStream(depth) if rng.random() < 0.4 else OutgoingCall(depth)
        args = (bytes(rng.choice((65_000, 90_000, 110_000))),) if rng.random() < 0.2 else ()
        credit = STREAM_CREDIT_BYTES if isinstance(call, OutgoingStream) else None
        try:
            core.outgoing.call(call, call_frame(core.outgoing.next_number, *args, credit=credit, depth=depth))
        except (LinkRetired, TrionetError):
            return
        self._made.append(call)

    def cancel(self) -> None:
        """Cancel a call that is in progress, or has ended."""
        if not self._made:
            return
        call = self._rng.choice(self._made)
        was_in_progress = call.number in self.core.outgoing.in_progress
        self.core.cancel(call)
        if was_in_progress and call.number not in self.core.outgoing.in_progress:
            self._dropped.add(call.number)

    def read(self) -> None:
        """Read what has come of a stream."""
        for call in self._made:
            if isinstance(call, OutgoingStream) and call.items:
                _, size = call.items.popleft()
                self.core.outgoing.consumed(call, size)

    def answer(self) -> None:
        """Answer one of the peer's calls that are running."""
        for call in self.core.incoming.running.values():
            if call.transfer is None:
                self._answer(call)
                return

    def _answer(self, call: IncomingCall) -> None:
        number, rng = call.frame.msg_id, self._rng
        frame: Frame = rng.choice((Reply(number, 1), Cancelled(number), End(number), Error(number, {"code": 13})))
        if rng.random() < 0.1 and self._may_be_long:
            frame = Reply(number, bytes(70_000))
        self.core.incoming.answer(call, encode_frame(frame))

    def send_item(self) -> None:
        """Send an item of a running call."""
        for call in self.core.incoming.running.values():
            if call.transfer is None and call.credit_bytes > 0:
                size = 70_000 if self._rng.random() < 0.1 and self._may_be_long else 10
                transfer = self.core.incoming.send_item(call, encode_frame(Item(call.frame.msg_id, bytes(size))))
                if transfer is not None:
                    self._items.append(transfer)
                return

    def abandon_item(self) -> None:
        """Send no more of a long item."""
        if self._items:
            transfer = self._items.pop()
            if not transfer.is_over:
                self.core.outbox.abandon(transfer)

    def write(self) -> None:
        """Write, as far as the operating system accepts it."""
        core = self.core
        if not self._unsent:
            if self._rng.random() < 0.2:
                _, data = core.frame_to_send() or ("", b"")
            else:
                data = core.data_to_send()
            self._unsent = len(data)
        count = self._rng.randint(0, self._unsent)
        self._unsent -= count
        core.sent(count)

    def drain(self) -> None:
        """Write all there is."""
        self.core.sent(self._unsent)
        self._unsent = 0
        while data := self.core.data_to_send():
            self.core.sent(len(data))

    def advance(self) -> None:
        self._now += self._rng.choice((0.0, 0.5, 1.0, 1.0, 31.0, 80.0))
        self.core.advance(self._now)

    def wait(self) -> None:
        """Let a time pass in which nothing happens."""
        for _ in range(self._rng.choice((1, 3, 100))):
            self._now = max(self._now, min(self.core.liveness.deadline, self._now + 200))
            self.core.advance(self._now)

    def retire(self) -> None:
        self.core.retire("fuzzed")

    def close_if_stuck(self) -> None:
        self.core.close_if_stuck()

    def close(self) -> None:
        self.core.close("fuzzed")

    _COMMANDS = (
        *(call, call, call, write, write, write, answer, answer, advance, read, drain),
        *(wait, cancel, send_item, abandon_item, retire, close_if_stuck),
    )

    def command(self) -> None:
        """Do anything."""
        if self._rng.random() < 0.005:
            self.close()
        else:
            self._rng.choice(self._COMMANDS)(self)

    # ---- input

    def receive(self, data: bytes) -> None:
        """Feed bytes; handle the events with commands between them."""
        for event in self.core.receive(data, self._now):
            self._handle(event)
            if self._rng.random() < 0.2:
                self.command()
        self.handle_events()

    def handle_events(self) -> None:
        events = self.core.events
        while events:
            self._handle(events.pop(0))

    def _handle(self, event: Event) -> None:
        self.events += 1
        if isinstance(event, IncomingCall):
            if self._rng.random() < 0.6:
                self.core.incoming.accept(event)
            else:
                self._answer(event)
        elif isinstance(event, OutgoingCall):
            assert event in self._made
            if event.answer is not None:
                self._answered[event.number] += 1
        elif isinstance(event, Closed):
            assert not self._is_closed
            self._is_closed = True
            self._answered.update(call.number for call in event.outgoing)
        else:
            assert isinstance(event, CancelReceived | CreditReceived | PeerSilent | RoomFreed | Retired | Transfer)

    # ---- promises

    def check(self) -> None:
        """Check what holds at any moment, when the events have been handled."""
        core, account, in_progress = self.core, self._account, self.core.outgoing.in_progress
        assert core.liveness.deadline == core.liveness.deadline
        assert account.partial_bytes >= 0
        assert account.whole_bytes >= 0
        assert account.partial_bytes + account.whole_bytes <= account.limit_bytes
        for call in self._made:
            number = call.number
            if number in in_progress:
                assert call.answer is None
            assert (self._answered[number], number in self._dropped, number in in_progress) in _FATES
        assert core.is_closed == self._is_closed
        if core.is_closed:
            return
        for depth in range(PACKETS + 1):
            used = sum(call.depth == depth for call in in_progress.values())
            assert core.outgoing.free_places[depth] == (core.peer.max_calls if depth < PACKETS else sys.maxsize) - used
        running = Counter(call.frame.depth for call in core.incoming.running.values())
        assert all(count <= MAX_CALLS for count in running.values())
        assert all(call.is_running for call in core.incoming.running.values())
        assert core.outgoing.long_ones >= 0

    def end(self) -> None:
        """End the link, and check that nothing of it is left."""
        self.core.receive_end()
        self.handle_events()
        self.check()
        core = self.core
        assert core.is_closed
        assert not core.outgoing.in_progress
        assert not core.incoming.running
        assert (self._account.partial_bytes, self._account.whole_bytes) == (0, 0)
        assert core.data_to_send() == b""
        assert core.frame_to_send() is None
        assert all(transfer.is_over for transfer in self._items)


_FATES: Final = {(1, False, False), (0, True, False), (0, False, True)}  # answered, dropped by its caller, in progress


def _pieces(rng: random.Random, stream: bytes) -> list[bytes]:
    pieces, fed = [], 0
    while fed < len(stream):
        size = rng.choice((3, 17, 250, 100_000, 100_000))
        pieces.append(stream[fed : fed + size])
        fed += size
    return pieces


def _attack_handshake(rng: random.Random, stream: bytes) -> Greeted | None:
    """Feed a start of a link that is probably wrong; return its outcome, where there is one."""
    handshake = Handshake(rng.choice((OWN, LARGE)), is_initiator=rng.random() < 0.5)
    start = PREFACE if rng.random() < 0.8 else bytearray(PREFACE)
    if isinstance(start, bytearray):
        start[rng.randrange(len(start))] ^= 1 << rng.randrange(8)
    found = None
    pieces = _pieces(rng, bytes(start) + (encoded(PEER) if rng.random() < 0.4 else b"") + stream)
    for piece in pieces:
        try:
            found = handshake.receive(piece)
        except (HandshakeError, PeerSpeaksHTTP):
            break
        if found is not None:
            break
    handshake.data_to_send()
    return found


def _attack(rng: random.Random) -> tuple[int, bool]:
    """Feed one stream, in pieces; return how many events there were, and whether the peer broke the rules."""
    stream = rng.choice(_KINDS)(rng)
    if rng.random() < 0.1:
        greeted = _attack_handshake(rng, stream)
        if greeted is None:
            return 0, True
    else:
        greeted = rng.choice(_GREETED)
    fuzzed = Fuzzed(rng, greeted)
    fuzzed.receive(b"")
    for _ in range(rng.randrange(4)):
        fuzzed.call()
    if rng.random() < 0.3:
        fuzzed.receive(_KEPT_CALLS)
    if rng.random() < 0.1:
        fuzzed.retire()
    if rng.random() < 0.1:
        fuzzed.wait()
        fuzzed.handle_events()
    for piece in _pieces(rng, stream):
        fuzzed.receive(piece)
        fuzzed.check()
        fuzzed.command()
        fuzzed.handle_events()
    is_broken = fuzzed.core.is_closed
    fuzzed.check()
    fuzzed.end()
    return fuzzed.events, is_broken


_KEPT_CALLS = encoded(call_frame(1), call_frame(2, credit=65_536))
_GREETED: Final = [
    Greeted(own, PEER, is_initiator=not first, rest=rest, first=first, channel=None)
    for own in (OWN, LARGE)
    for first, rest in ((b"", b""), (PREFACE + encoded(own), encoded(Ping(1))))
]


def _fuzz(cases: int) -> float:
    """Run so many cases; return how many there were in a second."""
    seed = int(os.environ.get("TRIONET_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    lively = broken = 0
    begun = time.process_time()
    for case in range(seed, seed + cases):
        try:
            events, is_broken = _attack(random.Random(case))
        except BaseException as exc:  # a hang is ended by the timeout's own exception
            exc.add_note(f"the case is TRIONET_FUZZ_SEED={case}")
            raise
        lively += events > 1
        broken += is_broken
    assert lively > cases / 4, "the fuzzing has become toothless"
    assert cases / 10 < broken < cases * 9 / 10, "the fuzzing has become toothless"
    return cases / (time.process_time() - begun)


@pytest.mark.slow
def test_whatever_comes_nothing_raises_and_each_call_has_one_end(
    record_property: Callable[[str, object], None],
) -> None:
    record_property("cases_per_second", round(_fuzz(10_000)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_whatever_comes_in_a_million_cases(record_property: Callable[[str, object], None]) -> None:
    record_property("cases_per_second", round(_fuzz(1_000_000)))

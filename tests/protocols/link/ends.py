"""One end of a link without sockets: a driver that makes calls, answers the peer's, and keeps what has happened."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from tests.protocols.link.cores import IDLE_S, KIB, call_frame, hello
from trionet.blobs import BLOB_BYTES, BLOB_CODE
from trionet.protocols.link.calls import STREAM_CREDIT_BYTES, IncomingCall, OutgoingCall, OutgoingStream
from trionet.protocols.link.chunks import LongFrame, Transfer
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.events import CancelReceived, Closed, CreditReceived, Event, Retired
from trionet.protocols.link.frames import Cancelled, End, Item, Reply, encode_frame
from trionet.protocols.link.handshake import Handshake, HandshakeError
from trionet.protocols.link.holdings import Account

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.protocols.link.channel import Channel, LinkKey
    from trionet.protocols.link.frames import Hello

__all__ = ["BLOB", "GivenChannel", "LinkEnd", "content"]

BLOB = msgspec.msgpack.Ext(BLOB_CODE, b"")
"""Stands for a blob in a frame."""


def content(number: int, size: int) -> bytes:
    """Return the value of so many bytes that belongs to a number."""
    return bytes([number % 256]) * size


class _Feed:
    """The items of a stream that have not been sent, and the transfer of a long one."""

    def __init__(self, items: deque[tuple[int, int]]) -> None:
        self.items = items
        self.transfer: Transfer | None = None


class GivenChannel:
    """A key whose one channel is given."""

    def __init__(self, channel: Channel) -> None:
        self.seal = b"\x7ftest"
        self._channel = channel

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> Channel:
        return self._channel


class LinkEnd:
    """One end of a link.

    A call asks for a reply of some bytes; a stream for items of some bytes each.

    Attributes:
        core: None until the handshake has ended.
        is_prompt: whether the peer's calls are answered at once; else by `answer`.
        failure: why the handshake failed.
        made: this end's calls, by number.
        asked: the size of the reply that each of them asked for; of streams the sizes of the items.
        read: the items of each stream that have been read.
        dropped: this end's calls that were cancelled before they were complete, and have no answer.
        answered: this end's calls that have an answer, in the order of these.
        arrived: the numbers of the peer's calls, in the order of their events.
        running: the peer's calls that have been accepted and not answered.
        cancels: the numbers of the peer's calls that it has cancelled.
        closed: the last event.
        retired: how often the link was said to be retired.
        on_open: called when the handshake has ended.
    """

    def __init__(
        self,
        *,
        is_initiator: bool,
        own: Hello | None = None,
        key: LinkKey | None = None,
        is_prompt: bool = True,
        held_bytes: int = 64 * 1024 * KIB,
    ) -> None:
        self.core: LinkCore | None = None
        self.is_prompt = is_prompt
        self.account = Account(held_bytes)
        self.failure: str | None = None
        self.made: dict[int, OutgoingCall] = {}
        self.asked: dict[int, int | list[int]] = {}
        self.read: dict[int, list[Any]] = {}
        self.dropped: list[OutgoingCall] = []
        self.answered: list[OutgoingCall] = []
        self.arrived: list[int] = []
        self.running: dict[int, IncomingCall] = {}
        self.cancels: list[int] = []
        self.closed: Closed | None = None
        self.retired = 0
        self.on_open: Callable[[], object] = lambda: None
        self._handshake = Handshake(own or hello(), is_initiator=is_initiator, keys=[] if key is None else [key])
        self._handshake_bytes = 0

    @property
    def link(self) -> LinkCore:
        """The core, after the handshake."""
        assert self.core is not None
        return self.core

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be sent."""
        return self.failure is not None or (self.core is not None and (self.core.is_closed or self.core.is_finished))

    # ---- bytes

    def data_to_send(self) -> bytes:
        """Return the bytes to be sent next."""
        data = self._handshake.data_to_send()
        self._handshake_bytes += len(data)
        if not data and self.core is not None:
            data = self.core.data_to_send()
            self.handle_events()
        return data

    def sent(self, count: int) -> None:
        """Handle that the operating system has accepted so many bytes."""
        of_handshake = min(count, self._handshake_bytes)
        self._handshake_bytes -= of_handshake
        if self.core is not None and count > of_handshake:
            self.core.sent(count - of_handshake)

    def receive(self, data: bytes, now: float = 0.0) -> None:
        """Handle bytes from the peer."""
        if self.core is None:
            try:
                greeted = self._handshake.receive(data)
            except HandshakeError as exc:
                self.failure = str(exc)
                return
            if greeted is None:
                return
            self.core = LinkCore(
                greeted,
                self.account.open(self._cut_off),
                name="the peer",
                now=now,
                idle_timeout_s=IDLE_S,
                max_containers=10_000,
            )
            self.on_open()
            data = b""
        for event in self.core.receive(data, now):
            self._handle(event)
        self.handle_events()

    def receive_end(self) -> None:
        """Handle the end of the connection."""
        if self.core is not None:
            self.core.receive_end()
            self.handle_events()
        elif self.failure is None:
            self.receive(b"")

    def break_off(self) -> None:
        """Handle that the connection has broken."""
        if self.core is not None:
            self.core.close("it broke")
            self.handle_events()
        elif self.failure is None:
            self.receive(b"")

    def _cut_off(self, reason: str) -> None:
        if self.core is not None:
            self.core.close(reason, is_fault=True)

    def advance(self, now: float) -> None:
        """Handle the passing of time."""
        if self.core is not None:
            self.core.advance(now)
            self.handle_events()

    # ---- this end's calls

    @property
    def may_call(self) -> bool:
        """Whether a call can be made now, without waiting."""
        core = self.core
        return core is not None and core.outgoing.is_open and core.outgoing.free_places[0] > 0 and core.outbox.has_room

    def call(self, reply_bytes: int = 1, request_bytes: int = 0) -> OutgoingCall:
        """Make a call."""
        return self._make(OutgoingCall(), reply_bytes, bytes(request_bytes))

    def stream(self, item_bytes: list[int]) -> OutgoingStream:
        """Start a stream."""
        stream = OutgoingStream()
        self._make(stream, item_bytes, b"", STREAM_CREDIT_BYTES)
        self.read[stream.number] = []
        return stream

    def _make(self, call: OutgoingCall, asked: int | list[int], data: bytes, credit: int | None = None) -> OutgoingCall:
        number = self.link.outgoing.next_number
        self.link.wake(self.link.liveness.heard_at)
        blobs = [data] if len(data) > BLOB_BYTES and number % 2 else []
        self.link.outgoing.call(call, call_frame(number, asked, BLOB if blobs else data, credit=credit), blobs)
        self.made[number], self.asked[number] = call, asked
        self.handle_events()
        return call

    def cancel(self, call: OutgoingCall) -> bool:
        """Cancel a call; return whether a confirmation is to be waited for."""
        is_awaited = self.link.cancel(call)
        if not is_awaited and call.answer is None:
            self.dropped.append(call)
        return is_awaited

    def read_items(self) -> None:
        """Read what has come of all streams."""
        for number, read in self.read.items():
            stream = self.made[number]
            assert isinstance(stream, OutgoingStream)
            while stream.items:
                value, size = stream.items.popleft()
                read.append(value)
                self.link.outgoing.consumed(stream, size)

    def check_values(self) -> None:
        """Check that all answers and items are those that were asked for, complete and in order."""
        for call in self.answered:
            asked = self.asked[call.number]
            if isinstance(asked, int) and isinstance(call.answer, Reply):
                assert call.answer.value == content(call.number, asked)
            if isinstance(asked, list):
                self.read_items()
                read, expected = self.read[call.number], [content(number, size) for number, size in enumerate(asked)]
                assert read == (expected if isinstance(call.answer, End) else expected[: len(read)])

    # ---- the peer's calls

    def answer(self, call: IncomingCall) -> None:
        """Answer a running call, or begin to: a long answer takes its time."""
        reply_bytes, _ = call.frame.args
        assert call.transfer is None
        number = call.frame.msg_id
        value = content(number, reply_bytes)
        if reply_bytes > BLOB_BYTES and number % 2:
            self._end(call, LongFrame(encode_frame(Reply(number, BLOB)), [value]))
        else:
            self._end(call, encode_frame(Reply(number, value)))

    def confirm(self, call: IncomingCall) -> None:
        """Confirm that a cancelled call has ended."""
        feed: _Feed | None = call.handler
        if feed is not None and feed.transfer is not None and not feed.transfer.is_over:
            self.link.outbox.abandon(feed.transfer)
        self._end(call, encode_frame(Cancelled(call.frame.msg_id)))

    def _end(self, call: IncomingCall, encoded: bytes | LongFrame) -> None:
        self.running.pop(call.frame.msg_id, None)
        self.link.incoming.answer(call, encoded)

    def _give_items(self, call: IncomingCall) -> None:
        feed: _Feed = call.handler
        while call.is_running and feed.transfer is None and (call.credit_bytes > 0 or not feed.items):
            if not feed.items:
                self._end(call, encode_frame(End(call.frame.msg_id)))
                return
            encoded = encode_frame(Item(call.frame.msg_id, content(*feed.items.popleft())))
            feed.transfer = self.link.incoming.send_item(call, encoded)
            if feed.transfer is not None:
                feed.transfer.waiter = call

    def _serve(self, call: IncomingCall) -> None:
        number = call.frame.msg_id
        self.arrived.append(number)
        if call.frame.credit is None and self.is_prompt:
            self.answer(call)
            return
        self.running[number] = call
        self.link.incoming.accept(call)
        if call.frame.credit is not None:
            call.handler = _Feed(deque(enumerate(call.frame.args[0])))
            self._give_items(call)

    # ---- events

    def handle_events(self) -> None:
        """Handle the core's other events."""
        while self.core is not None and self.core.events:
            self._handle(self.core.events.pop(0))

    def _handle(self, event: Event) -> None:
        match event:
            case IncomingCall():
                self._serve(event)
            case OutgoingCall():
                if event.answer is not None:
                    self.answered.append(event)
            case Transfer():
                event.waiter.handler.transfer = None
                self._give_items(event.waiter)
            case CancelReceived():
                self.cancels.append(event.call.frame.msg_id)
            case CreditReceived():
                if event.call.handler is not None:
                    self._give_items(event.call)
            case Retired():
                self.retired += 1
            case Closed():
                assert self.closed is None
                self.closed = event
                self.answered += event.outgoing
                self.running.clear()

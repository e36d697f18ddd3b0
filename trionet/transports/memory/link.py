"""The driver of links on a memory fabric, where their bytes travel as streams.

Each write is one frame, so that rules and traces can distinguish frames.
"""

from __future__ import annotations

import math
import weakref
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from trionet.errors import NodeUnreachable, TrionetError
from trionet.protocols.link.handshake import Greeted, Handshake, HandshakeError
from trionet.protocols.link.liveness import AT_ONCE
from trionet.transports.link.link import Link
from trionet.transports.link.transport import LinkTransport

from .lane import Lane

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractContextManager

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.protocols.link.events import Closed
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Handler, Request
    from trionet.transports.sent import Begin, Handle, Sent

    from .carrier import Carrier, Observer
    from .host import Host
    from .pump import Pump
    from .rules import StreamMessage

__all__ = ["MemoryTransport"]


class _Opening(NamedTuple):
    """A connection during its handshake."""

    handshake: Handshake
    lane: Lane
    node: NodeAddress
    begun_at: float
    is_initiator: bool


class _MemoryLink(Link):
    """One side of one connection, after the handshake."""

    def __init__(self, transport: MemoryTransport, greeted: Greeted, number: int, opening: _Opening) -> None:
        self.number: int = number
        self.node: NodeAddress = opening.node
        self._transport = transport
        self._lane = opening.lane
        self._alarm_at = math.inf
        self._is_reset = False
        super().__init__(transport.context, greeted, transport.pump.time(), str(opening.node), transport.start_soon)
        self._lane.on_room = self.push
        self._lane.on_dead = self.end

    @property
    def peer_host(self) -> object:
        """The peer's key in the limits of log lines."""
        return self.node

    def push(self) -> None:
        """Send frames, as far as the stream has room."""
        core, outbox, lane = self.core, self.core.outbox, self._lane
        if core.liveness.deadline < self._alarm_at:
            self._set_alarm()
        if outbox.is_due or not outbox.is_corked:
            if outbox.is_stuck:
                core.close_if_stuck()
            while outbox.is_pending and lane.has_room and (found := core.frame_to_send()) is not None:
                kind, data = found
                lane.send(kind, data)
                core.sent(len(data))
        if core.events:
            self.handle_events()
        if not core.outgoing.is_open and core.is_finished:
            self.end("both sides have sent bye")

    def _set_alarm(self) -> None:
        liveness = self.core.liveness
        if liveness.deadline == AT_ONCE:
            self.core.advance(self._transport.pump.time())
        if liveness.deadline < self._alarm_at:
            self._alarm_at = liveness.deadline
            self._transport.host.call_at(self._alarm_at, self._transport.ring, self.number)

    def ring(self) -> None:
        """Handle the alarm."""
        self._alarm_at = math.inf
        self.advance(self._transport.pump.time())

    def end(self, reason: str) -> None:
        """Handle the end of the connection; no reset is sent."""
        self._is_reset = True
        self.abort(reason)

    def _handle_closed(self, event: Closed) -> None:
        if event.outgoing:  # first: the calls that were sent at once end in the next step
            self._transport.note_loss(self.node, event.reason)
        super()._handle_closed(event)

    def disconnect(self, event: Closed) -> None:
        """Reset the connection."""
        if not self._is_reset:
            self._lane.send("reset", b"")
        self._lane.on_room = self._lane.on_dead = None
        self._transport.forget(self)


class _Observed:
    """Reports one call to the observer. A generator-based context manager is three times slower."""

    def __init__(
        self, observer: Observer, time: Callable[[], float], call: tuple[NodeAddress, NodeAddress, Request]
    ) -> None:
        self._observer = observer
        self._time = time
        self._call = call

    def begin(self) -> None:
        """Report its begin."""
        self._observer.called(*self._call, self._time())

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, trio.Cancelled):
            self._observer.cancelled(*self._call, self._time())
        else:  # an error of the block that reads a stream is none of the stream
            self._observer.answered(*self._call, exc if isinstance(exc, TrionetError) else None, self._time())


class _ObservedSent:
    """A call that was sent at once, and is reported; see `Sent`."""

    def __init__(self, observed: _Observed, handle: Handle) -> None:
        self._observed = observed
        self._handle = handle
        self._has_begun = False
        self.sent: Sent

    def begin(self) -> None:
        """Report its begin, once."""
        if not self._has_begun:
            self._has_begun = True
            self._observed.begin()

    def answered(self, sent: Sent) -> None:
        """Handle the answer; where the link was lost at once, it has not begun yet."""
        self.begin()
        self.sent = sent
        self._handle(self)

    def value(self) -> Any:
        """Return the value of its answer, or raise its error; report its end."""
        with self._observed:
            return self.sent.value()

    async def wait(self) -> Any:
        """Wait for the answer; return its value, or raise its error; report its end."""
        with self._observed:
            return await self.sent.wait()


class MemoryTransport(LinkTransport):
    """Calls to nodes on the same fabric.

    Attributes:
        host: the node's host.
        pump: the fabric's clock and scheduler.
    """

    def __init__(
        self,
        carrier: Carrier[Any],
        host: Host,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys,
    ) -> None:
        super().__init__(host.address, config, handler, on_orphan, keys)
        self._address = host.address
        self.host: Host = weakref.proxy(host)  # which has this transport
        self.pump: Pump = carrier.pump
        self._carrier = carrier
        self._by_number: dict[int, _MemoryLink] = {}
        self._opening: dict[int, _Opening] = {}
        self._is_ending = False

    # ---- connections

    async def keep_time(self) -> None:
        """Wait for the end; what comes after the last handler has ended is refused."""
        try:
            await super().keep_time()
        finally:
            self._is_ending = True

    def dial(self, node: NodeAddress) -> None:
        """Start a connection attempt. As by TCP, its first data follow the answer of the other host."""
        number, seconds = self._carrier.new_link(), self.context.config.connect_timeout_s
        opening = self._begin(number, node, is_initiator=True)
        opening.lane.send("connect", b"")
        self.host.call_at(
            opening.begun_at + seconds, self._fail, number, f"no connection to {node} within {seconds:g} s"
        )

    def _begin(self, number: int, node: NodeAddress, *, is_initiator: bool) -> _Opening:
        handshake = self.new_handshake(node if is_initiator else None)
        lane = Lane(self._carrier, self.host, node, number)
        opening = _Opening(handshake, lane, node, self.pump.time(), is_initiator)
        self._opening[number] = opening
        return opening

    def _fail(self, number: int, failure: str) -> None:
        opening = self._opening.pop(number, None)
        if opening is not None and opening.is_initiator:
            self.dialed(opening.node, NodeUnreachable(failure))

    def receive(self, message: StreamMessage) -> None:
        """Handle a message of a connection."""
        number, kind = message.link, message.kind
        if message.sender is not None:
            message.sender.acknowledge(len(message.data))
        link = self._by_number.get(number)
        if self._is_ending and not (self._nursery and self._nursery.child_tasks):  # that nursery is closed
            self._carrier.answer(message, "refuse" if kind == "connect" else "reset")
        elif link is not None:
            if kind == "reset":
                link.end("the other side closed it")
            else:
                link.receive(message.data, self.pump.time())
        elif number in self._opening:
            if kind in ("refuse", "reset"):
                self._fail(number, f"no node listens on {message.source}")
            else:
                self._continue(number, self._opening[number], message)
        elif kind != "connect":
            self._carrier.answer(message, "reset")
        elif not self.is_accepting:
            self._carrier.answer(message, "refuse")
        else:
            self._begin(number, message.source, is_initiator=False).lane.send("accept", b"")

    def _continue(self, number: int, opening: _Opening, message: StreamMessage) -> None:
        if message.kind == "accept":
            self._opening[number] = opening._replace(begun_at=self.pump.time())
            opening.lane.send("hello", opening.handshake.data_to_send())
        elif message.kind != "connect":
            self._greet(number, opening, message)

    def _greet(self, number: int, opening: _Opening, message: StreamMessage) -> None:
        try:
            greeted = opening.handshake.receive(message.data)
        except HandshakeError as exc:
            if due := opening.handshake.data_to_send():
                opening.lane.send("hello", due)
            opening.lane.send("reset", b"")
            del self._opening[number]
            if opening.is_initiator:
                self.not_dialed(opening.node, exc)
            else:
                self.note_refused(opening.node, str(exc))
            return
        if due := opening.handshake.data_to_send():
            opening.lane.send("hello", due)
        if greeted is None:
            return
        del self._opening[number]
        link = self._by_number[number] = _MemoryLink(self, greeted, number, opening)
        if greeted.is_initiator:
            link.core.round_trip.add(self.pump.time() - opening.begun_at)
        self.add(link, opening.node)
        link.receive(b"", self.pump.time())

    def ring(self, number: int) -> None:
        """Handle the alarm of a link, if the link is still open."""
        link = self._by_number.get(number)
        if link is not None:
            link.ring()

    def forget(self, link: _MemoryLink) -> None:
        """Handle the end of a link."""
        self._by_number.pop(link.number, None)
        self.remove(link)

    def bring_down(self, reason: str, *, is_silent: bool) -> None:
        """Close all links, silently if the peers are not to notice, and make no more."""
        self._is_closing = True
        for link in list(self._by_number.values()):
            (link.end if is_silent else link.abort)(reason)
        for number in list(self._opening):
            self._fail(number, reason)

    # ---- observation

    def note_loss(self, node: NodeAddress, reason: str) -> None:
        """Report a lost link with calls in progress."""
        if self._carrier.observer is not None:
            self._carrier.observer.link_lost(self._address, node, reason, self.pump.time())

    def _observed(self, node: NodeAddress, request: Request) -> AbstractContextManager[None]:
        observer = self._carrier.observer
        if observer is None:
            return nullcontext()
        observed = _Observed(observer, self.pump.time, (self._address, node, request))
        observed.begin()
        return observed

    def send_at_once(self, node: NodeAddress, request: Request, handle: Handle, begin: Begin = None) -> Sent | None:
        """Send `request` to `node` at once, if there is a link; see `SendAtOnce`."""
        observer = self._carrier.observer
        if observer is None:
            return super().send_at_once(node, request, handle, begin)
        call = _ObservedSent(_Observed(observer, self.pump.time, (self._address, node, request)), handle)
        sent = super().send_at_once(node, request, call.answered, call.begin)
        if sent is None:
            return None
        call.sent = sent
        return call

    def connect_soon(self, node: NodeAddress, request: Request, handle: object) -> None:
        """Have each call that needs a connection made in a task, which is observed as a whole; see `ConnectSoon`."""

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value; see `Transport.call`."""
        with self._observed(node, request):
            return await super().call(node, request)

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`; see `Transport.stream`."""
        with self._observed(node, request):
            async with super().stream(node, request) as items:
                yield items

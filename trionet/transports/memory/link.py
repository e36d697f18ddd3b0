"""A link on a memory fabric: the real link's calls, its frames and its rules for cancelling, without its sockets.

`OutgoingCalls` and `IncomingCalls` are those of `trionet.transports.link`; here is what stands in for the connection
and its outbox: each frame is encoded, travels as one message, and is decoded where it arrives. A long frame isn't cut
into chunks. Nor is a link closed when it is idle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from trionet.log_limits import about, limited_log
from trionet.transports.link.flow import RoundTrip
from trionet.transports.link.frames import (
    CHUNK_BYTES,
    Bye,
    CallFrame,
    Cancel,
    Cancelled,
    Credit,
    Direction,
    End,
    Error,
    Frame,
    FrameError,
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    decode_frame,
    encode_frame,
)
from trionet.transports.link.incoming import IncomingCalls
from trionet.transports.link.liveness import Liveness, Progress, Stalls
from trionet.transports.link.outbox import Outbox, Transfer
from trionet.transports.link.outgoing import OutgoingCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress

    from .endpoint import MemoryEndpoint
    from .lane import Lane

__all__ = ["MemoryLink"]

_log = limited_log(__name__)

_TICK_S: Final = 1.0
_SILENCE_S: Final = 30.0
_KINDS: Final = {
    1: "call",
    2: "reply",
    3: "error",
    4: "cancel",
    5: "cancelled",
    6: "item",
    7: "end",
    8: "credit",
    12: "ping",
    13: "pong",
    14: "bye",
}


class _Frames:
    """What the link's calls have for an outbox: it takes everything, at once."""

    has_room = True

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.put_bytes = 0
        self.sent_bytes = 0

    def put(self, frame: Frame) -> None:
        self.put_encoded(encode_frame(frame))

    def put_encoded(self, encoded: bytes) -> None:
        self.put_bytes = self.sent_bytes = self.put_bytes + len(encoded)
        self._lane.send(_KINDS[encoded[1]], encoded)

    put_alone = put_encoded

    def is_window_free(self, encoded: bytes, direction: Direction) -> bool:
        return True

    async def room(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()

    async def send_long(self, encoded: bytes, direction: Direction, begun: Callable[[Transfer], None]) -> None:
        transfer = Transfer(1, direction, encoded)
        transfer.offset = len(encoded)
        transfer.written.set()
        begun(transfer)
        self.put_encoded(encoded)
        await trio.lowlevel.checkpoint_if_cancelled()


class _Handlers:
    """The part of a nursery that belongs to one link: `cancel` ends what was started for it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: dict[trio.CancelScope, None] = {}

    def start_soon(self, function: Any, *args: Any, name: object = None) -> None:
        scope = trio.CancelScope()
        self._scopes[scope] = None
        self._nursery.start_soon(self._run, scope, function, args, name=name)

    async def _run(self, scope: trio.CancelScope, function: Any, args: tuple[Any, ...]) -> None:
        try:
            with scope:
                await function(*args)
        finally:
            del self._scopes[scope]

    def cancel(self) -> None:
        for scope in list(self._scopes):
            scope.cancel()


class MemoryLink:
    """One side of one connection.

    Attributes:
        number: the connection's.
        peer: the node at its other side.
        is_initiator: whether this side made it.
        opened_at: when, on Trio's clock.
        calls: makes calls on it.
        incoming: answers those of the peer.
    """

    def __init__(
        self, endpoint: MemoryEndpoint, number: int, peer: NodeAddress, hello: Hello, lane: Lane, *, is_initiator: bool
    ) -> None:
        self.number = number
        self.peer = peer
        self.is_initiator = is_initiator
        self.opened_at: float = endpoint.fabric.pump.time()
        self.round_trip: RoundTrip = RoundTrip()
        self._endpoint = endpoint
        self._lane = lane
        lane.on_dead = self.end
        outbox = cast("Outbox", _Frames(lane))
        self._outbox = outbox
        self.calls: OutgoingCalls = OutgoingCalls(
            outbox, hello, self.round_trip, str(peer), endpoint.on_orphan, self._became_idle, _nothing
        )
        self._handlers = _Handlers(endpoint.nursery)
        self._holding = endpoint.account.open(self.reset)
        self.incoming: IncomingCalls = IncomingCalls(
            outbox,
            endpoint.hello,
            hello,
            endpoint.handler,
            cast("trio.Nursery", self._handlers),
            self._let_go,
            self._became_idle,
            self._holding,
        )
        # It isn't closed for being idle, nor for not parting: nobody would see to it while it isn't watched.
        self._liveness = Liveness(self.opened_at, math.inf, _SILENCE_S)
        self._stalls = Stalls(self.opened_at, _TICK_S)
        self._pings: dict[int, float] = {}
        self._is_ticking = False
        self._is_ended = self._bye_sent = self._bye_received = False

    @property
    def is_usable(self) -> bool:
        """Whether calls can be made on it."""
        return self.calls.takes_calls and not self._is_ended

    def retire(self, reason: str) -> None:
        """Make no more calls on it, have the peer make none, and close it when those in progress are answered."""
        self.calls.retire()
        if not (self._bye_sent or self._is_ended):
            self._bye_sent = True
            self._outbox.put(Bye(reason))

    def _became_idle(self) -> None:
        if self._bye_sent and self._bye_received and not (self.calls or self.incoming):
            self.end("both sides have said bye")

    def reset(self, reason: str) -> None:
        """Tell the peer that it has ended, and end it."""
        self._lane.send("reset", b"")
        self.end(reason)

    def end(self, reason: str) -> None:
        """It has ended: calls on it end with an error, and handlers are cancelled."""
        if not self._is_ended:
            self._is_ended = True
            fabric = self._endpoint.fabric
            if self.calls and fabric.observer is not None:
                fabric.observer.link_lost(self._endpoint.address, self.peer, reason, fabric.pump.time())
            self.calls.close(reason)
            self._holding.close()
            self._handlers.cancel()
            self.incoming.detach()
            self._lane.on_dead = None
            self._endpoint.forget_link(self)

    def watch(self) -> None:
        """Ping the peer from now on, as long as there are calls on it, in either direction."""
        if not self._is_ticking:
            now = self._endpoint.fabric.pump.time()
            self._stalls = Stalls(now, _TICK_S)
            self._tick_at(now + _TICK_S)

    def _tick_at(self, when: float) -> None:
        self._is_ticking = True
        self._endpoint.call_at(when, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        if self._is_ended or not (self.calls or self.incoming or self._pings):
            return
        now = self._endpoint.fabric.pump.time()
        lag_s = self._stalls.lag_s(now)
        if lag_s:
            self._liveness.postpone(now, lag_s)
        is_idle = not (self.calls or self.incoming)
        progress = Progress(self._outbox.sent_bytes, is_idle, is_amid_frame=False)
        fault = self._liveness.fault(now - _TICK_S if lag_s else now, progress)
        if fault is not None:
            self.reset(fault)
            return
        if not self._pings:
            self._pings[1] = now
            self._outbox.put(Ping(1))
            self._liveness.pinged(now, self._outbox.put_bytes)
        self._tick_at(now + _TICK_S)

    def take(self, data: bytes) -> None:
        """A frame came."""
        if self._is_ended:
            return
        self._liveness.heard_at = self._endpoint.fabric.pump.time()
        try:
            self._act(decode_frame(data, self._endpoint.max_containers), len(data))
            if self.incoming:
                self.watch()
        except FrameError as exc:
            _log.warning(
                "the link with %s is closed: it broke the protocol: %s", self.peer, exc, extra=about(self.peer)
            )
            self.reset(str(exc))

    def _act(self, frame: Frame, size: int) -> None:
        match frame:
            case Reply() | Error() | Cancelled() | End():
                self.calls.take_answer(frame)
            case CallFrame():
                self._take_call(frame, size)
            case Item():
                self.calls.take_item(frame, size)
            case Credit():
                self.incoming.take_credit(frame)
            case Cancel():
                self.incoming.take_cancel(frame)
            case Ping():
                self._outbox.put(Pong(frame.token))
            case Pong():
                sent_at = self._pings.pop(frame.token, None)
                if sent_at is not None:
                    self._liveness.ponged()
                    self.round_trip.add(self._endpoint.fabric.pump.time() - sent_at)
            case Bye():
                self._bye_received = True
                self.retire("so be it")
                self._became_idle()
            case _:
                raise FrameError(f"a {type(frame).__name__}")

    def _take_call(self, call: CallFrame, size: int) -> None:
        held_bytes = size if size > CHUNK_BYTES else 0
        self._holding.change(whole=held_bytes)
        if not self._is_ended:
            self.incoming.take_call(call, held_bytes)

    def _let_go(self, direction: Direction, size: int) -> None:
        self._holding.change(whole=-size)


def _nothing() -> None:
    pass

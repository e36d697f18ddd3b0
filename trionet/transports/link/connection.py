"""One link: a connection that carries the calls of two nodes to each other, from its hello to its bye.

Input is read until there is no more, and each frame acted upon at once. Either side may say bye, which the other
answers; calls in progress are still served, and then the connection is closed.

Invariants: when the link breaks, every call that it carried ends with an error at once, and every handler that it
started is cancelled; nothing that the peer sends raises out of `run`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import trio

from trionet.log_limits import about, limited_log, peer_ip

from .flow import RoundTrip
from .frames import (
    DIRECTIONS,
    REPLIES,
    Abandon,
    Bye,
    CallFrame,
    Cancel,
    Cancelled,
    Chunk,
    Credit,
    Direction,
    End,
    Error,
    Frame,
    FrameDecoder,
    FrameError,
    Hello,
    Item,
    Ping,
    Pong,
    Reply,
    Window,
    decode_frame,
    direction_of_calls,
)
from .handshake import Handshake, greeting
from .incoming import IncomingCalls
from .liveness import Liveness, Progress
from .outbox import Outbox
from .outgoing import OutgoingCalls
from .polling import BusyPoll, usable_processors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.transports.base import Handler

    from .holdings import Account

__all__ = ["Link"]

_log = limited_log(__name__)

_READ_BYTES: Final = 256 * 1024
_SILENCE_S: Final = 30.0
_LINGER_S: Final = 2.0
_FRAME_SLACK_BYTES: Final = 4096
_CHUNK_LEAST_BYTES: Final = 4096
"""Bounds the number of transfers that the window's bytes can be."""


class Link:
    """One connection, after the handshake.

    Attributes:
        peer: what the other side said of itself.
        is_initiator: whether this side made the connection.
        calls: makes calls on it.
        opened_at: when, on Trio's clock.
        round_trip: the measured round trips.
    """

    def __init__(
        self,
        sock: socket.socket,
        own: Hello,
        handshake: Handshake,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        *,
        name: str,
        config: NodeConfig,
        account: Account,
    ) -> None:
        self.peer: Hello = handshake.peer
        self.is_initiator: bool = handshake.is_initiator
        self.opened_at: float = trio.current_time()
        self._idle_timeout_s = config.idle_timeout_s
        self._liveness = Liveness(self.opened_at, config.idle_timeout_s, _SILENCE_S)
        self.round_trip: RoundTrip = RoundTrip()
        self._name = name
        self._sock = sock
        self._own = own
        self._rest = handshake.rest
        self._handler = handler
        self._scope = trio.CancelScope()
        self._max_containers = config.max_message_containers
        self._decoder = FrameDecoder(self._max_containers)
        self._poll = BusyPoll(usable_processors() if config.busy_poll else 0)
        self._chunks: dict[int, tuple[Direction, bytearray]] = {}
        self._held_bytes = [0] * DIRECTIONS
        self._holding = account.open(self._cut_off)
        self._pings: dict[int, float] = {}
        self._parting: str | None = None
        self._bye_sent = self._bye_received = self._is_closed = False
        # The side that answers says hello now, together with its first answers.
        first = b"" if handshake.is_initiator else greeting(own)
        self._outbox = Outbox(sock, self.peer.window_bytes, self._cut_off, first, self._holding)
        self.calls: OutgoingCalls = OutgoingCalls(
            self._outbox, self.peer, self.round_trip, name, on_orphan, self._became_idle, self._say_bye
        )
        self._incoming: IncomingCalls | None = None

    # ---- its life

    @property
    def is_usable(self) -> bool:
        """Whether calls can be made on it."""
        return not (self._is_closed or self._parting is not None or self._bye_received)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress, in either direction."""
        return not (self.calls or self._incoming)

    @property
    def idle_since(self) -> float | None:
        """Since when no call has been in progress, on Trio's clock; None while one is."""
        return self._liveness.used_at if self.is_idle else None

    async def run(self) -> None:
        """Carry calls until either side is done, or the connection breaks."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._incoming = IncomingCalls(
                        self._outbox,
                        self._own,
                        self.peer,
                        self._handler,
                        nursery,
                        self._let_go,
                        self._became_idle,
                        self._holding,
                    )
                    nursery.start_soon(self._closing, self._write)
                    await self._closing(self._read)
                    self._close("the other side closed it")
        finally:
            self.abort()
            self._incoming = None  # it knows this link

    async def _closing(self, work: Callable[[], Awaitable[None]]) -> None:
        """Read, or write; when that can't go on the link is closed, at once: handlers may take their time to end."""
        try:
            await work()
        except FrameError as exc:
            self._cut_off(f"it broke the protocol: {exc}")
        except (OSError, trio.ClosedResourceError) as exc:
            self.abort(f"it broke: {exc}")
        except trio.Cancelled:
            self.abort()
            raise

    def abort(self, reason: str = "this node has stopped") -> None:
        """Close the connection at once; calls on it end with an error."""
        if not self._is_closed:
            _log.debug("the link with %s is closed: %s", self._name, reason)
            self._close(reason)

    def _close(self, reason: str) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.calls.close(reason)
        self._outbox.close()
        self._holding.close()
        self._chunks.clear()
        self._scope.cancel()
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    def _cut_off(self, reason: str) -> None:
        if not self._is_closed:
            extra = about(peer_ip(self._sock), reason)
            _log.warning("the link with %s is closed: %s", self._name, reason, extra=extra)
            self._close(reason)

    def retire(self, reason: str) -> None:
        """Make no more calls on it, and close it when those in progress have been answered."""
        if self._parting is None and not self._is_closed:
            self._parting = reason
            self.calls.retire()
            self._say_bye()

    def _say_bye(self) -> None:
        """Say bye when it is due, and the last call has gone out: it would overtake the chunks of a long one."""
        if self._parting is not None and not (self._bye_sent or self._is_closed or self.calls.is_sending):
            self._bye_sent = True
            self._liveness.said_bye(trio.current_time())
            self._outbox.put(Bye(self._parting))

    def _is_finished(self) -> bool:
        """Whether there will be nothing more to say."""
        return self._bye_sent and self._bye_received and self.is_idle

    def _became_idle(self) -> None:
        liveness = self._liveness
        liveness.used_at = max(liveness.used_at, liveness.heard_at)  # `tick` sees to what is later
        if self._bye_received:
            self._outbox.wake()

    def postpone(self, now: float, lag_s: float) -> None:
        """Charge nobody for the last `lag_s` seconds, in which this node stood still."""
        self._liveness.postpone(now, lag_s)

    def tick(self, now: float) -> None:
        """Look after it, about once a second: measure the round trip, close it when its peer owes too much, or idle."""
        if self._is_closed:
            return
        liveness = self._liveness
        if not self.is_idle:
            liveness.used_at = now
        fault = liveness.fault(now, Progress(self._outbox.sent_bytes, self.is_idle, self._decoder.is_amid_frame))
        if fault is not None:
            self._cut_off(fault)
        elif not liveness.is_pinged and (not self.is_idle or self.round_trip.smoothed_s is None):
            self.ping()
        elif self.is_idle and now - liveness.used_at >= self._idle_timeout_s:
            self.retire("idle")

    def ping(self) -> None:
        """Measure one round trip."""
        now = trio.current_time()
        token = len(self._pings) + 1
        self._pings[token] = now
        self._outbox.put(Ping(token))
        self._liveness.pinged(now, self._outbox.put_bytes)

    # ---- writing

    async def _write(self) -> None:
        await self._outbox.write(self._is_finished)
        # Nothing more to say; the other side may not have read all of it yet, and closing now could lose the rest.
        self._sock.shutdown(socket.SHUT_WR)
        await trio.sleep(_LINGER_S)
        self._scope.cancel()

    # ---- reading

    async def _read(self) -> None:
        self._take(self._rest)
        size = 0
        while not self._is_closed:
            data = await self._receive(size)
            if not data:
                if self._decoder.is_amid_frame:
                    raise FrameError("it ended in the middle of a frame")
                return
            self._liveness.heard_at = trio.current_time()
            self._take(data)
            size, data = len(data), b""  # the next may be long in coming

    async def _receive(self, before: int) -> bytes:
        """Return what comes after an input of `before` bytes; nothing at the end."""
        receive = self._sock.recv
        if before == _READ_BYTES:
            await trio.lowlevel.checkpoint()  # there is probably more; let others run in between
        elif before:
            if self._poll.is_worth_it():
                data = await self._poll.look(receive, _READ_BYTES)
                if data is not None:
                    return data
            await trio.lowlevel.wait_readable(self._sock)  # that was all there was
        while True:
            try:
                return receive(_READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)

    def _take(self, data: bytes) -> None:
        assert self._incoming is not None
        outbox, take_answer, take_call = self._outbox, self.calls.take_answer, self._incoming.take_call
        outbox.is_held = True
        count = 0
        for frame, size in self._decoder.feed(data):
            count += 1
            if type(frame) is Reply:  # these two are nearly all there are
                take_answer(frame)
            elif type(frame) is CallFrame:
                take_call(frame, 0, size)
            else:
                self._act(frame, size)
            if self._is_closed:
                return
        if count:
            self._liveness.framed_at = self._liveness.heard_at
        outbox.is_held = False
        outbox.is_bursty = count > 1
        outbox.flush()

    def _act(self, frame: Frame, size: int) -> None:  # noqa: C901, PLR0912  a flat case for each kind of frame
        """Do what `frame` says."""
        assert self._incoming is not None
        match frame:
            case Reply() | Error() | Cancelled() | End():
                self.calls.take_answer(frame)
            case Item():
                self.calls.take_item(frame, size)
            case Credit():
                self._incoming.take_credit(frame)
            case Cancel():
                self._incoming.take_cancel(frame)
            case Chunk():
                self._take_chunk(frame)
            case Abandon():
                if (chunks := self._chunks.pop(frame.transfer, None)) is not None:
                    self._holding.change(partial=-len(chunks[1]), whole=len(chunks[1]))
                    self._let_go(chunks[0], len(chunks[1]))
            case Window():
                self._outbox.release(frame.direction, frame.size)
            case Ping():
                self._outbox.put(Pong(frame.token))
            case Pong():
                sent_at = self._pings.pop(frame.token, None)
                if sent_at is not None:
                    self._liveness.ponged()
                    self.round_trip.add(trio.current_time() - sent_at)
            case Bye():
                self._bye_received = True
                self.calls.retire()
                self.retire("so be it")
                self._outbox.wake()
            case Hello():
                raise FrameError("a second hello")

    def _take_chunk(self, chunk: Chunk) -> None:
        """Gather a long frame; act on it when it is complete."""
        if not chunk.last and len(chunk.data) < _CHUNK_LEAST_BYTES:
            raise FrameError(f"a chunk of {len(chunk.data)} bytes that is not the last")
        self._liveness.used_at = self._liveness.heard_at
        direction, gathered = self._chunks.setdefault(chunk.transfer, (chunk.direction, bytearray()))
        gathered += chunk.data
        self._held_bytes[direction] += len(chunk.data)
        most = self._own.max_message_bytes + _FRAME_SLACK_BYTES
        if self._held_bytes[direction] > self._own.window_bytes or len(gathered) > most:
            raise FrameError("more chunked bytes than it was allowed")
        self._holding.change(partial=len(chunk.data))
        if not chunk.last or self._is_closed:  # it may have been this one that had to pay
            return
        del self._chunks[chunk.transfer]
        self._holding.change(partial=-len(gathered), whole=len(gathered))
        frame = decode_frame(gathered, self._max_containers)
        if isinstance(frame, CallFrame) and direction == direction_of_calls(frame.depth):
            assert self._incoming is not None
            self._incoming.take_call(frame, len(gathered))
        elif isinstance(frame, Reply | Item | Error) and direction == REPLIES:
            self._act(frame, len(gathered))
            self._let_go(direction, len(gathered))
        else:
            raise FrameError(f"a chunked {type(frame).__name__}")

    def _let_go(self, direction: Direction, size: int) -> None:
        """Chunked bytes are no longer held: the peer may send as many again."""
        if size:
            self._held_bytes[direction] -= size
            self._holding.change(whole=-size)
            self._outbox.put(Window(direction, size))

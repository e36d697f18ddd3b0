"""The peer's calls to this node on one link.

A plain function runs on the spot; anything else, and whatever has to wait, in a task of its own.

Invariants: no more calls are in progress at any depth of nesting than the peer was told in the hello; each gets one
answer; when one is cancelled, that is confirmed once the handler has finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import MalformedRequest, MessageTooLarge, RemoteError, TrionetError, error_to_wire
from trionet.message import PACKET, Call
from trionet.nesting import PACKETS, depth_inside
from trionet.router import HandlerCancelled, is_awaitable

from .frames import (
    CHUNK_BYTES,
    REPLIES,
    CallFrame,
    Cancel,
    Cancelled,
    Credit,
    Direction,
    End,
    Error,
    FrameError,
    Hello,
    Item,
    Reply,
    direction_of_calls,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.router import PreparedCall
    from trionet.transports.base import Handler

    from .holdings import Holding
    from .outbox import Outbox, Transfer

__all__ = ["IncomingCalls"]


class _Running:
    """A call in progress."""

    __slots__ = ("credit_bytes", "credit_came", "depth", "held_bytes", "number", "scope", "short_bytes", "transfer")

    def __init__(self, number: int, depth: int, held_bytes: int, credit_bytes: int, short_bytes: int = 0) -> None:
        self.number = number
        self.short_bytes = short_bytes
        self.depth = depth
        self.scope = trio.CancelScope()
        self.held_bytes = held_bytes
        self.credit_bytes = credit_bytes
        self.credit_came: trio.Event | None = None
        self.transfer: Transfer | None = None

    def set_transfer(self, transfer: Transfer) -> None:
        self.transfer = transfer

    @property
    def is_answered(self) -> bool:
        """Whether a long answer has gone out, and only the task that sends it hasn't noticed yet."""
        return self.transfer is not None and self.transfer.written.is_set()


class IncomingCalls:
    """Answers calls on one link."""

    def __init__(
        self,
        outbox: Outbox,
        own: Hello,
        peer: Hello,
        handler: Handler,
        nursery: trio.Nursery,
        on_release: Callable[[Direction, int], None],
        on_idle: Callable[[], None],
        holding: Holding,
    ) -> None:
        self._outbox = outbox
        self._max_calls = own.max_calls
        self._holding = holding
        self._peer = peer
        self._handler = handler
        self._nursery = nursery
        self._on_release = on_release
        self._on_idle = on_idle
        self._max_bytes = min(peer.max_message_bytes, peer.window_bytes, own.max_message_bytes)
        self._running: dict[int, _Running] = {}
        self._counts = [0] * (PACKETS + 1)  # of those that run, by depth
        self._long_bytes = 0
        self._most_long_bytes = min(holding.share_bytes, _WINDOWS_OF_ANSWERS * min(peer.window_bytes, own.window_bytes))
        self._long_answered = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._running)

    def take_call(self, frame: CallFrame, held_bytes: int, size: int = 0) -> None:
        """A call came.

        Args:
            frame: the call.
            held_bytes: of chunks that are held for it.
            size: of the frame, where it came in one.

        Raises:
            FrameError: the peer doesn't keep to the rules.
        """
        number, depth = frame.msg_id, frame.depth
        if number in self._running or (self._counts[depth] >= self._max_calls and self._is_full(depth)):
            raise FrameError(f"more than {self._max_calls} calls at once at one depth, or one number twice")
        awaitable: Awaitable[Any] | None = None
        try:
            prepared = self._prepare(frame)
            has_room = self._has_room
            if prepared.method.is_sync and (has_room or _is_packet(frame)):
                value = prepared.begin()
                if not is_awaitable(value):
                    self._answer_now(frame, held_bytes, self._encoded_reply(number, value))
                    return
                awaitable = value
        except TrionetError as exc:
            self._answer_now(frame, held_bytes, self._encoded_error(number, exc))
            return
        short_bytes = size if size > _UNCOUNTED_BYTES else 0
        running = self._running[number] = _Running(number, depth, held_bytes, frame.credit or 0, short_bytes)
        self._counts[depth] += 1
        if prepared.method.is_stream:
            self._nursery.start_soon(self._run_stream, running, prepared, name=frame.method)
        else:
            if awaitable is None and not has_room:
                awaitable = self._begun_later(prepared)
            self._nursery.start_soon(self._run_call, running, prepared, awaitable, name=frame.method)
        if short_bytes:
            self._holding.change(whole=short_bytes)

    def _is_full(self, depth: int) -> bool:
        """Whether the peer has as many calls in progress as it may: what it can have read the answer of is none."""
        running = [one for one in self._running.values() if one.depth == depth and not one.is_answered]
        return len(running) >= self._max_calls

    def take_cancel(self, frame: Cancel) -> None:
        """The caller doesn't want the answer any more. If it is on its way already, that is the confirmation."""
        running = self._running.get(frame.msg_id)
        if running is not None:
            running.scope.cancel()

    def take_credit(self, frame: Credit) -> None:
        """The reader of a stream has taken some items."""
        running = self._running.get(frame.msg_id)
        if running is not None:
            running.credit_bytes += frame.size
            if running.credit_came is not None:
                running.credit_came.set()

    def detach(self) -> None:
        """The link has ended: what still runs has nobody to tell."""
        self._on_release, self._on_idle = _ignore_release, _ignore_idle

    def _prepare(self, frame: CallFrame) -> PreparedCall:
        args = MESSAGEPACK.restore(frame.args)
        if type(args) is not list:
            raise MalformedRequest(f"arguments are a list, not a {type(args).__name__}")
        prepared = self._handler.prepare(
            Call(
                frame.gid,
                frame.service,
                frame.method,
                args,
                _NOTHING if frame.kwargs is None else MESSAGEPACK.restore(frame.kwargs),
                frame.id,
                self._peer.address,
                frame.timeout_s,
                _DEPTH_INSIDE[frame.depth],
            )
        )
        if prepared.method.is_stream != (frame.credit is not None):
            kind = "is a stream: use comm.stream" if prepared.method.is_stream else "is no stream: use comm.send"
            raise MalformedRequest(f"{frame.service}/{frame.method} {kind}")
        return prepared

    def _answer_now(self, frame: CallFrame, held_bytes: int, encoded: bytes) -> None:
        """Answer a call that was served on the spot."""
        if len(encoded) <= CHUNK_BYTES:
            self._outbox.put_encoded(encoded)
            self._let_go(frame.depth, held_bytes)
        else:
            running = self._running[frame.msg_id] = _Running(frame.msg_id, frame.depth, held_bytes, 0)
            self._counts[frame.depth] += 1
            self._hold_answer(len(encoded))
            self._nursery.start_soon(self._answer_long, running, encoded)

    def _hold_answer(self, size: int) -> None:
        """Hold so many bytes of long answers more, or less."""
        self._long_bytes += size
        self._holding.change(whole=size)

    @property
    def _has_room(self) -> bool:
        """Whether no answer needs to wait before it is made."""
        return self._outbox.has_room and self._long_bytes <= self._most_long_bytes

    async def _room(self) -> None:
        """Wait while too much of what was answered waits to be written."""
        await self._outbox.room()
        while self._long_bytes > self._most_long_bytes:
            await self._long_answered.park()

    async def _begun_later(self, prepared: PreparedCall) -> Any:
        await self._room()
        value = prepared.begin()
        return await value if is_awaitable(value) else value

    async def _run_call(self, running: _Running, prepared: PreparedCall, awaitable: Awaitable[Any] | None) -> None:
        try:
            value = await prepared.finish(running.scope, awaitable)
            encoded = await self._encoded_in_turn(running, value)
        except HandlerCancelled:
            encoded = encode_frame(Cancelled(running.number))
        except TrionetError as exc:
            encoded = self._encoded_error(running.number, exc)
        await self._answer(running, encoded)

    async def _encoded_in_turn(self, running: _Running, value: Any) -> bytes:
        """Return the reply once there is room for it, so that fewer encoded ones wait; or that it isn't wanted now."""
        if not self._has_room:
            running.scope = trio.CancelScope()
            with running.scope:
                await self._room()
            if running.scope.cancelled_caught:
                return encode_frame(Cancelled(running.number))
        return self._encoded_reply(running.number, value)

    async def _run_stream(self, running: _Running, prepared: PreparedCall) -> None:
        try:
            async with prepared.stream(running.scope) as items:
                async for item in items:
                    await self._send_item(running, item)
            encoded = encode_frame(End(running.number))
        except HandlerCancelled:
            encoded = encode_frame(Cancelled(running.number))
        except TrionetError as exc:
            encoded = self._encoded_error(running.number, exc)
        await self._answer(running, encoded)

    async def _send_item(self, running: _Running, item: Any) -> None:
        while running.credit_bytes <= 0:
            running.credit_came = trio.Event()
            await running.credit_came.wait()
        await self._outbox.room()
        try:
            encoded = self._encoded(Item(running.number, MESSAGEPACK.lower(item)), item)
        except TrionetError as exc:
            raise RemoteError.from_exception(exc) from exc  # the handler did run
        running.credit_bytes -= len(encoded)
        if len(encoded) <= CHUNK_BYTES:
            self._outbox.put_encoded(encoded)
            await trio.lowlevel.checkpoint()
        else:
            await self._outbox.send_long(encoded, REPLIES, _ignore)

    async def _answer(self, running: _Running, encoded: bytes) -> None:
        """Send the answer; the call is over then."""
        if len(encoded) > CHUNK_BYTES:
            self._hold_answer(len(encoded))
            await self._answer_long(running, encoded)
        else:
            if not self._outbox.has_room:
                await self._outbox.room()
            self._end(running, encoded)

    async def _answer_long(self, running: _Running, encoded: bytes) -> None:
        """Send an answer that counts among the long ones already."""
        running.scope = trio.CancelScope()
        with running.scope:
            await self._outbox.send_long(encoded, REPLIES, running.set_transfer)
        self._hold_answer(-len(encoded))
        self._long_answered.unpark_all()
        self._end(running, encode_frame(Cancelled(running.number)) if running.scope.cancelled_caught else b"")

    def _end(self, running: _Running, encoded: bytes) -> None:
        del self._running[running.number]
        self._counts[running.depth] -= 1
        if running.short_bytes:
            self._holding.change(whole=-running.short_bytes)
        if encoded:
            (self._outbox.put_encoded if self._running else self._outbox.put_alone)(encoded)
        self._let_go(running.depth, running.held_bytes)

    def _let_go(self, depth: int, held_bytes: int) -> None:
        if held_bytes:
            self._on_release(direction_of_calls(depth), held_bytes)
        if not self._running:
            self._on_idle()

    def _encoded_reply(self, number: int, value: Any) -> bytes:
        try:
            return self._encoded(Reply(number, MESSAGEPACK.lower(value)), value)
        except TrionetError as exc:
            return self._encoded_error(number, RemoteError.from_exception(exc))

    def _encoded(self, frame: Reply | Item, value: Any) -> bytes:
        """Return `frame`, which carries `value`.

        Raises:
            EncodeError: it can't travel.
            MessageTooLarge: the peer would not take it.
        """
        try:
            encoded = encode_frame(frame)
        except UnicodeEncodeError:
            MESSAGEPACK.encode(value)  # raises the error that says where
            raise
        if len(encoded) > self._max_bytes:
            raise MessageTooLarge(
                f"a value of {len(encoded):,} bytes is over the limit of {self._max_bytes:,} bytes: "
                f"the smaller max_message_bytes of the two nodes"
            )
        return encoded

    def _encoded_error(self, number: int, error: TrionetError) -> bytes:
        wire = error_to_wire(error)
        encoded = encode_frame(Error(number, wire))
        if len(encoded) > max(CHUNK_BYTES, self._max_bytes):
            # The peer would not take it. Its texts are what is long; their ends tell most.
            most = self._max_bytes // _TEXTS_PER_MESSAGE
            wire = {name: value[-most:] if isinstance(value, str) else value for name, value in wire.items()}
            encoded = encode_frame(Error(number, wire))
        return encoded


_WINDOWS_OF_ANSWERS = 4
"""How many times the window the long answers may be that wait, or are on their way, before no call begins."""
_UNCOUNTED_BYTES = 4096
"""How short a call is whose bytes are not counted among what all links hold: its task takes more."""
_NOTHING: dict[str, Any] = {}
_DEPTH_INSIDE = [depth_inside(depth) for depth in range(PACKETS + 1)]
_TEXTS_PER_MESSAGE = 32  # eight of four bytes for each character


def _is_packet(frame: CallFrame) -> bool:
    """Whether it is a packet of the protocols: those wait for nothing, not even for room for their short answer."""
    return (
        frame.depth == PACKETS
        and frame.method == PACKET.method
        and frame.service == PACKET.service
        and frame.gid == PACKET.gid
    )


def _ignore(_: Transfer) -> None:
    """The transfer of an answer is of no further interest."""


def _ignore_release(direction: Direction, size: int) -> None: ...


def _ignore_idle() -> None: ...

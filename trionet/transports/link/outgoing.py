"""This node's calls to the peer of one link.

Invariants: each call ends with one answer, and its slot at the peer is taken until then, even when its caller has
long gone; when a caller is cancelled the peer is told, and the caller goes on when the peer has confirmed that the
handler has finished, or after a short grace, and then the call is reported as an orphan.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import (
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    NodeUnreachable,
    TrionetError,
    error_from_wire,
)
from trionet.events import OrphanedCall
from trionet.identity import NodeAddress
from trionet.transports.base import time_left_s

from .flow import RoundTrip
from .frames import (
    CALLS,
    CHUNK_BYTES,
    CallFrame,
    Cancel,
    Cancelled,
    Credit,
    End,
    Error,
    FrameError,
    Hello,
    Item,
    Reply,
    encode_frame,
)
from .outbox import Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.transports.base import Request

    from .outbox import Outbox

__all__ = ["Answer", "LinkRetired", "OutgoingCalls"]

_STREAM_CREDIT_BYTES: Final = 256 * 1024
_PASSES_TO_READ: Final = 3
_LATE_S: Final = 0.01

Answer = Reply | Error | Cancelled | End | TrionetError


_current_task = trio.lowlevel.current_task
_wait_task_rescheduled = trio.lowlevel.wait_task_rescheduled
_reschedule = trio.lowlevel.reschedule


class LinkRetired(Exception):
    """No further calls can be made on this link; nothing was sent."""


class _Exchange(msgspec.Struct, eq=False):
    """A call, and its answer."""

    begun_at: int = 0
    is_long: bool = False
    answer: Answer | None = None
    task: trio.lowlevel.Task | None = None
    transfer: Transfer | None = None

    def set_transfer(self, transfer: Transfer) -> None:
        self.transfer = transfer

    def is_unsent(self, sent_bytes: int) -> bool:
        """Whether none of the call can have reached the peer, with `sent_bytes` handed to the operating system."""
        if self.is_long:
            return self.transfer is None or self.transfer.offset == 0
        return self.begun_at >= sent_bytes

    @property
    def is_incomplete(self) -> bool:
        """Whether the peer can't have the whole call, and never will when it is abandoned now."""
        return self.is_long and (self.transfer is None or not self.transfer.written.is_set())

    def wake(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def sleep(self) -> None:
        """Sleep until something has come."""
        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self.forget)

    def forget(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self) -> None:
        """Wait until the answer is there."""
        while self.answer is None:
            await self.sleep()

    def take(self, item: Item, size: int) -> None:
        raise FrameError(f"an item of {size} bytes in reply to {item.in_reply_to}, which is no stream")


class _StreamExchange(_Exchange, eq=False):
    """A stream that is being read."""

    items: deque[tuple[Any, int]] = msgspec.field(default_factory=deque)
    consumed_bytes: int = 0
    credit_bytes: int = _STREAM_CREDIT_BYTES

    def take(self, item: Item, size: int) -> None:
        if self.credit_bytes <= 0:
            raise FrameError("more items than it was allowed")
        self.credit_bytes -= size
        self.items.append((item.value, size))
        self.wake()


class OutgoingCalls:
    """Makes calls on one link.

    Attributes:
        takes_calls: whether further ones can be made.
    """

    def __init__(
        self,
        outbox: Outbox,
        peer: Hello,
        round_trip: RoundTrip,
        name: str,
        on_orphan: Callable[[OrphanedCall], None],
        on_idle: Callable[[], None],
        on_sent: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._round_trip = round_trip
        self._name = name
        self._on_orphan = on_orphan
        self._on_idle = on_idle
        self._on_sent = on_sent
        self._sending = 0
        self._max_bytes = min(peer.max_message_bytes, peer.window_bytes)
        self._free_slots = peer.max_calls
        self._slot_waiters = trio.lowlevel.ParkingLot()
        self._slots_awaited = 0
        self._exchanges: dict[int, _Exchange] = {}
        self._last_number = 0
        self.takes_calls: bool = True
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._exchanges)

    # ---- from the link

    @property
    def is_sending(self) -> bool:
        """Whether a long call has not gone out to its end."""
        return self._sending > 0

    def retire(self) -> None:
        """Take no more calls."""
        self.takes_calls = False
        self._slot_waiters.unpark_all()

    def close(self, reason: str) -> None:
        """The link is gone: end every call with an error."""
        self.retire()
        self._is_closed = True
        for exchange in self._exchanges.values():
            exchange.answer = self._lost(exchange, reason)
            exchange.wake()
        self._exchanges.clear()

    def _lost(self, exchange: _Exchange, reason: str) -> TrionetError:
        if exchange.is_unsent(self._outbox.sent_bytes):
            return NodeUnreachable(f"the link with {self._name} was lost before the call was sent: {reason}")
        return ConnectionLost(f"the link with {self._name} was lost after the call was sent: {reason}")

    def take_answer(self, answer: Reply | Error | Cancelled | End) -> None:
        """An answer came."""
        exchange = self._end(answer.in_reply_to)
        if exchange is not None:
            exchange.answer = answer
            if exchange.task is not None:
                _reschedule(exchange.task)
                exchange.task = None

    def take_item(self, item: Item, size: int) -> None:
        """An item of a stream came."""
        exchange = self._exchanges.get(item.in_reply_to)
        if exchange is not None:
            exchange.take(item, size)

    # ---- from callers

    async def call(self, request: Request) -> Any:
        """Make a call and return its value; see `Transport.call`.

        Raises:
            LinkRetired: the link takes no more calls; nothing was sent.
        """
        # The way of most calls: as few steps as possible.
        if not (self.takes_calls and self._free_slots and self._outbox.has_room):
            await self._admitted()
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired()
        exchange = _Exchange(self._outbox.put_bytes)
        number, encoded = self._begin(request, exchange, timeout_s, None)
        try:
            if len(encoded) > CHUNK_BYTES:
                await self._send_long(encoded, exchange)
            elif len(self._exchanges) == 1:
                self._outbox.put_alone(encoded)
            else:
                self._outbox.put_encoded(encoded)
            while exchange.answer is None:
                exchange.task = _current_task()
                await _wait_task_rescheduled(exchange.forget)
        except trio.Cancelled:
            await self._cancel(number, exchange, request)
            raise
        return _value_of(exchange.answer)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream; gives an async iterator over its items. Leaving the block ends it at the other side, too.

        Raises:
            LinkRetired: the link takes no more calls; nothing was sent.
        """
        await self._admitted()
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired()
        exchange = _StreamExchange(self._outbox.put_bytes)
        number, encoded = self._begin(request, exchange, timeout_s, _STREAM_CREDIT_BYTES)
        try:
            if len(encoded) <= CHUNK_BYTES:
                self._outbox.put_encoded(encoded)
            else:
                await self._send_long(encoded, exchange)
            async with aclosing(self._items(number, exchange)) as items:
                yield items
        finally:
            if exchange.answer is None:
                await self._cancel(number, exchange, request)

    async def _items(self, number: int, exchange: _StreamExchange) -> AsyncGenerator[Any]:
        while True:
            await trio.lowlevel.checkpoint()
            while not exchange.items and exchange.answer is None:
                await exchange.sleep()
            if not exchange.items:
                break
            plain, size = exchange.items.popleft()
            exchange.consumed_bytes += size
            if exchange.consumed_bytes > _STREAM_CREDIT_BYTES // 2 and exchange.answer is None:
                self._outbox.put(Credit(number, exchange.consumed_bytes))
                exchange.credit_bytes += exchange.consumed_bytes
                exchange.consumed_bytes = 0
            yield _restored(plain)
        if not isinstance(exchange.answer, End):
            _value_of(exchange.answer)

    async def _admitted(self) -> None:
        """Wait for a free slot, and for room in the outbox."""
        try:
            while self.takes_calls and not (self._free_slots and self._outbox.has_room):
                if self._free_slots:
                    await self._outbox.room()
                    continue
                self._slots_awaited += 1
                try:
                    await self._slot_waiters.park()
                finally:
                    self._slots_awaited -= 1
        except trio.Cancelled:
            self._pass_on()
            raise

    async def _expired(self) -> float | None:
        """Let the caller of an expired call find out that it is cancelled; an expired call is never started."""
        while True:
            self._pass_on()
            await trio.lowlevel.checkpoint()
            await self._admitted()
            if (timeout_s := time_left_s()) != 0:
                return timeout_s

    def _pass_on(self) -> None:
        """Let another have the slot that this caller may have been woken for."""
        if self._free_slots and self._slot_waiters:
            self._slot_waiters.unpark()

    def _begin(
        self, request: Request, exchange: _Exchange, timeout_s: float | None, credit: int | None
    ) -> tuple[int, bytes]:
        """Take a slot; return the call's number and its frame.

        Raises:
            LinkRetired: the link takes no more calls.
            MessageTooLarge: the peer would not take it.
        """
        if not self.takes_calls:
            raise LinkRetired
        self._last_number = number = self._last_number + 1
        encoded = encode_frame(
            CallFrame(
                number,
                request.gid,
                request.service,
                request.method,
                msgspec.Raw(request.args),
                None if request.kwargs is None else msgspec.Raw(request.kwargs),
                request.id,
                timeout_s,
                credit,
            )
        )
        if len(encoded) > self._max_bytes:
            self._pass_on()
            raise MessageTooLarge(f"a request of {len(encoded):,} bytes is over the limit of {self._name}")
        self._free_slots -= 1
        self._exchanges[number] = exchange
        return number, encoded

    async def _send_long(self, encoded: bytes, exchange: _Exchange) -> None:
        exchange.is_long = True
        self._sending += 1
        try:
            await self._outbox.send_long(encoded, CALLS, exchange.set_transfer)
        finally:
            self._sending -= 1
            self._on_sent()

    def _end(self, number: int) -> _Exchange | None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            self._free_slots += 1
            if self._slots_awaited:
                self._slot_waiters.unpark()
            if not self._exchanges:
                self._on_idle()
        return exchange

    async def _cancel(self, number: int, exchange: _Exchange, request: Request) -> None:
        """Cancel a call, and wait for the confirmation that its handler has finished.

        When this process itself was kept from running, the confirmation may lie unread in the socket: the time is
        extended by what we were late.
        """
        if number not in self._exchanges:
            return
        if exchange.is_incomplete:
            self._end(number)  # abandoned on its way: it will not run
            return
        self._outbox.put(Cancel(number))
        begun = trio.current_time()
        until = begun + self._round_trip.grace_s()
        with trio.CancelScope(shield=True):
            while exchange.answer is None:
                with trio.move_on_at(until):
                    await exchange.wait()
                for _ in range(_PASSES_TO_READ):
                    await trio.lowlevel.checkpoint()
                now = trio.current_time()
                if now - until < _LATE_S or now > begun + RoundTrip.GRACE_MAX_S:
                    break
                until = now + (now - until)
        if exchange.answer is None:
            orphan = OrphanedCall(
                node=NodeAddress.of(self._name),
                gid=request.gid,
                service=request.service,
                method=request.method,
                id=request.id,
            )
            self._on_orphan(orphan)
            if request.orphans is not None:
                request.orphans.append(orphan)


def _value_of(answer: Answer | None) -> Any:
    """Return the value that `answer` carries, or raise its error."""
    if type(answer) is Reply:
        return _restored(answer.value)
    match answer:
        case Error():
            raise error_from_wire(answer.error)
        case TrionetError():
            raise answer
        case _:
            raise ConnectionLost(f"the call was ended by {type(answer).__name__}")


def _restored(plain: Any) -> Any:
    """Return the value; what can't be read is no `DefiniteError`, because the handler has run."""
    try:
        return MESSAGEPACK.restore(plain)
    except DecodeError as exc:
        raise ConnectionLost(f"the answer can't be read here: {exc}") from exc

"""This node's calls to the peer of one link.

Invariants: each call ends with one answer, and its slot at the peer is taken until then, even when its caller has
long gone; a call waits for slots and windows of its own depth alone (see `trionet.nesting`); when a caller is cancelled
the peer is told, and the caller goes on when the peer has confirmed that the handler has finished, or after a short
grace, and then the call is reported as an orphan.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
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
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.events import OrphanedCall
from trionet.identity import NodeAddress
from trionet.nesting import DEEPEST, PACKETS
from trionet.transports.base import answered_error, time_left_s

from .flow import RoundTrip
from .frames import (
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
    direction_of_calls,
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

    depth: int = 0
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
        self._max_calls = peer.max_calls
        self._free_slots = [peer.max_calls] * PACKETS + [sys.maxsize]  # by depth; a packet takes none
        self._slot_waiters: defaultdict[int, trio.lowlevel.ParkingLot] = defaultdict(trio.lowlevel.ParkingLot)
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
        for waiters in self._slot_waiters.values():
            waiters.unpark_all()

    def close(self, reason: str) -> None:
        """The link is gone: end every call with an error."""
        self.retire()
        self._is_closed = True
        for exchange in self._exchanges.values():
            exchange.answer = self._lost(exchange, reason)
            exchange.wake()
        self._exchanges.clear()
        self._on_idle = self._on_sent = _nothing  # the link's; it is over

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
            TemporarilyUnavailable: it is nested too deeply to wait for its turn.
        """
        # The way of most calls: as few steps as possible.
        depth = request.depth
        if not (self.takes_calls and self._free_slots[depth] and self._outbox.has_room):
            await self._admitted(depth)
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired(depth)
        exchange = _Exchange(depth, self._outbox.put_bytes)
        number, encoded = self._begin(request, exchange, timeout_s, None)
        try:
            if len(encoded) > CHUNK_BYTES:
                await self._send_long(number, encoded, exchange)
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
            TemporarilyUnavailable: it is nested too deeply to wait for its turn.
        """
        depth = request.depth
        await self._admitted(depth)
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired(depth)
        exchange = _StreamExchange(depth, self._outbox.put_bytes)
        number, encoded = self._begin(request, exchange, timeout_s, _STREAM_CREDIT_BYTES)
        try:
            if len(encoded) <= CHUNK_BYTES:
                self._outbox.put_encoded(encoded)
            else:
                await self._send_long(number, encoded, exchange)
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
        if type(exchange.answer) is not End:
            raise _error_of(exchange.answer)

    async def _admitted(self, depth: int) -> None:
        """Wait for a free slot, and for room in the outbox.

        Raises:
            TemporarilyUnavailable: at the deepest, where calls that wait could wait for each other.
        """
        try:
            while self.takes_calls and not (self._free_slots[depth] and self._outbox.has_room):
                if self._free_slots[depth]:
                    await self._outbox.room()
                    continue
                if depth == DEEPEST:
                    raise self._refusal(f"{self._max_calls} are in progress, its max_calls_per_peer")
                self._slots_awaited += 1
                try:
                    await self._slot_waiters[depth].park()
                finally:
                    self._slots_awaited -= 1
        except trio.Cancelled:
            self._pass_on(depth)
            raise

    def _refusal(self, reason: str) -> TemporarilyUnavailable:
        return TemporarilyUnavailable(
            f"{self._name} takes no further call that is nested {DEEPEST} deep or deeper: {reason}"
        )

    async def _expired(self, depth: int) -> float | None:
        """Let the caller of an expired call find out that it is cancelled; an expired call is never started."""
        while True:
            self._pass_on(depth)
            await trio.lowlevel.checkpoint()
            await self._admitted(depth)
            if (timeout_s := time_left_s()) != 0:
                return timeout_s

    def _pass_on(self, depth: int) -> None:
        """Let another have the slot that this caller may have been woken for."""
        if self._free_slots[depth] and self._slots_awaited:
            self._slot_waiters[depth].unpark()

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
        depth = exchange.depth
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
                depth,
            )
        )
        if len(encoded) > self._max_bytes:
            self._pass_on(depth)
            raise MessageTooLarge(
                f"a request of {len(encoded):,} bytes is over the limit of {self._name} of {self._max_bytes:,} bytes: "
                f"its max_message_bytes"
            )
        self._free_slots[depth] -= 1
        self._exchanges[number] = exchange
        return number, encoded

    async def _send_long(self, number: int, encoded: bytes, exchange: _Exchange) -> None:
        exchange.is_long = True
        direction = direction_of_calls(exchange.depth)
        if exchange.depth == DEEPEST and not self._outbox.is_window_free(encoded, direction):
            self._end(number)
            raise self._refusal(
                f"{len(encoded):,} bytes more are over what may be in progress, by its max_message_bytes"
            )
        self._sending += 1
        try:
            await self._outbox.send_long(encoded, direction, exchange.set_transfer)
        finally:
            self._sending -= 1
            self._on_sent()

    def _end(self, number: int) -> _Exchange | None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            self._free_slots[exchange.depth] += 1
            if self._slots_awaited:
                self._slot_waiters[exchange.depth].unpark()
            if not self._exchanges:
                self._on_idle()
        return exchange

    async def _cancel(self, number: int, exchange: _Exchange, request: Request) -> None:
        """Cancel a call, and wait for the confirmation that its handler has finished.

        When this process itself was kept from running, the confirmation may lie unread in the socket, or the peer may
        not even have been told: the time is extended by what we were late, up to the longest grace there is.
        """
        if number not in self._exchanges:
            return
        if exchange.is_incomplete:
            self._end(number)  # abandoned on its way: it will not run
            return
        if exchange.depth == PACKETS:
            return  # it is taken on the spot, and nobody waits for what it does
        self._outbox.put(Cancel(number))
        until, left_s = trio.current_time() + self._round_trip.grace_s(), RoundTrip.GRACE_MAX_S
        with trio.CancelScope(shield=True):
            while exchange.answer is None:
                with trio.move_on_at(until):
                    await exchange.wait()
                for _ in range(_PASSES_TO_READ):
                    await trio.lowlevel.checkpoint()
                now = trio.current_time()
                more_s = min(now - until, left_s)
                if more_s < _LATE_S:
                    break
                until, left_s = now + more_s, left_s - more_s
        if exchange.answer is None:
            node = NodeAddress.of(self._name)
            self._on_orphan(
                OrphanedCall(node=node, gid=request.gid, service=request.service, method=request.method, id=request.id)
            )


def _value_of(answer: Answer | None) -> Any:
    """Return the value that `answer` carries, or raise its error."""
    if type(answer) is Reply:
        return _restored(answer.value)
    raise _error_of(answer)


def _error_of(answer: Answer | None) -> TrionetError:
    """Return the error that ended a call or a stream."""
    match answer:
        case Error():
            return answered_error(answer.error)
        case TrionetError():
            return type(answer)(answer.text)  # not itself: the traceback has frames that know the exchange
        case _:
            return ConnectionLost(f"the call was ended by {type(answer).__name__}, which is no answer")


def _nothing() -> None: ...


def _restored(plain: Any) -> Any:
    """Return the value; what can't be read is no `DefiniteError`, because the handler has run."""
    try:
        return MESSAGEPACK.restore(plain)
    except DecodeError as exc:
        raise ConnectionLost(f"the answer can't be read here: {exc}") from exc

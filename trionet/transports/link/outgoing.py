"""The calls of this node's tasks on one link.

Invariant: a cancelled caller sends a cancel, and waits until the peer confirms the end of the handler. After a short
grace without confirmation it continues, and the call is reported as an orphan.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec import Raw

from trionet.errors import TrionetError
from trionet.events import OrphanedCall
from trionet.identity import NodeAddress
from trionet.message import RELAYING
from trionet.protocols.link.calls import STREAM_CREDIT_BYTES, OutgoingCall
from trionet.protocols.link.frames import CallFrame, End, OwnCallFrame
from trionet.protocols.link.outgoing import LinkResting, LinkRetired
from trionet.protocols.link.round_trip import RoundTrip
from trionet.transports.base import Request, Sending, time_left_s
from trionet.trio_internals import time_now
from trionet.trio_tasks import WOKEN, wait_woken

from .callers import Call, SentCall, Stream, changed, error_of, orphaned_by, restored, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.protocols.link.core import LinkCore

__all__ = ["LinkClient"]

_PASSES_TO_READ: Final = 3
_LATE_S: Final = 0.01
_RELAY: Final = RELAYING["relay"]

_current_task = trio.lowlevel.current_task
_reschedule = trio.lowlevel.reschedule


class LinkClient:
    """Makes calls on one link.

    Attributes:
        waiting: the number of calls that wait for one of the peer's slots.
    """

    __slots__ = (
        "_calls",
        "_core",
        "_name",
        "_on_orphan",
        "_outbox",
        "_place_waiters",
        "_places",
        "_push",
        "_queued",
        "_room_waiters",
        "waiting",
    )

    def __init__(
        self, core: LinkCore, push: Callable[[], None], name: str, on_orphan: Callable[[OrphanedCall], None]
    ) -> None:
        self._core = core
        self._calls = core.outgoing
        self._outbox = core.outbox
        self._places = core.outgoing.free_places
        self._push = push
        self._name = name
        self._on_orphan = on_orphan
        self._place_waiters: defaultdict[int, trio.lowlevel.ParkingLot] = defaultdict(trio.lowlevel.ParkingLot)
        self._room_waiters = trio.lowlevel.ParkingLot()
        self.waiting: int = 0
        self._queued: dict[trio.lowlevel.Task, Request] = {}

    # ---- from the link

    def handle(self, call: OutgoingCall) -> None:
        """Handle an answer or an item."""
        assert isinstance(call, (Call, Stream))
        task, call.task = call.task, None
        if task is not None and task.custom_sleep_data is call:  # else it has been cancelled
            _reschedule(task, WOKEN)
        elif type(call) is SentCall and not call.is_cancelled:
            call.handle(call)
        if self.waiting:
            self._pass_on(call.depth)

    def handle_room(self) -> None:
        """Handle new room for calls."""
        self._room_waiters.unpark_all()

    def retire(self) -> None:
        """Make no more calls."""
        for waiters in (*self._place_waiters.values(), self._room_waiters):
            waiters.unpark_all()

    def close(self, lost: list[OutgoingCall]) -> None:
        """Handle the end of the link: `lost` calls have ended."""
        self.retire()
        self._push = _nothing  # the link has ended
        for call in lost:
            self.handle(call)

    @property
    def are_waiting(self) -> bool:
        """Whether callers wait for room, or for a sign of life."""
        return bool(self._room_waiters)

    # ---- from callers

    async def call(self, request: Request) -> Any:
        """Make a call and return its value; see `Transport.call`.

        Raises:
            LinkRetired: no more calls can be made on the link; nothing was sent.
            TemporarilyUnavailable: it is nested too deeply to wait for its turn.
        """
        # The hot path: as few steps as possible.
        depth = request.depth
        call = Call(depth)
        call.request = request
        if not (self._places[depth] and self._outbox.has_room):
            await self._admitted(depth, request)
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired(depth, request)
        try:
            self._calls.call(call, _frame(self._calls.next_number, request, timeout_s, None), request.blobs)
        except LinkResting:
            await self._woken(request)
            return await self.call(request)
        except TrionetError:
            self._pass_on(depth)
            raise
        self._push()
        try:
            while call.answer is None:
                call.task = task = _current_task()
                task.custom_sleep_data = call
                await wait_woken()
        except trio.Cancelled:
            call.task = None
            await self.cancel(call, request)
            raise
        return value_of(call.answer)

    def send_at_once(
        self, request: Request, handle: Callable[[SentCall], None], begin: Callable[[], None] | None
    ) -> SentCall | None:
        """Send a call for which nothing has to be waited; ``handle(call)`` is called when it is answered.

        ``begin()``, if given, is called just before it is sent.

        Returns:
            The call; None if it was not sent: `call` waits for its turn, or says why it can't be sent.
        """
        depth = request.depth
        timeout_s = time_left_s()
        if request.blobs or timeout_s == 0 or not (self._places[depth] and self._outbox.has_room):
            return None
        call = SentCall(depth, cancel=self.cancel, handle=handle, sender=_current_task())
        call.request = request
        if not self._core.wake(time_now()):
            return None
        try:
            self._calls.call(call, _frame(self._calls.next_number, request, timeout_s, None))
        except (LinkRetired, TrionetError):
            return None
        if begin is not None:
            begin()
        self._push()
        return call

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream; yields an async iterator over its items. The end of the block also ends the handler.

        Raises:
            LinkRetired: no more calls can be made on the link; nothing was sent.
            TemporarilyUnavailable: it is nested too deeply to wait for its turn.
        """
        stream = Stream(request.depth)
        await self._start(stream, request)
        try:
            async with aclosing(self._items(stream)) as items:
                yield items
        finally:
            if stream.answer is None:
                await self.cancel(stream, request)

    async def _start(self, stream: Stream, request: Request) -> None:
        depth = stream.depth
        stream.request = request
        await self._admitted(depth, request)
        timeout_s = time_left_s()
        if timeout_s == 0:
            timeout_s = await self._expired(depth, request)
        try:
            frame = _frame(self._calls.next_number, request, timeout_s, STREAM_CREDIT_BYTES)
            self._calls.call(stream, frame, request.blobs)
        except LinkResting:
            await self._woken(request)
            await self._start(stream, request)
        except TrionetError:
            self._pass_on(depth)
            raise
        self._push()

    async def _items(self, stream: Stream) -> AsyncGenerator[Any]:
        while True:
            await trio.lowlevel.checkpoint()
            while not stream.items and stream.answer is None:
                await changed(stream)
            if not stream.items:
                break
            plain, size = stream.items.popleft()
            self._calls.consumed(stream, size)
            self._push()
            yield restored(plain)
        if type(stream.answer) is not End:
            raise error_of(stream.answer)

    def in_progress(self, node: NodeAddress) -> list[Sending]:
        """Return the calls and streams to `node`, whose link this is, that have not ended."""
        found = [Sending(node, request, "queued", task) for task, request in self._queued.items()]
        for call in self._calls.in_progress.values():
            assert isinstance(call, Call | Stream)
            if call.request is not None:
                task = call.task
                if type(call) is SentCall and not (task or call.is_cancelled):
                    task = call.sender
                found.append(Sending(node, call.request, "cancelled" if call.is_cancelled else "sent", task))
        return found

    # ---- waiting for a turn

    async def _admitted(self, depth: int, request: Request) -> None:
        """Wait for one of the peer's slots, and for room in the outbox.

        Raises:
            TemporarilyUnavailable: at the deepest level, where waiting calls could deadlock.
        """
        task = _current_task()
        try:
            while self._calls.is_open and not (self._places[depth] and self._outbox.has_room):
                self._queued[task] = request
                if self._places[depth]:
                    await self._room_waiters.park()
                    continue
                self._calls.check_may_wait(depth)
                self.waiting += 1
                try:
                    await self._place_waiters[depth].park()
                finally:
                    self.waiting -= 1
        except trio.Cancelled:
            self._pass_on(depth)
            raise
        finally:
            self._queued.pop(task, None)

    async def _woken(self, request: Request) -> None:
        """Wait until the resting link is awake, or retired.

        A peer that was silent for long must answer a ping first. If it has gone, no call is lost: nothing was sent.
        """
        task = _current_task()
        self._queued[task] = request
        try:
            while self._calls.is_open and not self._core.wake(time_now()):
                self._push()
                await self._room_waiters.park()
        finally:
            del self._queued[task]

    async def _expired(self, depth: int, request: Request) -> float | None:
        """Raise the cancellation of an expired call, which is never started; return the time that is left otherwise."""
        while True:
            self._pass_on(depth)
            await trio.lowlevel.checkpoint()
            await self._admitted(depth, request)
            if (timeout_s := time_left_s()) != 0:
                return timeout_s

    def _pass_on(self, depth: int) -> None:
        """Wake another caller, if there is a free slot."""
        if self.waiting and self._places[depth]:
            self._place_waiters[depth].unpark()

    # ---- cancelling

    async def cancel(self, call: Call | Stream, request: Request) -> None:
        """Cancel a call, and wait for the confirmation that its handler has finished.

        After a stall of this process, the confirmation may be unread, or the cancel unsent: a stall extends the grace,
        up to the longest grace.
        """
        call.is_cancelled = True
        is_awaited = self._core.cancel(call)
        self._push()
        self._pass_on(call.depth)
        if not is_awaited:
            return
        is_relayed = request.service == _RELAY.service and request.method == _RELAY.method
        grace_s = RoundTrip.GRACE_MAX_S if is_relayed else self._core.round_trip.grace_s()  # the peer cancels others
        until, left_s = trio.current_time() + grace_s, RoundTrip.GRACE_MAX_S
        while call.answer is None:
            with trio.CancelScope(shield=True, deadline=until):
                while call.answer is None:
                    await changed(call)
            if call.answer is not None:
                break
            with trio.CancelScope(shield=True):
                for _ in range(_PASSES_TO_READ):
                    await trio.lowlevel.checkpoint()
            now = trio.current_time()
            more_s = min(now - until, left_s)
            if more_s < _LATE_S:
                break
            until, left_s = now + more_s, left_s - more_s
        if call.answer is None:
            orphaned = [NodeAddress.of(self._name)]
        else:
            orphaned = orphaned_by(call.answer) if is_relayed else []
        for node in orphaned:
            self._on_orphan(
                OrphanedCall(node=node, gid=request.gid, service=request.service, method=request.method, id=request.id)
            )


def _frame(number: int, request: Request, timeout_s: float | None, credit: int | None) -> OwnCallFrame:
    kwargs = request.kwargs
    if request.principal is None and not (request.parent or request.trace):
        return OwnCallFrame(
            number,
            request.gid,
            request.service,
            request.method,
            Raw(request.args),
            None if kwargs is None else Raw(kwargs),
            request.id,
            timeout_s,
            credit,
            request.depth,
        )
    return CallFrame(
        number,
        request.gid,
        request.service,
        request.method,
        Raw(request.args),
        None if kwargs is None else Raw(kwargs),
        request.id,
        timeout_s,
        credit,
        request.depth,
        "" if request.principal is None else str(request.principal),
        request.parent,
        request.trace,
    )


def _nothing() -> None: ...

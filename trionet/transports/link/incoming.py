"""The handlers of the peer's calls on one link.

A plain function runs synchronously, unless its answer has to wait; all other handlers run in tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trionet.blobs import HoldsBlobs
from trionet.codec import MESSAGEPACK
from trionet.errors import (
    MalformedRequest,
    MessageTooLarge,
    RemoteError,
    TemporarilyUnavailable,
    TrionetError,
    error_to_wire,
)
from trionet.message import PACKET, Call, valid_parent
from trionet.nesting import PACKETS, depth_inside
from trionet.prepared_call import HandlerCancelled, is_awaitable
from trionet.principal import Principal
from trionet.protocols.link.chunks import encode_long
from trionet.protocols.link.frames import CHUNK_BYTES, CallFrame, Cancelled, End, Error, Item, Reply, encode_frame
from trionet.trace_headers import valid_trace
from trionet.trio_tasks import is_as_entered

from .workers import Worker, Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.prepared_call import PreparedCall
    from trionet.protocols.link.calls import IncomingCall
    from trionet.protocols.link.chunks import LongFrame, Transfer
    from trionet.protocols.link.core import LinkCore
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Handler

__all__ = ["LinkServer"]

_NOTHING: dict[str, Any] = {}
_DEPTH_INSIDE = [depth_inside(depth) for depth in range(PACKETS + 1)]
_TEXTS_PER_MESSAGE = 32  # eight texts, with up to four bytes for each character


class _Running:
    """The task of a stream."""

    __slots__ = ("credit_came", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.credit_came: trio.Event | None = None


class LinkServer:
    """Runs the handlers of one link's calls."""

    __slots__ = (
        "_caller",
        "_calls",
        "_core",
        "_handler",
        "_keys",
        "_outbox",
        "_principal",
        "_push",
        "_room_waiters",
        "_start_soon",
        "_workers",
    )

    def __init__(
        self,
        core: LinkCore,
        handler: Handler,
        keys: LiveKeys,
        principal: Principal | None,
        start_soon: Callable[..., None],
        push: Callable[[], None],
    ) -> None:
        """Run calls in the name of `principal`: the peer, if it has proven that it is a member."""
        self._core = core
        self._calls = core.incoming
        self._outbox = core.outbox
        self._caller = core.peer.address
        self._principal = principal
        self._handler = handler
        self._keys = keys
        self._start_soon = start_soon
        self._workers = Workers(start_soon)
        self._push = push
        self._room_waiters = trio.lowlevel.ParkingLot()

    # ---- from the link

    def serve(self, call: IncomingCall) -> None:
        """Answer a call, or start a task for it."""
        frame = call.frame
        awaitable: Awaitable[Any] | None = None
        try:
            prepared = self._prepare(frame)
            if frame.depth == PACKETS and self._calls.is_full_at(PACKETS) and not _is_packet(frame):
                raise TemporarilyUnavailable("too many questions of this kind are being answered: ask again later")
            has_room = self._outbox.has_room and not self._calls.is_full
            if prepared.method.is_sync and (has_room or _is_packet(frame)):
                value = prepared.begin()
                if not is_awaitable(value):
                    self._calls.answer(call, self._encoded_reply(frame.msg_id, value))
                    return
                awaitable = value
        except TrionetError as exc:
            self._calls.answer(call, self._encoded_error(frame.msg_id, exc))
            return
        prepared.started_at = self._core.liveness.heard_at
        if prepared.method.is_stream:
            call.handler = running = _Running()
            self._start_soon(self._run_stream, call, running, prepared, name=frame.method)
        else:
            if awaitable is None and not has_room:
                awaitable = self._begun_later(prepared)
            call.handler = self._workers.run(self._run_calls, (call, prepared, awaitable), frame.method)
        if self._core.is_closed:  # by the handler
            call.handler.scope.cancel()
        else:
            self._calls.accept(call)

    def cancel(self, call: IncomingCall) -> None:
        """Cancel a call's handler."""
        call.handler.scope.cancel()

    def handle_credit(self, call: IncomingCall) -> None:
        """Handle new credit of a stream."""
        if call.handler.credit_came is not None:
            call.handler.credit_came.set()

    def handle_sent(self, transfer: Transfer) -> None:
        """Handle the end of a long item: it was sent or dropped."""
        if transfer.waiter is not None:
            transfer.waiter.set()

    def handle_room(self) -> None:
        """Handle new room for answers."""
        self._room_waiters.unpark_all()

    def rest(self) -> None:
        """Handle that the link rests: hold no idle tasks."""
        self._workers.rest()

    def close(self, running: list[IncomingCall], transfers: list[Transfer]) -> None:
        """Handle the end of the link: cancel its running calls, and release the waiting transfers."""
        self._workers.close()
        self._push = _nothing  # the link has ended
        for call in running:
            if call.handler is not None:
                call.handler.scope.cancel()
        for transfer in transfers:
            self.handle_sent(transfer)
        self.handle_room()

    # ---- handlers

    def _prepare(self, frame: CallFrame) -> PreparedCall:
        args = MESSAGEPACK.restore(frame.args)
        if type(args) is not list:
            raise MalformedRequest(f"arguments are a list, not a {type(args).__name__}")
        principal, forwarder = self._principal, None
        if frame.principal and principal is not None:  # only members are believed
            principal, forwarder = Principal.parse(frame.principal), principal
        call = Call(
            frame.gid,
            frame.service,
            frame.method,
            args,
            _NOTHING if frame.kwargs is None else MESSAGEPACK.restore(frame.kwargs),
            frame.id,
            self._caller,
            frame.timeout_s,
            _DEPTH_INSIDE[frame.depth],
            False,
            principal,
            forwarder,
            self._core.key_id,
            "",
            frame.parent and valid_parent(frame.parent),
            frame.trace and valid_trace(frame.trace),
        )
        prepared = self._handler.prepare(call)
        if prepared.method.is_stream != (frame.credit is not None):
            kind = "is a stream: use comm.stream" if prepared.method.is_stream else "is no stream: use comm.send"
            raise MalformedRequest(f"{frame.service}/{frame.method} {kind}")
        return prepared

    @property
    def _has_room(self) -> bool:
        """Whether there is room for an answer."""
        return self._outbox.has_room and not self._calls.is_full

    async def _room(self) -> None:
        """Wait for room for an answer."""
        while not (self._has_room or self._core.is_closed):
            await self._room_waiters.park()
        if self._core.is_closed:
            await trio.lowlevel.checkpoint_if_cancelled()  # the caller is gone

    async def _begun_later(self, prepared: PreparedCall) -> Any:
        await self._room()
        value = prepared.begin()
        return await value if is_awaitable(value) else value

    async def _run_calls(self, worker: Worker) -> None:
        """Run one call after the other, until one is cancelled, or leaves something behind in its task."""
        try:
            await self._answer_last(worker, await self._end_of_scope(worker))
        except BaseException:
            if worker.job is not None:
                worker.job[1].abandon()
            raise
        finally:
            worker.job = None  # breaks a reference cycle

    async def _end_of_scope(self, worker: Worker) -> Exception | None:
        """Run calls in the scope of a task; return the error of the last one, unless it has another answer."""
        try:
            with worker.scope:
                while await self._run_call(worker) and await worker.next_job():
                    pass
        except RuntimeError as exc:  # Trio's: a handler has left scopes open
            return RemoteError.from_exception(exc)
        cut = worker.job if worker.scope.cancelled_caught else None
        return None if cut is None else cut[1].cut_short()

    async def _answer_last(self, worker: Worker, error: Exception | None) -> None:
        """Answer the last call of a task, if it has not been answered."""
        if worker.job is not None:
            call = worker.job[0]
            await self._answer(call, worker.answer if error is None else self._encoded_end(call.frame.msg_id, error))

    async def _run_call(self, worker: Worker) -> bool:
        """Run a call, and answer it; return False without that, if the worker must leave its scope."""
        assert worker.job is not None
        call, prepared, awaitable = worker.job
        number = call.frame.msg_id
        try:
            value = await prepared.run(worker.scope, awaitable)
            if not self._has_room:  # so that few encoded answers wait
                await self._room()
            worker.answer = self._encoded_reply(number, value)
        except TrionetError as exc:
            worker.answer = self._encoded_error(number, exc)
        if not is_as_entered(worker.scope):
            return False
        await self._answer(call, worker.answer)
        return True

    async def _run_stream(self, call: IncomingCall, running: _Running, prepared: PreparedCall) -> None:
        number = call.frame.msg_id
        try:
            async with prepared.stream(running.scope) as items:
                async for item in items:
                    await self._send_item(call, running, item)
            encoded = encode_frame(End(number))
        except (HandlerCancelled, TrionetError) as exc:
            encoded = self._encoded_end(number, exc)
        await self._answer(call, encoded)

    async def _send_item(self, call: IncomingCall, running: _Running, item: Any) -> None:
        while call.credit_bytes <= 0:
            running.credit_came = trio.Event()
            await running.credit_came.wait()
        await self._room()
        try:
            encoded = self._encoded(Item(call.frame.msg_id, MESSAGEPACK.lower_apart(item)), item)
        except TrionetError as exc:
            raise RemoteError.from_exception(exc) from exc  # the handler has run
        transfer = self._calls.send_item(call, encoded)
        if transfer is None:
            self._push()
            await trio.lowlevel.checkpoint()
            return
        transfer.waiter = trio.Event()  # before the push, which may send it completely
        self._push()
        try:
            await transfer.waiter.wait()
        finally:
            if not transfer.is_over:
                self._outbox.abandon(transfer)
                self._push()

    async def _answer(self, call: IncomingCall, encoded: bytes | LongFrame) -> None:
        if not self._outbox.has_room:  # for an error
            await self._room()
        if call.is_running:  # else the link has ended
            self._calls.answer(call, encoded)
            self._push()

    # ---- encoding

    def _encoded_reply(self, number: int, value: Any) -> bytes | LongFrame:
        try:
            return self._encoded(Reply(number, MESSAGEPACK.lower_apart(value)), value)
        except TrionetError as exc:
            return self._encoded_error(number, RemoteError.from_exception(exc))

    def _encoded(self, frame: Reply | Item, value: Any) -> bytes | LongFrame:
        """Encode `frame`, which carries `value`.

        Raises:
            EncodeError: the value can't be encoded.
            MessageTooLarge: the peer would refuse it.
        """
        try:
            try:
                encoded: bytes | LongFrame = encode_frame(frame)
            except HoldsBlobs:
                encoded = encode_long(frame)
        except UnicodeEncodeError:
            MESSAGEPACK.encode(value)  # raises an error with the path of the text
            raise
        if len(encoded) > self._calls.max_answer_bytes:
            raise MessageTooLarge(
                f"a value of {len(encoded):,} bytes is over the limit of {self._calls.max_answer_bytes:,} bytes: "
                f"the smaller max_message_bytes of the two nodes"
            )
        return encoded

    def _encoded_end(self, number: int, error: Exception) -> bytes:
        """Encode the end of a call by an error, or by its cancellation."""
        if isinstance(error, TrionetError):
            return self._encoded_error(number, error)
        return encode_frame(Cancelled(number))

    def _encoded_error(self, number: int, error: TrionetError) -> bytes:
        wire = error_to_wire(error)
        encoded = encode_frame(Error(number, wire))
        if len(encoded) > max(CHUNK_BYTES, self._calls.max_answer_bytes):
            # The peer would refuse it. The ends of its long texts are the most informative.
            most = self._calls.max_answer_bytes // _TEXTS_PER_MESSAGE
            wire = {name: value[-most:] if isinstance(value, str) else value for name, value in wire.items()}
            encoded = encode_frame(Error(number, wire))
        return encoded


def _is_packet(frame: CallFrame) -> bool:
    """Whether the call is a packet of the protocols: its short answer never waits for room."""
    return (
        frame.depth == PACKETS
        and frame.method == PACKET.method
        and frame.service == PACKET.service
        and frame.gid == PACKET.gid
    )


def _nothing() -> None: ...

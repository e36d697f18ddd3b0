"""One HTTP connection: Hypercorn's Trio connection class, with bounds on what a slow or hostile peer can hold.

Invariants: a connection that has waited for its peer too long is closed: for the head of a request, to read 64 KiB of
an answer, or with nothing to do; it says since when it has waited for a request, so that the listener can close it for
a newcomer; an exception in serving it is the listener's to contain.
"""

from __future__ import annotations

import contextlib
import enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeGuard

import h2.errors
import h2.events
import h2.exceptions
import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.tcp_server import TCPServer

from .allowance import within
from .web_errors import own_failure
from .web_framing import StrictReceiveBuffer

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext

__all__ = ["HTTPConnection"]

_LINGER_S = 2.0
_LINGER_READ_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024


class HTTPConnection(TCPServer):
    """One HTTP connection, which tells what it waits for, and can be aborted.

    Attributes:
        idle_since: when it became idle; None while there is a request.
    """

    def __init__(
        self, app: Any, config: Config, context: WorkerContext, state: Any, stream: trio.SocketStream, first: bytes
    ) -> None:
        pushed_back = _PushedBack(stream, first, config.keep_alive_timeout)
        self._protocol: _Protocols | None = None  # until it runs
        super().__init__(app, config, context, state, pushed_back)  # type: ignore[arg-type]  # a stream
        self._socket = stream.socket
        self._reader: trio.lowlevel.Task | None = None
        self._input_ended = trio.Event()
        self._accepted_at = trio.current_time()
        self.idle_since: float | None = self._accepted_at

    @property
    def unfinished_since(self) -> float | None:
        """Since when its peer owes it the first request, or the rest of one; None where it owes none."""
        return self._accepted_at if self._protocol is None else self._protocol.unfinished_since

    async def run(self) -> None:
        """Serve it to its end; then let go of all that knows it."""
        try:
            await super().run()
        finally:
            # They know this connection, and the parts of HTTP/2 and of WebSockets know each other.
            protocol = getattr(self._protocol, "protocol", None)
            for known in (getattr(protocol, "connection", None), protocol, self._protocol):
                if known is not None and hasattr(known, "__dict__"):
                    vars(known).clear()
            self._protocol = self._reader = None
            for name in ("_task_group", "stream"):
                vars(self).pop(name, None)

    @property
    def protocol(self) -> ProtocolWrapper:
        """What is spoken on it."""
        assert self._protocol is not None
        return self._protocol

    @protocol.setter
    def protocol(self, made: ProtocolWrapper) -> None:
        """Take the protocols that Hypercorn has made for this connection, with ours in their place."""
        self._protocol = _Protocols(
            made.app,
            made.config,
            made.context,
            made.task_group,
            made.state,
            made.ssl,
            made.client,
            made.server,
            made.send,
        )

    async def _read_data(self) -> None:
        self._reader = trio.lowlevel.current_task()
        await super()._read_data()
        # The peer has gone. Hypercorn would keep the connection open until it has been idle for long enough.
        self._input_ended.set()
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        # Hypercorn's own would close the connection for what this node stood still for, a request unread on it.
        with contextlib.suppress(trio.TooSlowError):
            await within(self.config.keep_alive_timeout, self.context.terminated.wait)
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, close, or note whether there is a request; see Hypercorn."""
        if isinstance(event, Updated):
            self.idle_since = trio.current_time() if event.idle else None
            if self._input_ended.is_set():
                return
        # This runs in the app's task, which Quart-Trio cancels once the answer is out: the idle timer must start, or
        # the socket close, all the same. Writes are shielded already.
        with trio.CancelScope(shield=not isinstance(event, RawData)):
            await super().protocol_send(event)

    def abort(self) -> None:
        """Close the socket at once."""
        self._socket.close()

    async def _close(self) -> None:
        if self._input_unread():
            with trio.move_on_after(_LINGER_S, shield=True):
                await self.stream.send_eof()
                if self._reader is trio.lowlevel.current_task():
                    await self._discard_input()
                else:
                    await self._input_ended.wait()
        await super()._close()

    def _input_unread(self) -> bool:
        """Whether the peer is in the middle of a request that was answered already (with 413, or 400, say).

        Closing a socket with unread data resets the connection, and the peer may lose the answer with it.
        """
        protocol = getattr(self._protocol, "protocol", None)  # none before it runs
        connection = getattr(protocol, "connection", None)
        return getattr(connection, "their_state", None) in {h11.SEND_BODY, h11.ERROR}

    async def _discard_input(self) -> None:
        try:
            while await self.stream.receive_some(_LINGER_READ_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass


class _Protocols(ProtocolWrapper):
    """What is spoken on a connection: HTTP/1.1, or HTTP/2 once the peer has said so."""

    protocol: _H11Protocol | _H2Protocol

    def __init__(self, *made_of: Any) -> None:
        super().__init__(*made_of)
        self._made_of = made_of
        self.protocol = _H11Protocol(*made_of)
        self._began_at = trio.current_time()
        self._is_handling = False

    @property
    def unfinished_since(self) -> float | None:
        """Since when the peer owes the first request, or the rest of one; None where it owes none."""
        # What has come already may be the rest: while it is handled, the answer is not known.
        return self._began_at if self.protocol.waits_for_request and not self._is_handling else None

    async def handle(self, event: Event) -> None:
        """Handle bytes that have come, or the end; see Hypercorn."""
        if not isinstance(event, RawData):
            await self.protocol.handle(event)
            return
        if not self.protocol.waits_for_request:
            self._began_at = trio.current_time()
        self._is_handling = True
        try:
            await self._handle_data(event)
        finally:
            self._is_handling = False

    async def _handle_data(self, event: RawData) -> None:
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as exc:
            await self._speak_http_2(exc.data)
        except H2CProtocolRequiredError as exc:
            await self._speak_http_2(exc.data, exc.headers, exc.settings)

    async def _speak_http_2(
        self, data: bytes, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        self.protocol = protocol = _H2Protocol(*self._made_of)
        await protocol.initiate(headers, settings)
        if data:
            await protocol.handle(RawData(data))
        # Hypercorn has stopped its idle timer for the preface, which it took for a request.
        await protocol.note_idle()


class _H11Connection(h11.Connection):
    """h11's reader, strict about where requests end, whose errors leave nothing behind."""

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(h11.SERVER, max_head_bytes)
        self._receive_buffer = StrictReceiveBuffer()

    def next_event(self) -> Any:
        """Return what has come; see h11."""
        try:
            return super().next_event()
        except h11.ProtocolError as exc:
            # h11's own frame is in its traceback, and knows it: a cycle, with all that was read.
            raise exc.with_traceback(None) from None


class _Refusing(enum.Enum):
    """Who refuses a WebSocket."""

    HYPERCORN = enum.auto()
    APP = enum.auto()


class _H11Protocol(H11Protocol):
    """HTTP/1.1, whose own failures have a body as all do."""

    def __init__(self, *made_of: Any) -> None:
        super().__init__(*made_of)
        self.connection = _H11Connection(self.config.h11_max_incomplete_size)
        self._refused_by: _Refusing | None = None
        self._skips_end = False

    @property
    def waits_for_request(self) -> bool:
        """Whether the peer owes the first request, or the rest of one."""
        connection = self.connection
        if not isinstance(connection, h11.Connection):  # a WebSocket
            return False
        if connection.their_state is h11.IDLE:
            return not self.keep_alive_requests or bool(connection.trailing_data[0])
        return connection.their_state is h11.SEND_BODY and connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    async def stream_send(self, event: StreamEvent) -> None:
        if not isinstance(self.connection, h11.Connection):
            await self._websocket_send(event)
        elif _is_own_failure(event):
            await self._send_own_failure(event)
        else:
            await super().stream_send(event)

    async def _send_own_failure(self, event: Response) -> None:
        headers, body = own_failure(event.status_code)
        await super().stream_send(Response(event.stream_id, headers, event.status_code))
        await super().stream_send(Body(event.stream_id, body))

    async def _websocket_send(self, event: StreamEvent) -> None:
        """Send what belongs to a WebSocket: to its end, the answer of who refuses it first.

        The app may do so, and meanwhile Hypercorn itself, when data comes too early. Hypercorn's answer is sent whole
        with its first part, so that whatever comes behind that is the other's.
        """
        if _is_own_failure(event):
            self._skips_end = self._refused_by is _Refusing.APP
            if self._refused_by is None:
                self._refused_by = _Refusing.HYPERCORN
                await self._send_own_failure(event)
                await super().stream_send(EndBody(event.stream_id))
                await self.send(Closed())  # Hypercorn would leave it open where the handshake itself was wrong
        elif self._refused_by is _Refusing.HYPERCORN:
            if isinstance(event, StreamClosed):
                await super().stream_send(event)
        elif isinstance(event, Response) and event.status_code >= HTTPStatus.OK:
            self._refused_by = _Refusing.APP
            # Hypercorn closes the connection then, and the client must know: it might reuse it.
            headers = [*event.headers, (b"connection", b"close")]
            await super().stream_send(Response(event.stream_id, headers, event.status_code))
        elif isinstance(event, EndBody) and self._skips_end:
            self._skips_end = False
        else:
            await super().stream_send(event)
            if isinstance(event, EndBody):
                await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = own_failure(status_code)
        for event in (h11.Response(headers=headers, status_code=status_code), h11.Data(body), h11.EndOfMessage()):
            await self._send_h11_event(event)


class _H2Protocol(H2Protocol):
    """HTTP/2, whose peer must read its answers in time, and may send more of a body than is read of it."""

    def __init__(self, *made_of: Any) -> None:
        super().__init__(*made_of)
        self._ended: set[int] = set()  # the requests that are whole
        self._failing: set[int] = set()  # those that Hypercorn itself refuses

    @property
    def waits_for_request(self) -> bool:
        """Whether the peer owes the first request, or the rest of all that it has begun."""
        if not self.streams:
            return not self.keep_alive_requests
        return not self._ended

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        self._ended.update(self.streams)  # the request that asked for the upgrade is whole

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                self._refuse_late_data(event)
            else:
                await super()._handle_events([event])
                if isinstance(event, h2.events.StreamEnded) and event.stream_id in self.streams:
                    self._ended.add(event.stream_id)
                elif isinstance(event, h2.events.RequestReceived | h2.events.StreamReset):
                    await self.note_idle()
        await self._flush()

    async def note_idle(self) -> None:
        """Have the idle timer run where there is no request: Hypercorn says so only when it has answered one."""
        if not self.streams and not self.closed:
            await self.send(Updated(idle=True))

    def _refuse_late_data(self, event: h2.events.DataReceived) -> None:
        """More of a body comes although the answer is out, with 413, say: RFC 9113, 8.1."""
        assert event.stream_id is not None
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            if event.stream_id not in self.stream_buffers:  # the answer's end is on its way
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)

    async def _close_stream(self, stream_id: int) -> None:
        self._ended.discard(stream_id)
        self._failing.discard(stream_id)
        await super()._close_stream(stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        if _is_own_failure(event):
            headers, body = own_failure(event.status_code)
            kept = [header for header in headers if header[0] != b"connection"]  # RFC 9113, 8.2.2: there is none
            await super().stream_send(Response(event.stream_id, kept, event.status_code))
            await self._send_in_time(Body(event.stream_id, body))
            self._failing.add(event.stream_id)
        elif isinstance(event, Body):
            for start in range(0, len(event.data), _PIECE_BYTES):
                await self._send_in_time(Body(event.stream_id, event.data[start : start + _PIECE_BYTES]))
        elif isinstance(event, EndBody):
            await self._send_in_time(event)
            if event.stream_id in self._failing:  # Hypercorn keeps a refused WebSocket
                await super().stream_send(StreamClosed(event.stream_id))
        else:
            await super().stream_send(event)

    async def _send_in_time(self, event: Body | EndBody) -> None:
        """Send a piece of an answer; give the answer up when the peer leaves its window closed for too long."""
        buffer = self.stream_buffers.get(event.stream_id)
        if buffer is None:  # it was given up, or the peer has reset it
            return
        with trio.move_on_after(self.config.keep_alive_timeout) as scope:
            await super().stream_send(event)
            await buffer.drain()
        if scope.cancelled_caught:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._flush()
            await self._window_updated(event.stream_id)  # has what is still to be sent forgotten
            await super().stream_send(StreamClosed(event.stream_id))


def _is_own_failure(event: StreamEvent) -> TypeGuard[Response]:
    """Whether `event` begins an answer of Hypercorn's own, which is an empty failure."""
    return (
        isinstance(event, Response)
        and event.status_code >= HTTPStatus.BAD_REQUEST
        and (b"content-length", b"0") in event.headers
    )


class _PushedBack:
    """A socket stream, of which some bytes have been read and are given again, and whose peer must read in time."""

    def __init__(self, stream: trio.SocketStream, first: bytes, write_timeout_s: float) -> None:
        self._first = first
        self._write_timeout_s = write_timeout_s
        self.socket = stream.socket
        self.receive_more = stream.receive_some
        self.send_piece = stream.send_all
        self.aclose = stream.aclose

    async def send_all(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            with trio.move_on_after(self._write_timeout_s) as scope:
                await self.send_piece(memoryview(data)[start : start + _PIECE_BYTES])
            if scope.cancelled_caught:
                self.socket.close()
                raise trio.BrokenResourceError("the peer does not read its answer")

    async def send_eof(self) -> None:
        # The stream's own would make what is being sent meanwhile raise BusyResourceError.
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):
            self.socket.shutdown(trio.socket.SHUT_WR)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return first
        return await self.receive_more(max_bytes)

"""HTTP/1.1 and HTTP/2 on one connection: Hypercorn's protocols, with bounds against slow and hostile peers.

Invariants: an answer of known length is sent with its head, in one system call if it is short; the failures of the
protocols themselves have a body, too; a peer must read an answer over HTTP/2 in time.
"""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, TypeGuard

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

from .web_errors import own_failure
from .web_framing import StrictReceiveBuffer
from .web_stream import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import H11SendableEvent

__all__ = ["Protocols"]

_LENGTH: Final = b"content-length"
_LOOK_S: Final = 0.5
"""How often it is looked for the end of a connection from which nothing is received."""


class Protocols(ProtocolWrapper):
    """HTTP/1.1, or HTTP/2 after the peer's preface or upgrade."""

    protocol: Any  # one of those below; their types are partly Hypercorn's

    def __init__(self, *args: Any, has_left: Callable[[], bool]) -> None:
        """Serve with Hypercorn's `args`; ``has_left()`` tells whether the peer has closed the connection."""
        super().__init__(*args)
        self._args = args
        self.protocol = _H11Protocol(*args, has_left=has_left)
        self._began_at = trio.current_time()
        self._is_handling = False

    @property
    def unfinished_since(self) -> float | None:
        """When the wait for the first request, or the rest of one, began; None if there is none."""
        # During handling this is unknown: the data may complete the request.
        return self._began_at if self.protocol.waits_for_request and not self._is_handling else None

    async def handle(self, event: Event) -> None:
        """Handle received bytes, or the end; see Hypercorn."""
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
            await self._switch_to_http_2(exc.data)
        except H2CProtocolRequiredError as exc:
            await self._switch_to_http_2(exc.data, exc.headers, exc.settings)

    async def _switch_to_http_2(
        self, data: bytes, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        self.protocol = protocol = _H2Protocol(*self._args)
        await protocol.initiate(headers, settings)
        if data:
            await protocol.handle(RawData(data))
        # Hypercorn has counted the preface as a request, and stopped its idle timer.
        await protocol.note_idle()


class _H11Connection(h11.Connection):
    """h11's connection, strict about the ends of requests, with errors without reference cycles."""

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(h11.SERVER, max_head_bytes)
        self._receive_buffer = StrictReceiveBuffer()

    def next_event(self) -> Any:
        """Return the next event; see h11."""
        try:
            return super().next_event()
        except h11.ProtocolError as exc:
            # Its traceback has a frame of h11 that refers to it, and to all data.
            raise exc.with_traceback(None) from None


class _Turn:
    """The turn of a request that has come before the answer to the one in front of it: an event of Hypercorn's.

    Nothing is received before, and so the end of the connection is looked for.
    """

    def __init__(self, has_left: Callable[[], bool]) -> None:
        self._has_left = has_left
        self._event = trio.Event()

    async def clear(self) -> None:
        self._event = trio.Event()

    async def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait for the turn.

        Raises:
            trio.BrokenResourceError: the peer has closed the connection, and the answer in front is not yet made.
        """
        while True:
            with trio.move_on_after(_LOOK_S):
                await self._event.wait()
                return
            if self._has_left():
                raise trio.BrokenResourceError("the peer has gone")


class _H11Protocol(H11Protocol):
    """HTTP/1.1; its own error responses have a body, too."""

    def __init__(self, *args: Any, has_left: Callable[[], bool]) -> None:
        super().__init__(*args)
        self.can_read = _Turn(has_left)
        self.connection = _H11Connection(self.config.h11_max_incomplete_size)
        self._refused_by: Literal["hypercorn", "app"] | None = None  # the side that refused a WebSocket
        self._skips_end = False
        self._held_head = b""  # of an answer whose body follows

    @property
    def waits_for_request(self) -> bool:
        """Whether the first request, or the rest of one, is awaited."""
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

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        held, self._held_head = self._held_head, b""
        if type(event) is h11.Response and any(name == _LENGTH for name, _ in event.headers):
            self._held_head = data
        elif len(data) < PIECE_BYTES:
            await self.send(RawData(held + data))
        else:  # it is not copied
            await self.send(RawData(held))
            await self.send(RawData(data))
        if type(event) is h11.Data and not held:
            await trio.lowlevel.checkpoint()  # a stream of many parts leaves the loop to others, and can be cancelled

    async def _send_own_failure(self, event: Response) -> None:
        headers, body = own_failure(event.status_code)
        await super().stream_send(Response(event.stream_id, headers, event.status_code))
        await super().stream_send(Body(event.stream_id, body))

    async def _websocket_send(self, event: StreamEvent) -> None:
        """Send an event of a WebSocket; of two refusals, only the first.

        The app may refuse it, and Hypercorn itself, when data comes too early. Hypercorn's response is sent whole with
        its first event, so that all later events are the app's.
        """
        if _is_own_failure(event):
            self._skips_end = self._refused_by == "app"
            if self._refused_by is None:
                self._refused_by = "hypercorn"
                await self._send_own_failure(event)
                await super().stream_send(EndBody(event.stream_id))
                await self.send(Closed())  # Hypercorn would leave it open after a malformed handshake
        elif self._refused_by == "hypercorn":
            if isinstance(event, StreamClosed):
                await super().stream_send(event)
        elif isinstance(event, Response) and event.status_code >= HTTPStatus.OK:
            self._refused_by = "app"
            # Hypercorn closes the connection then; the client must not reuse it.
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
    """HTTP/2; the peer must read responses in time, and may send more of a body than the app reads."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ended: set[int] = set()  # complete requests
        self._failing: set[int] = set()  # requests that Hypercorn itself refuses

    @property
    def waits_for_request(self) -> bool:
        """Whether the first request, or the rest of all open ones, is awaited."""
        if not self.streams:
            return not self.keep_alive_requests
        return not self._ended

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        self._ended.update(self.streams)  # the request for the upgrade is complete

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
        """Start the idle timer if there is no request; Hypercorn does so only after a response."""
        if not self.streams and not self.closed:
            await self.send(Updated(idle=True))

    def _refuse_late_data(self, event: h2.events.DataReceived) -> None:
        """Handle data of a body after the response, 413 for example: RFC 9113, 8.1."""
        assert event.stream_id is not None
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            if event.stream_id not in self.stream_buffers:  # the response's end has been sent
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)

    async def _close_stream(self, stream_id: int) -> None:
        self._ended.discard(stream_id)
        self._failing.discard(stream_id)
        await super()._close_stream(stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        if _is_own_failure(event):
            headers, body = own_failure(event.status_code)
            kept = [header for header in headers if header[0] != b"connection"]  # RFC 9113, 8.2.2: not in HTTP/2
            await super().stream_send(Response(event.stream_id, kept, event.status_code))
            await self._send_in_time(Body(event.stream_id, body))
            self._failing.add(event.stream_id)
        elif isinstance(event, Body):
            for start in range(0, len(event.data), PIECE_BYTES):
                await self._send_in_time(Body(event.stream_id, event.data[start : start + PIECE_BYTES]))
        elif isinstance(event, EndBody):
            await self._send_in_time(event)
            if event.stream_id in self._failing:  # Hypercorn keeps a refused WebSocket
                await super().stream_send(StreamClosed(event.stream_id))
        else:
            await super().stream_send(event)

    async def _send_in_time(self, event: Body | EndBody) -> None:
        """Send a part of a response; reset the stream if the peer keeps its window closed for too long."""
        buffer = self.stream_buffers.get(event.stream_id)
        if buffer is None:  # the stream has been reset
            return
        with trio.move_on_after(self.config.keep_alive_timeout) as scope:
            await super().stream_send(event)
            await buffer.drain()
        if scope.cancelled_caught:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._flush()
            await self._window_updated(event.stream_id)  # drops the pending data
            await super().stream_send(StreamClosed(event.stream_id))


def _is_own_failure(event: StreamEvent) -> TypeGuard[Response]:
    """Whether `event` begins an error response of Hypercorn itself, which is empty."""
    return (
        isinstance(event, Response)
        and event.status_code >= HTTPStatus.BAD_REQUEST
        and (b"content-length", b"0") in event.headers
    )

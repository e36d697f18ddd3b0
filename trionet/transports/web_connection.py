"""One HTTP connection: Hypercorn's protocols on a stream of Trio, with bounds against slow and hostile peers.

Hypercorn's own Trio connection starts and cancels a task for the idle time of each request, and sends through a queue
with a checkpoint per message. Here the idle time is a number that one task looks at when it may have passed, and a
message waits only where there is no room for it.

Invariants: a connection is closed if its peer takes too long to send the head of a request or to read 64 KiB of a
response, or if it is idle for too long. The listener closes connections by their `unfinished_since` to make room, and
handles their exceptions.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from .allowance import within
from .readiness import has_left
from .web_apps import AppTasks
from .web_protocols import Protocols
from .web_stream import PlainStream, TLSStream
from .web_tls import SecuredStream

if TYPE_CHECKING:
    import socket

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext

from .web_apps import App

__all__ = ["HTTPConnection"]

_READ_BYTES: Final = 64 * 1024
_LINGER_S: Final = 2.0
_LINGER_READ_BYTES: Final = 256 * 1024


class HTTPConnection:
    """One HTTP connection.

    Attributes:
        idle_since: the time when it became idle; None during a request.
    """

    def __init__(
        self,
        app: App,
        config: Config,
        context: WorkerContext,
        state: dict[str, Any],
        stream: socket.socket | SecuredStream,
        first: bytes,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        timeout_s = config.keep_alive_timeout
        self._is_secured = isinstance(stream, SecuredStream)
        self._stream: PlainStream | TLSStream = (
            TLSStream(stream, first, timeout_s)
            if isinstance(stream, SecuredStream)
            else PlainStream(stream, first, timeout_s)
        )
        self._protocol: Protocols | None = None
        self._sending = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._idle_scope = trio.CancelScope()
        self._reader: trio.lowlevel.Task | None = None
        self._input_ended = trio.Event()
        self._accepted_at = trio.current_time()
        self.idle_since: float | None = self._accepted_at

    @property
    def unfinished_since(self) -> float | None:
        """When it began to wait for its first request, or the rest of one; None if it does not."""
        return self._accepted_at if self._protocol is None else self._protocol.unfinished_since

    async def run(self) -> None:
        """Serve it to its end, and break the reference cycles of its parts."""
        try:
            sock = self._stream.socket
            client, server = (parse_socket_addr(sock.family, name()) for name in (sock.getpeername, sock.getsockname))
            async with trio.open_nursery() as self._nursery:
                tasks = AppTasks(self._nursery)
                self._protocol = Protocols(
                    self._app,
                    self._config,
                    self._context,
                    tasks,
                    ConnectionState(self._state),
                    self._is_secured,
                    client,
                    server,
                    self._handle,
                    has_left=partial(has_left, sock),
                )
                await self._protocol.initiate()
                self._nursery.start_soon(self._close_when_idle)
                await self._read()
        except OSError:
            pass  # the peer has gone already
        finally:
            try:
                await self._close()
            finally:
                self.abort()
                self._break_cycles()

    def abort(self) -> None:
        """Close the socket at once."""
        self._stream.abort()

    async def _read(self) -> None:
        """Have the protocol handle what the peer sends, until its end."""
        assert self._protocol is not None
        self._reader = trio.lowlevel.current_task()
        data = b"more"
        while data:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
                await self._protocol.handle(RawData(data))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
        await self._protocol.handle(Closed())
        # The peer is gone. Hypercorn would keep the connection open until the idle timeout.
        self._input_ended.set()
        self._idle_scope.cancel()

    async def _handle(self, event: Event) -> None:
        """Handle an event of the protocol: bytes to send, the end, or the begin or end of a request."""
        if isinstance(event, RawData):
            if event.data:
                await self._send(event.data)
        elif isinstance(event, Updated):
            self.idle_since = trio.current_time() if event.idle else None
            if event.idle and self._context.terminated.is_set():
                assert self._nursery is not None
                self._nursery.start_soon(self._close_from_this_side)
        else:
            # This runs in the app's task, which Quart-Trio cancels after the response; the socket must close, too.
            with trio.CancelScope(shield=True):
                await self._close()
                await self.protocol.handle(Closed())

    async def _send(self, data: bytes) -> None:
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:  # of a request over HTTP/2 beside this one
            with trio.CancelScope(shield=True):
                await self._sending.acquire()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            with trio.CancelScope(shield=True):
                await self.protocol.handle(Closed())
        finally:
            self._sending.release()

    @property
    def protocol(self) -> Protocols:
        """The protocol in use."""
        assert self._protocol is not None
        return self._protocol

    async def _close_when_idle(self) -> None:
        """Close it once it has been idle for too long in which this node runs, or when the node stops."""
        limit_s = rest_s = self._config.keep_alive_timeout
        with self._idle_scope:
            while rest_s > 0:
                with contextlib.suppress(trio.TooSlowError):
                    await within(rest_s, self._context.terminated.wait)
                    if self.idle_since is None:
                        return  # it is closed after its request
                    break
                since = trio.current_time() if self.idle_since is None else self.idle_since
                rest_s = since + limit_s - trio.current_time()
            await self._close_from_this_side()

    async def _close_from_this_side(self) -> None:
        with trio.CancelScope(shield=True):
            await self.protocol.handle(Closed())
            await self._stream.aclose()

    async def _close(self) -> None:
        if self._input_unread():
            with trio.move_on_after(_LINGER_S, shield=True):
                await self._stream.send_eof()
                if self._reader is trio.lowlevel.current_task():
                    await self._discard_input()
                else:
                    await self._input_ended.wait()
        with contextlib.suppress(trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()
        await self._stream.aclose()

    def _input_unread(self) -> bool:
        """Whether a request has its response before its end, 413 or 400 for example.

        Closing a socket with unread data resets the connection, and the peer may lose the response.
        """
        protocol = getattr(self._protocol, "protocol", None)  # None before it runs
        connection = getattr(protocol, "connection", None)
        return getattr(connection, "their_state", None) in {h11.SEND_BODY, h11.ERROR}

    async def _discard_input(self) -> None:
        try:
            while await self._stream.receive_some(_LINGER_READ_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass

    def _break_cycles(self) -> None:
        """Break the references of its parts to it, and of those of HTTP/2 and of WebSockets to each other."""
        protocol = getattr(self._protocol, "protocol", None)
        for part in (getattr(protocol, "connection", None), protocol, self._protocol):
            if part is not None and hasattr(part, "__dict__"):
                vars(part).clear()
        self._protocol = self._reader = self._nursery = None

"""The connections of the HTTP client to one peer for the calls at one depth: a transport of httpx's.

httpx's own pool looks at all its connections and requests at each begin and end of a request; here a free connection is
the last one of a list.

Invariants: requests never outnumber connections, and calls queue in front of it; a connection that may have ended
carries no request.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import httpcore
import httpx
import trio

from trionet.errors import ConnectionLost, NodeUnreachable, TemporarilyUnavailable
from trionet.nesting import DEEPEST

from .base import STOPPED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trionet.identity import NodeAddress

    from .http_connections import HTTPConnections

__all__ = ["MOST_CONNECTIONS", "Pool"]

MOST_CONNECTIONS: Final = 128
"""The most connections in use to one peer for the calls at one depth."""

_MOST_IDLE: Final = 16
# Below the server's idle timeout, so that no connection is reused while the server closes it; and short, because a host
# that crashes closes nothing, and a request to its next life over the old connection is lost.
_KEEPALIVE_S: Final = 5.0


class Pool(httpx.AsyncBaseTransport):
    """The connections to one peer for the calls at one depth."""

    def __init__(
        self, node: NodeAddress, depth: int, size: int, connections: HTTPConnections, connect_timeout_s: float
    ) -> None:
        self._node = node
        self._waits = depth != DEEPEST
        self._size = size
        self._connections = connections
        self._connect_timeout_s = connect_timeout_s
        self._origin = httpcore.Origin(connections.scheme.encode(), node.ip.encode(), node.port)
        self._slots = trio.Semaphore(size)
        self._idle: deque[tuple[httpcore.AsyncHTTP11Connection, float]] = deque()
        self._in_use: set[httpcore.AsyncHTTP11Connection] = set()
        self._requesting: set[trio.CancelScope] = set()
        self._is_closed = False

    async def acquire(self) -> None:
        """Wait for a connection's slot; of a call whose time is over, nothing is sent.

        Raises:
            TemporarilyUnavailable: no slot is free, for calls that are nested too deeply to wait.
            NodeUnreachable: this node has stopped in the meantime.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            if not self._waits:
                raise TemporarilyUnavailable(
                    f"{self._node} is sent no further call that is nested {DEEPEST} deep or deeper: {self._size} are "
                    f"in progress, the smaller of max_calls_per_peer and {MOST_CONNECTIONS}"
                ) from None
            await self._slots.acquire()
        if self._is_closed:
            self._slots.release()
            raise NodeUnreachable(STOPPED)

    def release(self) -> None:
        """Release a slot."""
        self._slots.release()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, in a slot, and return the head of its response.

        Raises:
            httpx.ConnectError: no connection could be made.
            httpcore.NetworkError, httpcore.ProtocolError: the connection broke.
            ConnectionLost: this node has stopped in the meantime.
        """
        with trio.CancelScope() as scope:
            self._requesting.add(scope)
            try:
                return await self._exchange(request)
            finally:
                self._requesting.remove(scope)
        raise ConnectionLost(f"the connection to {self._node} was closed: this node has stopped")

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = httpcore.URL(
            scheme=self._origin.scheme, host=self._origin.host, port=self._origin.port, target=request.url.raw_path
        )
        sent = httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        connection = await self._free_connection()
        self._in_use.add(connection)
        try:
            response = await connection.handle_async_request(sent)
        except BaseException:  # it has been closed
            self._in_use.remove(connection)
            raise
        return httpx.Response(response.status, headers=response.headers, stream=_Body(self, connection, response))

    async def _free_connection(self) -> httpcore.AsyncHTTP11Connection:
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        with trio.move_on_after(self._connect_timeout_s):
            stream = await self._connections.connect(self._node)
            return _Connection(self._origin, stream)
        raise httpx.ConnectTimeout("it took too long")

    async def put_back(self, connection: httpcore.AsyncHTTP11Connection) -> None:
        """Keep a connection for later requests if it can be, and close those that have been kept for too long."""
        self._in_use.discard(connection)
        now = time.monotonic()
        if not connection.is_idle() or self._is_closed or len(self._idle) >= _MOST_IDLE:
            await connection.aclose()
        else:
            self._idle.append((connection, now))
        while self._idle and self._idle[0][1] < now - _KEEPALIVE_S:
            await self._idle.popleft()[0].aclose()

    async def aclose(self) -> None:
        """Close all connections, and refuse the calls that wait for a slot."""
        self._is_closed = True
        for scope in self._requesting:  # httpcore does not end what it waits for
            scope.cancel()
        for connection in [*self._in_use, *(kept for kept, _ in self._idle)]:
            await connection.aclose()
        self._idle.clear()


class _Connection(httpcore.AsyncHTTP11Connection):
    """A connection without a lock, which takes two scheduler passes per request: a slot has one request at a time."""

    def __init__(self, origin: httpcore.Origin, stream: httpcore.AsyncNetworkStream) -> None:
        super().__init__(origin, stream, keepalive_expiry=_KEEPALIVE_S)
        self._state_lock = contextlib.nullcontext()  # type: ignore[assignment]  # used as a context manager alone

    def is_idle(self) -> bool:
        """Return whether a request can be sent; not if the peer has sent more than its last answer.

        What it has sent would be taken for the next answer, even before the request is sent.
        """
        return super().is_idle() and not self._h11_state.trailing_data[0]


class _Body(httpx.AsyncByteStream):
    """The body of a response, whose end frees its connection."""

    def __init__(self, pool: Pool, connection: httpcore.AsyncHTTP11Connection, response: httpcore.Response) -> None:
        self._pool = pool
        self._connection = connection
        self._response = response
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.aiter_stream()

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            with trio.CancelScope(shield=True):
                await self._response.aclose()
                await self._pool.put_back(self._connection)

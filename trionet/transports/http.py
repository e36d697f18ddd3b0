"""The HTTP transport: httpx as the client of other nodes' HTTP face.

The path contains the names of the method, the body the arguments, and the headers the rest of the envelope.

With keys, calls are signed, and answers are verified (`signed_calls`).

Invariants: at most `MOST_CONNECTIONS` connections to a peer are in use for the calls at each depth of nesting (see
`trionet.nesting`), and at most `max_calls_per_peer`; calls queue here, not in httpx.
"""

from __future__ import annotations

import contextlib
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import httpx
import trio

from trionet.codec import JSON
from trionet.errors import (
    ConnectionLost,
    DecodeError,
    DefiniteError,
    MessageTooLarge,
    NodeUnreachable,
    NotPermitted,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.nesting import DEEPEST
from trionet.replies import replies_from
from trionet.security.live_keys import LiveKeys

from .base import STOPPED, Sending, answered_error, check_request_size
from .call_headers import STREAM_TYPE, VALUE_TYPE, headers_of
from .http_connections import HTTPConnections
from .signed_calls import SignedCall, no_signed_stream
from .web_errors import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

    from .base import Request

__all__ = ["MOST_CONNECTIONS", "HTTPTransport"]

MOST_CONNECTIONS: Final = 128
"""The most connections in use to one peer for the calls at one depth."""

_MAX_QUERY_CHARS = 8 * 1024  # servers limit the head of a request; Hypercorn to 16 KiB
# Below the server's idle timeout, so that no connection is reused while the server closes it; and short, because a host
# that crashes closes nothing, and a request to its next life over the old connection is lost.
_KEEPALIVE_S = 5.0
_END = {"end": True}
_RESULTS: Final = frozenset({"value", "values", "item", "end"})
"""The names that an answer with an error must not have."""

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class _Pool:
    """The connections to one peer for the calls at one depth.

    httpx scans its queue, for each connection, at every begin, end and cancellation of a request: the end of 400 calls
    takes seconds. So requests never outnumber connections.

    Attributes:
        client: sends the requests.
    """

    def __init__(self, node: NodeAddress, depth: int, size: int, client: httpx.AsyncClient) -> None:
        self.client: httpx.AsyncClient = client
        self._is_closed = False
        self._requesting: set[trio.CancelScope] = set()
        self._node = node
        self._waits = depth != DEEPEST
        self._size = size
        self._slots = trio.Semaphore(size)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for a connection's slot, and hold it during the block.

        Raises:
            TemporarilyUnavailable: no slot is free, for calls that are nested too deeply to wait.
            NodeUnreachable: this node has stopped in the meantime.
        """
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            if not self._waits:
                raise TemporarilyUnavailable(
                    f"{self._node} is sent no further call that is nested {DEEPEST} deep or deeper: {self._size} are "
                    f"in progress, the smaller of max_calls_per_peer and {MOST_CONNECTIONS}"
                ) from None
            await self._slots.acquire()
        try:
            if self._is_closed:
                raise NodeUnreachable(STOPPED)
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def until_closed(self) -> Generator[None]:
        """Cancel the block, which sends a request, when the pool is closed: httpx does not end connection attempts.

        Raises:
            ConnectionLost: this node has stopped in the meantime.
        """
        with trio.CancelScope() as scope:
            self._requesting.add(scope)
            try:
                yield
            finally:
                self._requesting.remove(scope)
        if scope.cancelled_caught:
            raise ConnectionLost(f"the connection to {self._node} was closed: this node has stopped")

    async def aclose(self) -> None:
        """Close all connections, and refuse the calls that wait for a slot."""
        self._is_closed = True
        for scope in self._requesting:
            scope.cancel()
        await self.client.aclose()


class HTTPTransport:
    """Calls over HTTP/1.1, with an httpx client for each peer and depth: a single pool collapses under load."""

    def __init__(
        self,
        config: NodeConfig,
        keys: LiveKeys | None = None,
        certificates: Certificates | None = None,
        connections: HTTPConnections | None = None,
    ) -> None:
        self._keys = LiveKeys() if keys is None else keys
        self.codec: Codec = JSON.limited(config.max_message_containers)
        self._max_message_bytes = config.max_message_bytes
        self._timeout = httpx.Timeout(None, connect=config.connect_timeout_s)
        self._size = min(MOST_CONNECTIONS, config.max_calls_per_peer)
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S)
        self._connections = connections or HTTPConnections(certificates)
        self._pools: dict[tuple[NodeAddress, int], _Pool] = {}
        self._in_progress: dict[object, Sending] = {}

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        async with self._exchange(node, request, accept=VALUE_TYPE) as (response, signed):
            status, body = response.status_code, bytearray()
            async with _reading(node, response, response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > 2 * self._max_message_bytes:
                        raise ConnectionLost(
                            f"the reply of {node} is over the limit of {2 * self._max_message_bytes:,} bytes, "
                            f"twice max_message_bytes"
                        )
        if signed is not None:
            signed.verify(response, bytes(body))
        try:
            answer = self.codec.decode(body)
            is_error = "error" in answer
            value = None if is_error else replies_from(answer) if "values" in answer else answer["value"]
        except (DecodeError, TypeError, KeyError, AttributeError) as exc:
            raise ConnectionLost(_unlike_a_node(node, status)) from exc
        if is_error:
            raise _error_of(node, status, answer)
        if status != HTTPStatus.OK:
            raise ConnectionLost(_unlike_a_node(node, status))
        return value

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`, with one line of JSON for each item."""
        if self._keys.seals:
            raise NotPermitted(no_signed_stream(request.service, request.method))
        async with (
            self._exchange(node, request, accept=STREAM_TYPE) as (response, _),
            aclosing(self._items(node, response)) as items,
        ):
            yield items

    async def _items(self, node: NodeAddress, response: httpx.Response) -> AsyncGenerator[Any]:
        last: dict[str, Any] | None = None
        status, most_bytes = response.status_code, 2 * self._max_message_bytes
        async with (
            _reading(node, response, response.aiter_raw()) as chunks,
            aclosing(_lines(chunks, most_bytes)) as lines,
        ):
            async for line in lines:
                try:
                    answer = self.codec.decode(line)
                except DecodeError as exc:
                    raise ConnectionLost(f"an item from {node} can't be read here: {exc}") from exc
                if type(answer) is not dict or last is not None or (status != HTTPStatus.OK and "error" not in answer):
                    raise ConnectionLost(_unlike_a_node(node, status))
                if "item" not in answer or "error" in answer:
                    last = answer
                    continue  # read the rest, so that the connection can be reused
                yield answer["item"]
        if last is None:
            raise ConnectionLost(f"the stream from {node} broke off")
        if "error" in last:
            # After the first item, the status is a success.
            raise _error_of(node, None if status == HTTPStatus.OK else status, last)
        if last != _END:
            raise ConnectionLost(_unlike_a_node(node, status))

    @asynccontextmanager
    async def _exchange(
        self, node: NodeAddress, request: Request, *, accept: str
    ) -> AsyncGenerator[tuple[httpx.Response, SignedCall | None]]:
        """Send `request`; yield the response, and the signed call that it must answer; None without keys."""
        check_request_size(request, self._max_message_bytes)
        path = "/".join(map(_quoted, (request.gid, request.service, request.method)))
        url = f"{self._connections.scheme}://{node}/{path}{_query(request)}"
        pool = self._pool(node, request.depth)
        task, key = trio.lowlevel.current_task(), object()
        self._in_progress[key] = Sending(node, request, "queued", task)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._in_progress.pop, key)
            await stack.enter_async_context(pool.slot())
            keys, signed = self._keys.now if self._keys.seals else None, None
            self._in_progress[key] = Sending(node, request, "sent", task)
            headers = headers_of(request, accept, is_signed=keys is not None)  # in its slot: with the time left
            with _translated(node), pool.until_closed():
                if keys is not None:
                    signed = SignedCall(keys.sealing, node, "PUT", httpx.URL(url), headers, request.args)
                    headers = signed.headers
                extensions = self._connections.extensions(node)
                sent = pool.client.stream("PUT", url, content=request.args, headers=headers, extensions=extensions)
                response = await stack.enter_async_context(sent)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ConnectionLost(_unlike_a_node(node, response.status_code))
            yield response, signed

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        return list(self._in_progress.values())

    def _pool(self, node: NodeAddress, depth: int) -> _Pool:
        pool = self._pools.get((node, depth))
        if pool is None:
            verify, headers = self._connections.context, self._connections.headers
            client = httpx.AsyncClient(
                verify=verify, headers=headers, trust_env=False, timeout=self._timeout, limits=self._limits
            )
            pool = self._pools[node, depth] = _Pool(node, depth, self._size, client)
        return pool

    async def aclose(self) -> None:
        """Close all connections."""
        async with contextlib.AsyncExitStack() as stack:
            for pool in self._pools.values():
                stack.push_async_callback(pool.aclose)
        self._pools.clear()


@contextlib.contextmanager
def _translated(node: NodeAddress) -> Generator[None]:
    """Translate httpx's exceptions."""
    try:
        yield
    except _BEFORE_SENDING as exc:
        raise NodeUnreachable(f"no connection to {node}: {str(exc) or type(exc).__name__}") from exc
    except (httpx.HTTPError, httpx.StreamError) as exc:
        raise ConnectionLost(f"the connection to {node} broke: {str(exc) or type(exc).__name__}") from exc


@asynccontextmanager
async def _reading(
    node: NodeAddress, response: httpx.Response, parts: AsyncIterator[Any]
) -> AsyncGenerator[AsyncIterator[Any]]:
    """Yield `parts` for iteration, and exhaust them: nested generators don't close each other."""
    try:
        with _translated(node):
            yield parts
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(httpx.HTTPError, httpx.StreamError):
            await response.aclose()
            async for _ in parts:
                pass


async def _lines(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncGenerator[bytes]:
    """Yield the lines of `chunks`, split at newlines only, not at the other line breaks of Unicode."""
    rest = bytearray()
    async for chunk in chunks:
        *lines, end = chunk.split(b"\n")
        for line in lines:
            rest += line
            yield bytes(rest)
            rest.clear()
        rest += end
        if len(rest) > most_bytes:
            raise ConnectionLost(f"an item is over the limit of {most_bytes:,} bytes, twice max_message_bytes")
    if rest:
        yield bytes(rest)


def _error_of(node: NodeAddress, status: int | None, answer: Any) -> TrionetError:
    """Return the error in `answer`; a `ConnectionLost` if the rest of the response contradicts it.

    Args:
        node: the peer.
        status: the HTTP status of the error; None if it has none.
        answer: the body, or the line of a stream.
    """
    if type(answer) is not dict or not _RESULTS.isdisjoint(answer):
        return ConnectionLost(_unlike_a_node(node, status or HTTPStatus.OK))
    error = answered_error(answer["error"])
    # Only the classes of the status must agree: outside the app, a status may be more exact than the error.
    if status is not None and isinstance(error, DefiniteError) and status // 100 != status_of(error) // 100:
        return ConnectionLost(_unlike_a_node(node, status))
    return error


def _unlike_a_node(node: NodeAddress, status: int) -> str:
    return f"{node} answered with HTTP status {status}, but not as a trionet node does"


def _quoted(name: str) -> str:
    """Return `name` as one segment of a path, in which ``.`` and ``..`` have other meanings."""
    return name.replace(".", "%2E") if name in {".", ".."} else quote(name, safe="")


def _query(request: Request) -> str:
    if request.kwargs is None:
        return ""
    kwargs = JSON.decode(request.kwargs)
    query = "?" + urlencode({name: JSON.encode(value).decode() for name, value in kwargs.items()})
    if len(query) > _MAX_QUERY_CHARS:
        raise MessageTooLarge(
            f"keyword arguments of {len(query):,} characters are over HTTP's limit of {_MAX_QUERY_CHARS:,}: "
            f"pass large values as positional arguments"
        )
    return query

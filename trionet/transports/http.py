"""The HTTP transport: httpx as the client of the other nodes' HTTP face.

The envelope in HTTP's own words: the path says what is called, the body carries the arguments, headers the rest.

Invariants: no more connections to a peer are in use than `MOST_CONNECTIONS` for the calls at each depth of nesting (see
`trionet.nesting`), nor than `max_calls_per_peer`; calls wait for their turn here, not in httpx.
"""

from __future__ import annotations

import contextlib
import ssl
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
    MalformedRequest,
    MessageTooLarge,
    NodeUnreachable,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.forks import keep_from_forks
from trionet.nesting import DEEPEST, depth_inside
from trionet.replies import Aggregate, Receipt, Replies

from .base import answered_error, check_request_size, time_left_s
from .web_errors import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Request

__all__ = [
    "CALLER_HEADER",
    "CALL_ID_HEADER",
    "DEPTH_HEADER",
    "MOST_CONNECTIONS",
    "STREAM_TYPE",
    "TIMEOUT_HEADER",
    "VALUE_TYPE",
    "HTTPTransport",
    "inner_depth_from",
]

CALL_ID_HEADER = "Trionet-Call-Id"
CALLER_HEADER = "Trionet-Caller"
TIMEOUT_HEADER = "Trionet-Timeout"
"""Seconds that were left of the caller's time; a duration, so that clocks don't matter."""

DEPTH_HEADER = "Trionet-Depth"
"""How deeply the call is nested in others, 0 to 8; left out for 0."""

MOST_CONNECTIONS: Final = 128
"""How many connections to one peer are in use at once for the calls at one depth."""

STREAM_TYPE = "application/x-ndjson"
"""The media type of a stream: lines of JSON, ``{"item": …}``, and at last ``{"end": true}`` or ``{"error": …}``."""

VALUE_TYPE = "application/json"
"""The media type of anything else. A request that accepts one of the two alone is refused the other."""

_MAX_QUERY_CHARS = 8 * 1024  # servers limit the head of a request: Hypercorn to 16 KiB
# Below the server's idle timeout, so that a connection is never reused just as the server closes it.
_KEEPALIVE_S = 30.0
_END = {"end": True}
_RESULTS: Final = frozenset({"value", "values", "item", "end"})
"""What an answer with an error doesn't have."""
_CONNECTED = "connection.connect_tcp.complete"
"""The only event of httpcore's that gives a connection as soon as there is one."""

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


def inner_depth_from(header: str | None) -> int:
    """Return the depth of the calls that the handler of a request makes; without the header it is nested in none.

    Raises:
        MalformedRequest: the header is no depth.
    """
    if header is None:
        return depth_inside(0)
    if len(header) != 1 or not "0" <= header <= str(DEEPEST):
        raise MalformedRequest(f"{DEPTH_HEADER} is a number from 0 to {DEEPEST}, not {header!r:.40}")
    return depth_inside(int(header))


class _Pool:
    """The connections to one peer for the calls at one depth.

    httpx's own queue costs its length times the number of connections whenever a request begins, ends or is cancelled:
    400 calls would take seconds to leave. So no more requests are made than there are connections.

    Attributes:
        client: makes the requests.
    """

    def __init__(self, node: NodeAddress, depth: int, size: int, client: httpx.AsyncClient) -> None:
        self.client: httpx.AsyncClient = client
        self._is_closed = False
        self._requesting: set[trio.CancelScope] = set()
        self._node = node
        self._waits = depth != DEEPEST
        self._size = size
        self._places = trio.Semaphore(size)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a connection's place, and hold it for as long as the block lasts.

        Raises:
            TemporarilyUnavailable: none is free, for calls that are nested too deeply to wait.
            NodeUnreachable: this node has stopped meanwhile.
        """
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            if not self._waits:
                raise TemporarilyUnavailable(
                    f"{self._node} is sent no further call that is nested {DEEPEST} deep or deeper: {self._size} are "
                    f"in progress, the smaller of max_calls_per_peer and {MOST_CONNECTIONS}"
                ) from None
            await self._places.acquire()
        try:
            if self._is_closed:
                raise NodeUnreachable("this node has stopped")
            yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def until_closed(self) -> Generator[None]:
        """Run the block, which makes a request, until this is closed: httpx lets those wait that are connecting.

        Raises:
            ConnectionLost: this node has stopped meanwhile.
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
        """Close all connections, and refuse those who wait for a place."""
        self._is_closed = True
        for scope in self._requesting:
            scope.cancel()
        await self.client.aclose()


class HTTPTransport:
    """Calls over HTTP/1.1, with an httpx client for each peer and depth: one pool for all collapses under load."""

    def __init__(self, config: NodeConfig) -> None:
        self.codec: Codec = JSON.limited(config.max_message_containers)
        self._max_message_bytes = config.max_message_bytes
        self._timeout = httpx.Timeout(None, connect=config.connect_timeout_s)
        self._size = min(MOST_CONNECTIONS, config.max_calls_per_peer)
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S)
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # prebuilt: httpx would load certificates for each client
        self._pools: dict[tuple[NodeAddress, int], _Pool] = {}

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        async with self._exchange(node, request, accept=VALUE_TYPE) as response:
            status, body = response.status_code, bytearray()
            async with _reading(node, response, response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > 2 * self._max_message_bytes:
                        raise ConnectionLost(
                            f"the reply of {node} is over the limit of {2 * self._max_message_bytes:,} bytes, "
                            f"twice max_message_bytes"
                        )
        try:
            answer = self.codec.decode(body)
            is_error = "error" in answer
            value = None if is_error else _value_of(answer)
        except (DecodeError, TypeError, KeyError, AttributeError) as exc:
            raise ConnectionLost(_unlike_a_node(node, status)) from exc
        if is_error:
            raise _error_of(node, status, answer)
        if status != HTTPStatus.OK:
            raise ConnectionLost(_unlike_a_node(node, status))
        return value

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`: one line of JSON for each item."""
        async with (
            self._exchange(node, request, accept=STREAM_TYPE) as response,
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
                    continue  # to the end of the response, so that its connection can be used again
                yield answer["item"]
        if last is None:
            raise ConnectionLost(f"the stream from {node} broke off")
        if "error" in last:
            # Once items have begun to come, the status is that of a success.
            raise _error_of(node, None if status == HTTPStatus.OK else status, last)
        if last != _END:
            raise ConnectionLost(_unlike_a_node(node, status))

    @asynccontextmanager
    async def _exchange(self, node: NodeAddress, request: Request, *, accept: str) -> AsyncGenerator[httpx.Response]:
        check_request_size(request, self._max_message_bytes)
        path = "/".join(map(_quoted, (request.gid, request.service, request.method)))
        url = f"http://{node}/{path}{_query(request)}"
        pool = self._pool(node, request.depth)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(pool.place())
            with _translated(node), pool.until_closed():
                sent = pool.client.stream(
                    "PUT", url, content=request.args, headers=_headers(request, accept), extensions=_EXTENSIONS
                )
                response = await stack.enter_async_context(sent)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ConnectionLost(_unlike_a_node(node, response.status_code))
            yield response

    def _pool(self, node: NodeAddress, depth: int) -> _Pool:
        pool = self._pools.get((node, depth))
        if pool is None:
            client = httpx.AsyncClient(verify=self._ssl, trust_env=False, timeout=self._timeout, limits=self._limits)
            pool = self._pools[node, depth] = _Pool(node, depth, self._size, client)
        return pool

    async def aclose(self) -> None:
        """Close all connections."""
        async with contextlib.AsyncExitStack() as stack:
            for pool in self._pools.values():
                stack.push_async_callback(pool.aclose)
        self._pools.clear()


async def _keep_connection_from_forks(name: str, details: dict[str, Any]) -> None:
    if name == _CONNECTED:
        keep_from_forks(details["return_value"].get_extra_info("socket"))


_EXTENSIONS: Final = {"trace": _keep_connection_from_forks}


def _headers(request: Request, accept: str) -> dict[str, str]:
    headers = {
        CALL_ID_HEADER: request.id,
        CALLER_HEADER: str(request.caller),
        "Content-Type": VALUE_TYPE,
        "Accept": accept,
        "Accept-Encoding": "identity",
    }
    if 0 < request.depth <= DEEPEST:
        headers[DEPTH_HEADER] = str(request.depth)
    if (left_s := time_left_s()) is not None:
        headers[TIMEOUT_HEADER] = f"{left_s:.6f}"
    return headers


@contextlib.contextmanager
def _translated(node: NodeAddress) -> Generator[None]:
    """Turn httpx's exceptions into ours."""
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
    """Give `parts` to iterate over, and end what makes them: generators in generators, which don't close each other."""
    try:
        with _translated(node):
            yield parts
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(httpx.HTTPError, httpx.StreamError):
            await response.aclose()
            async for _ in parts:
                pass


async def _lines(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncGenerator[bytes]:
    """Give the lines of what comes: those that end in a newline, not in what else Unicode has for a text's lines."""
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
    """Return the error that `answer` tells of; one that the rest of the response contradicts is a lost connection.

    Args:
        node: which answered.
        status: what it says of the error; None where it doesn't.
        answer: the body, or the line of a stream.
    """
    if type(answer) is not dict or not _RESULTS.isdisjoint(answer):
        return ConnectionLost(_unlike_a_node(node, status or HTTPStatus.OK))
    error = answered_error(answer["error"])
    # The hundreds say whose fault it was. The rest may be more exact than the error is, where no app was reached.
    if status is not None and isinstance(error, DefiniteError) and status // 100 != status_of(error) // 100:
        return ConnectionLost(_unlike_a_node(node, status))
    return error


def _unlike_a_node(node: NodeAddress, status: int) -> str:
    return f"{node} answered with HTTP status {status}, but not as a trionet node does"


def _quoted(name: str) -> str:
    """Return `name` as one part of a path; ``.`` and ``..`` would mean other places if they stood there as they are."""
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


def _value_of(answer: dict[str, Any]) -> Any:
    if "values" not in answer:
        return answer["value"]
    if not all(isinstance(error, TrionetError) for error in answer["errors"].values()):
        raise DecodeError("expected errors")
    if "value" in answer:
        return Aggregate(**answer)
    return Receipt(**answer) if "id" in answer else Replies(**answer)

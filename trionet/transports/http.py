"""The HTTP transport: httpx as the client of other nodes' HTTP face.

A call is a request and a response of httpx, on a transport of ours (`http_pool`): a client of httpx, with its cookies,
redirects, events and time-outs, takes as long as the rest of a call.

The path contains the names of the method, the body the arguments, and the headers the rest of the envelope.

With keys, calls are signed, and answers are verified (`signed_calls`).

Invariants: at most `MOST_CONNECTIONS` connections to a peer are in use for the calls at each depth of nesting (see
`trionet.nesting`), and at most `max_calls_per_peer`; calls queue here, not in httpx.
"""

from __future__ import annotations

import contextlib
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import httpcore
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
    TrionetError,
)
from trionet.replies import replies_from
from trionet.security.live_keys import LiveKeys

from .base import Sending, answered_error, check_request_size
from .call_headers import STREAM_TYPE, VALUE_TYPE, headers_of
from .http_connections import HTTPConnections
from .http_pool import MOST_CONNECTIONS, Pool
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

_MAX_QUERY_CHARS = 8 * 1024  # servers limit the head of a request; Hypercorn to 16 KiB
_END = {"end": True}
_RESULTS: Final = frozenset({"value", "values", "item", "end"})
"""The names that an answer with an error must not have."""

_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL)
_AFTER_SENDING = (httpx.HTTPError, httpx.StreamError, httpcore.NetworkError, httpcore.ProtocolError)


class HTTPTransport:
    """Calls over HTTP/1.1, with a pool of connections for each peer and depth."""

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
        self._connect_timeout_s = config.connect_timeout_s
        self._size = min(MOST_CONNECTIONS, config.max_calls_per_peer)
        self._connections = connections or HTTPConnections(certificates)
        self._pools: dict[tuple[NodeAddress, int], Pool] = {}
        self._in_progress: dict[object, Sending] = {}

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        async with self._exchange(node, request, accept=VALUE_TYPE) as (response, signed):
            status, body = response.status_code, bytearray()
            async with _reading(node, response) as chunks:
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
            _reading(node, response) as chunks,
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
        with _translated(node):
            url = _url(f"{self._connections.scheme}://{node}/{path}{_query(request)}")
        pool = self._pool(node, request.depth)
        task, key = trio.lowlevel.current_task(), object()
        self._in_progress[key] = Sending(node, request, "queued", task)
        try:
            await pool.acquire()
            try:
                self._in_progress[key] = Sending(node, request, "sent", task)
                with _translated(node):
                    sent, signed = self._sent(node, url, request, accept)
                    response = await pool.handle_async_request(sent)
                try:
                    if response.headers.get("Content-Encoding", "identity") != "identity":
                        raise ConnectionLost(_unlike_a_node(node, response.status_code))
                    yield response, signed
                finally:
                    await response.stream.aclose()  # type: ignore[union-attr]  # the transport's is asynchronous
            finally:
                pool.release()
        finally:
            del self._in_progress[key]

    def _sent(
        self, node: NodeAddress, url: httpx.URL, request: Request, accept: str
    ) -> tuple[httpx.Request, SignedCall | None]:
        """Return a request of httpx's, with the time that is left."""
        keys, signed = self._keys.now if self._keys.seals else None, None
        headers = headers_of(request, accept, is_signed=keys is not None)
        if keys is not None:
            signed = SignedCall(keys.sealing, node, "PUT", url, headers, request.args)
            headers = signed.headers
        length = str(len(request.args))
        headers = {"Host": url.netloc.decode("ascii"), **headers, **self._connections.headers, "Content-Length": length}
        return httpx.Request("PUT", url, headers=headers, stream=httpx.ByteStream(request.args)), signed

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        return list(self._in_progress.values())

    def _pool(self, node: NodeAddress, depth: int) -> Pool:
        pool = self._pools.get((node, depth))
        if pool is None:
            pool = Pool(node, depth, self._size, self._connections, self._connect_timeout_s)
            self._pools[node, depth] = pool
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
    except _AFTER_SENDING as exc:
        raise ConnectionLost(f"the connection to {node} broke: {str(exc) or type(exc).__name__}") from exc


@asynccontextmanager
async def _reading(node: NodeAddress, response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Yield the parts of a body for iteration, and exhaust them: nested generators don't close each other."""
    parts = _parts(response)
    try:
        with _translated(node):
            yield parts
    finally:
        with trio.CancelScope(shield=True), contextlib.suppress(*_AFTER_SENDING, RuntimeError):
            await response.stream.aclose()  # type: ignore[union-attr]  # the transport's is asynchronous
            async for _ in parts:
                pass


def _parts(response: httpx.Response) -> AsyncIterator[bytes]:
    """Return the parts of the body of a response."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return aiter(response.stream)


@lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    return httpx.URL(text)


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

"""The HTTP transport: httpx as the client of the other nodes' HTTP face.

The envelope in HTTP's own words: the path says what is called, the body carries the arguments, headers the rest.
"""

from __future__ import annotations

import contextlib
import ssl
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import trio

from trionet.codec import JSON
from trionet.errors import (
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    NodeUnreachable,
    error_from_wire,
)
from trionet.replies import Aggregate, Receipt, Replies

from .base import check_request_size, time_left_s

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Request

__all__ = ["CALLER_HEADER", "CALL_ID_HEADER", "STREAM_TYPE", "TIMEOUT_HEADER", "VALUE_TYPE", "HTTPTransport"]

CALL_ID_HEADER = "Trionet-Call-Id"
CALLER_HEADER = "Trionet-Caller"
TIMEOUT_HEADER = "Trionet-Timeout"
"""Seconds that were left of the caller's time; a duration, so that clocks don't matter."""

STREAM_TYPE = "application/x-ndjson"
"""The media type of a stream: lines of JSON, ``{"item": …}``, and at last ``{"end": true}`` or ``{"error": …}``."""

VALUE_TYPE = "application/json"
"""The media type of anything else. A request that accepts one of the two alone is refused the other."""

_MAX_QUERY_CHARS = 8 * 1024  # servers limit the head of a request: Hypercorn to 16 KiB
# Below the server's idle timeout, so that a connection is never reused just as the server closes it.
_KEEPALIVE_S = 30.0
_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


class HTTPTransport:
    """Calls over HTTP/1.1, with an httpx client for each peer: one pool for all collapses under load."""

    def __init__(self, config: NodeConfig) -> None:
        self.codec: Codec = JSON.limited(config.max_message_containers)
        self._max_message_bytes = config.max_message_bytes
        self._timeout = httpx.Timeout(None, connect=config.connect_timeout_s)
        self._limits = httpx.Limits(max_connections=128, max_keepalive_connections=16, keepalive_expiry=_KEEPALIVE_S)
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # prebuilt: httpx would load certificates for each client
        self._clients: dict[NodeAddress, httpx.AsyncClient] = {}

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        async with self._exchange(node, request, accept=VALUE_TYPE) as response:
            status, body = response.status_code, bytearray()
            async with _reading(node, response, response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > 2 * self._max_message_bytes:
                        raise ConnectionLost(f"the reply of {node} is over the size limit")
        try:
            answer = self.codec.decode(body)
            error = error_from_wire(answer["error"]) if "error" in answer else None
            value = _value_of(answer) if error is None else None
        except (DecodeError, TypeError, KeyError, AttributeError) as exc:
            raise ConnectionLost(f"{node} answered with HTTP status {status}, but not as a trionet node does") from exc
        if error is not None:  # raised out here, because a GroupNotFound is a KeyError, too
            raise error
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
        async with _reading(node, response, response.aiter_lines()) as lines:
            async for line in lines:
                try:
                    answer = self.codec.decode(line.encode())
                    if "item" not in answer:
                        last = answer
                        continue  # to the end of the response, so that its connection can be used again
                    item = answer["item"]
                except (DecodeError, TypeError) as exc:
                    raise ConnectionLost(f"an item from {node} can't be read here: {exc}") from exc
                yield item
        if last is None:
            raise ConnectionLost(f"the stream from {node} broke off")
        if "error" in last:
            raise error_from_wire(last["error"])

    @asynccontextmanager
    async def _exchange(self, node: NodeAddress, request: Request, *, accept: str) -> AsyncGenerator[httpx.Response]:
        check_request_size(request, self._max_message_bytes)
        headers = {
            CALL_ID_HEADER: request.id,
            CALLER_HEADER: str(request.caller),
            "Content-Type": VALUE_TYPE,
            "Accept": accept,
        }
        if (left_s := time_left_s()) is not None:
            headers[TIMEOUT_HEADER] = f"{left_s:.6f}"
        path = "/".join(map(_quoted, (request.gid, request.service, request.method)))
        url = f"http://{node}/{path}{_query(request)}"
        async with contextlib.AsyncExitStack() as stack:
            with _translated(node):
                sent = self._client(node).stream("PUT", url, content=request.args, headers=headers)
                response = await stack.enter_async_context(sent)
            yield response

    def _client(self, node: NodeAddress) -> httpx.AsyncClient:
        client = self._clients.get(node)
        if client is None:
            client = self._clients[node] = httpx.AsyncClient(
                verify=self._ssl, trust_env=False, timeout=self._timeout, limits=self._limits
            )
        return client

    async def aclose(self) -> None:
        """Close all connections."""
        async with contextlib.AsyncExitStack() as stack:
            for client in self._clients.values():
                stack.push_async_callback(client.aclose)
        self._clients.clear()


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
    if "value" in answer:
        return Aggregate(**answer)
    return Receipt(**answer) if "id" in answer else Replies(**answer)

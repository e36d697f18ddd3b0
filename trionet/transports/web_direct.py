"""Plain calls, answered in front of Quart's app: ``PUT /<gid>/<service>/<method>`` over HTTP/1.1.

Most requests are such ones, and the app costs several times what a call does: contexts, routing, two tasks, and 20 MiB.
Whatever is unusual about the target, the host or the length goes to the app.

Invariants: an answer is byte for byte that of the app. A handler that waits is cancelled when its client goes away; a
plain function needs no task for that.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import trio

from trionet.errors import RemoteError
from trionet.security.refusals import RequestRefused

from .web_access import ANYONE
from .web_calls import Answer, CallRequest, error_answer, refusal_answer
from .web_errors import status_of, too_large
from .web_head import ON_PROVEN, Headers
from .web_sites import foreign_request_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.config import NodeConfig

    from .web_access import Requester, WebAccess
    from .web_calls import Calls
    from .web_refusals import RefusedRequests

__all__ = ["DirectCall", "DirectCalls"]

T = TypeVar("T")

_METHODS: Final = ("PUT", "POST")
_NAME: Final = rb"(?!\.{1,2}(?:/|$))([A-Za-z0-9._~-]+)"
_TARGET: Final = re.compile(rb"/%b/%b/%b" % (_NAME, _NAME, _NAME))
_HOST: Final = re.compile(rb"(?:[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,9}|\[[0-9a-f:]{2,39}\])(?::[0-9]{1,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_ENDPOINT: Final = "call"


class DirectCall(NamedTuple):
    """What the head of a request for a call says.

    Attributes:
        names: the gid, the service and the method.
        keywords: its query parameters.
        headers: its headers.
        length: the length of its body; None if the head does not say it.
    """

    names: tuple[str, str, str]
    keywords: dict[str, str]
    headers: Headers
    length: int | None


class DirectCalls:
    """Answers the plain calls of one node."""

    def __init__(
        self,
        calls: Calls,
        config: NodeConfig,
        access: WebAccess | None,
        refused: RefusedRequests,
        is_closing: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._config = config
        self._access = access
        self._refused = refused
        self._is_closing = is_closing

    @staticmethod
    def read(scope: Any) -> DirectCall | None:
        """Return the call in a request's head; None if it is none, or an unusual one."""
        if scope["type"] != "http" or scope["method"] not in _METHODS or scope["http_version"] != "1.1":
            return None
        target = _TARGET.fullmatch(scope["raw_path"])
        if target is None:
            return None
        first = dict(reversed(scope["headers"]))
        length = first.get(b"content-length")
        if _HOST.fullmatch(first.get(b"host", b"")) is None or (length and _LENGTH.fullmatch(length) is None):
            return None
        keywords: dict[str, str] = {}
        if scope["query_string"]:
            try:
                found = parse_qsl(scope["query_string"].decode(), keep_blank_values=True, errors="strict")
            except ValueError:
                return None
            for name, value in found:
                keywords.setdefault(name, value)
        gid, service, method = target[1].decode(), target[2].decode(), target[3].decode()
        is_chunked = b"transfer-encoding" in first
        return DirectCall(
            (gid, service, method),
            keywords,
            Headers(scope["headers"]),
            None if is_chunked or length is None else int(length),
        )

    async def answer(self, call: DirectCall, scope: Any, receive: Any, send: Any) -> None:
        """Answer a call, unless its client goes away before."""
        exchange = _Exchange(call.length, self._config.max_message_bytes, receive, send)
        requester: Requester = ANYONE
        try:
            error = foreign_request_error(call.headers, scope["method"], _ENDPOINT, self._config, self._access)
            if error is not None:
                self._refused.note(scope, status_of(error), error.text)
                answer = error_answer(error, self._calls.limit_bytes)
            else:
                if self._access is not None:
                    requester = self._access.requester(scope)
                    scope["state"][ON_PROVEN]()
                answer = await self._calls.answer(_request(call, scope, exchange, requester))
        except _ClientGone:
            return
        except RequestRefused as exc:
            self._refused.note(scope, exc.status, exc.reason)
            answer = refusal_answer(exc, self._calls.limit_bytes)
        except Exception as exc:  # of the user's, around the handler
            answer = error_answer(RemoteError.from_exception(exc), self._calls.limit_bytes)
        await exchange.send(answer, self._headers_of(answer, requester))

    def _headers_of(self, answer: Answer, requester: Requester) -> list[tuple[bytes, bytes]]:
        headers = [*answer.headers, ("Content-Type", answer.content_type)]
        if isinstance(answer.body, bytes):
            headers.append(("Content-Length", str(len(answer.body))))
        if self._is_closing() or requester.is_ending:
            headers.append(("Connection", "close"))
        if requester.signs and isinstance(answer.body, bytes):
            headers += requester.signature_of(headers, answer.status, answer.body)
        return [(name.lower().encode(), value.encode()) for name, value in headers]


def _request(call: DirectCall, scope: Any, exchange: _Exchange, requester: Requester) -> CallRequest:
    client = scope.get("client")
    return CallRequest(
        *call.names,
        keywords=call.keywords.items(),
        headers=call.headers,
        client=client[0] if client else "<local>",
        parts=exchange,
        requester=requester,
        attend=exchange.attend,
    )


class _ClientGone(Exception):
    """The client has gone away before its answer."""


class _Exchange:
    """One request and its answer, as ASGI has them; an iterator over the parts of its body."""

    def __init__(self, length: int | None, limit_bytes: int, receive: Any, send: Any) -> None:
        self._length = length
        self._limit_bytes = limit_bytes
        self._receive = receive
        self._send = send
        self._is_whole = False

    def __aiter__(self) -> _Exchange:
        return self

    async def __anext__(self) -> bytes:
        """Return the next part of the body.

        Raises:
            MessageTooLarge: it is to be longer than the limit.
            _ClientGone: it ends before.
        """
        if self._length is not None and self._length > self._limit_bytes:
            raise too_large(self._limit_bytes)
        if self._is_whole:
            raise StopAsyncIteration
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        self._is_whole = not message.get("more_body", False)
        body: bytes = message["body"]
        return body

    async def attend(self, work: Awaitable[T]) -> T:
        """Await `work`, which is cancelled when the client goes away.

        Raises:
            _ClientGone: it has.
        """
        value: T
        failure: Exception | None = None
        is_done = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                value = await work
            except Exception as exc:
                failure = exc
            is_done = True
            nursery.cancel_scope.cancel()
        try:
            if failure is not None:
                raise failure
            if not is_done:
                raise _ClientGone
            return value
        finally:
            failure = None  # its traceback has this frame

    async def send(self, answer: Answer, headers: list[tuple[bytes, bytes]]) -> None:
        """Send an answer; the rest of a body that has not been read is received meanwhile."""
        if self._is_whole and isinstance(answer.body, bytes):
            await self._send_all(answer, headers)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            await self._send_all(answer, headers)
            nursery.cancel_scope.cancel()

    async def _send_all(self, answer: Answer, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = answer.body
        if not isinstance(body, bytes):
            async with aclosing(body):
                async for part in body:
                    await self._send({"type": "http.response.body", "body": part, "more_body": True})
            body = b""
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Receive what is left, and cancel `scope` when the client goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

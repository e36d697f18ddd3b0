"""Plain requests over HTTP/1.1, answered in front of Quart's app: calls, probes, and metrics.

Most requests are such ones, ``PUT /<gid>/<service>/<method>`` and ``GET`` of a page of `web_plain_pages`, and the app
costs several times what they do: contexts, routing, two tasks, and 20 MiB. Whatever is unusual about the target, the
host or the length goes to the app.

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
from .web_plain_pages import OPEN_PLAIN_PAGES
from .web_sites import foreign_request_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trionet.config import NodeConfig

    from .web_access import Requester, WebAccess
    from .web_calls import Calls
    from .web_plain_pages import PlainPages
    from .web_refusals import RefusedRequests

__all__ = ["DirectAnswers", "DirectCall", "DirectPage"]

T = TypeVar("T")

_METHODS: Final = ("PUT", "POST")
_OF_PAGES: Final = ("GET", "HEAD")
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


class DirectPage(NamedTuple):
    """What the head of a request for a plain page says.

    Attributes:
        name: that of the page.
        headers: its headers.
    """

    name: str
    headers: Headers


class DirectAnswers:
    """Answers the plain requests to one node."""

    def __init__(
        self,
        calls: Calls,
        plain: PlainPages,
        config: NodeConfig,
        access: WebAccess | None,
        refused: RefusedRequests,
        is_closing: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._plain = plain
        self._pages = {f"/{name}".encode(): name for name in plain.names}
        self._config = config
        self._access = access
        self._refused = refused
        self._is_closing = is_closing

    def read(self, scope: Any) -> DirectCall | DirectPage | None:
        """Return what a request's head asks for; None if it is nothing plain, or in an unusual way."""
        if scope["type"] != "http" or scope["http_version"] != "1.1":
            return None
        first = dict(reversed(scope["headers"]))
        if _HOST.fullmatch(first.get(b"host", b"")) is None:
            return None
        if scope["method"] in _METHODS:
            return _call_in(scope, first)
        name = self._pages.get(scope["raw_path"]) if scope["method"] in _OF_PAGES else None
        has_more = scope["query_string"] or b"content-length" in first or b"transfer-encoding" in first
        return None if name is None or has_more else DirectPage(name, Headers(scope["headers"]))

    async def answer(self, asked: DirectCall | DirectPage, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, unless its client goes away before."""
        length, endpoint = (asked.length, _ENDPOINT) if isinstance(asked, DirectCall) else (0, asked.name)
        exchange = _Exchange(length, self._config.max_message_bytes, receive, send)
        requester: Requester = ANYONE
        try:
            error = foreign_request_error(asked.headers, scope["method"], endpoint, self._config, self._access)
            if error is not None:
                self._refused.note(scope, status_of(error), error.text)
                answer = error_answer(error, self._calls.limit_bytes)
            else:
                if self._access is not None and endpoint not in OPEN_PLAIN_PAGES:
                    requester = self._access.requester(scope)
                    scope["state"][ON_PROVEN]()
                answer = await self._answer(asked, scope, exchange, requester)
        except _ClientGone:
            return
        except RequestRefused as exc:
            self._refused.note(scope, exc.status, exc.reason)
            answer = refusal_answer(exc, self._calls.limit_bytes)
        except Exception as exc:  # of the user's, around the handler
            answer = error_answer(RemoteError.from_exception(exc), self._calls.limit_bytes)
        await exchange.send(answer, self._headers_of(answer, requester))

    async def _answer(
        self, asked: DirectCall | DirectPage, scope: Any, exchange: _Exchange, requester: Requester
    ) -> Answer:
        if isinstance(asked, DirectCall):
            return await self._calls.answer(_request(asked, scope, exchange, requester))
        if asked.name not in OPEN_PLAIN_PAGES:
            requester.check_route(is_safe=True)
        return await exchange.attend(self._plain.answer(asked.name, asked.headers.get("Accept", "")))

    def _headers_of(self, answer: Answer, requester: Requester) -> list[tuple[bytes, bytes]]:
        headers = [*answer.headers, ("Content-Type", answer.content_type)]
        if isinstance(answer.body, bytes):
            headers.append(("Content-Length", str(len(answer.body))))
        if self._is_closing() or requester.is_ending:
            headers.append(("Connection", "close"))
        if requester.signs and isinstance(answer.body, bytes):
            headers += requester.signature_of(headers, answer.status, answer.body)
        return [(name.lower().encode(), value.encode()) for name, value in headers]


def _call_in(scope: Any, first: Mapping[bytes, bytes]) -> DirectCall | None:
    """Return the call in a request's head, which has `first` as its headers; None if it is none, or an unusual one."""
    target = _TARGET.fullmatch(scope["raw_path"])
    length = first.get(b"content-length")
    if target is None or (length and _LENGTH.fullmatch(length) is None):
        return None
    keywords: dict[str, str] = {}
    if scope["query_string"]:
        try:
            found = parse_qsl(scope["query_string"].decode(), keep_blank_values=True, errors="strict")
        except ValueError:
            return None
        for name, value in found:
            keywords.setdefault(name, value)
    return DirectCall(
        (target[1].decode(), target[2].decode(), target[3].decode()),
        keywords,
        Headers(scope["headers"]),
        None if b"transfer-encoding" in first or length is None else int(length),
    )


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

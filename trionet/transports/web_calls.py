"""The answer to ``PUT /<gid>/<service>/<method>``, whoever has received the request.

Quart's app and the layer in front of it (`web_direct`) read the request, and send the answer; what lies between is
here, so that both answer alike.

Invariants: a client's right to a method is checked before its body is read; an answer is within the limit of messages.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from trionet.codec import JSON
from trionet.errors import MalformedRequest, RemoteError, TrionetError
from trionet.identity import NodeAddress
from trionet.message import Call, check_args
from trionet.prepared_call import is_awaitable
from trionet.replies import Replies
from trionet.security.refusals import UNAUTHORIZED, RequestRefused

from .base import check_size
from .call_headers import (
    CALL_ID_HEADER,
    CALLER_HEADER,
    DEPTH_HEADER,
    PARENT_HEADER,
    PRINCIPAL_HEADER,
    STREAM_TYPE,
    TIMEOUT_HEADER,
    VALUE_TYPE,
    inner_depth_from,
    parent_from,
    timeout_s_from,
)
from .web_bodies import Bodies
from .web_errors import error_body, status_of
from .web_head import NO_HEADERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable

    from trionet.config import NodeConfig
    from trionet.prepared_call import PreparedCall

    from .base import Handler
    from .web_access import Requester
    from .web_head import Headers

__all__ = ["Answer", "CallRequest", "Calls", "error_answer", "refusal_answer"]

_BODIES_AT_ONCE = 16
"""The memory for arriving bodies, over all connections, in bodies of the largest size."""

_ID_BYTES = 8


class Answer(NamedTuple):
    """The answer to a call, before it has the headers of its connection.

    Attributes:
        status: the HTTP status.
        body: the body, or its parts as they come.
        content_type: the media type of the body.
        headers: further headers.
    """

    status: int
    body: bytes | AsyncGenerator[bytes]
    content_type: str = JSON.content_type
    headers: tuple[tuple[str, str], ...] = ()


class CallRequest(NamedTuple):
    """A request for a call, whose body may not have come.

    Attributes:
        gid, service, method: the names in its path.
        keywords: its query parameters, each name once.
        headers: its headers.
        client: the IP address that it comes from; empty if unknown.
        parts: the parts of its body.
        requester: who makes it.
        attend: awaits its handler, for as long as the client waits.
    """

    gid: str
    service: str
    method: str
    keywords: Iterable[tuple[str, str]]
    headers: Headers
    client: str
    parts: AsyncIterable[bytes]
    requester: Requester
    attend: Callable[[Awaitable[Any]], Awaitable[Any]]


class Calls:
    """Answers requests for calls of one node.

    Attributes:
        limit_bytes: the limit of a body, and of an answer.
    """

    def __init__(self, handler: Handler, config: NodeConfig) -> None:
        self.limit_bytes: int = config.max_message_bytes
        self._handler = handler
        self._codec = JSON.limited(config.max_message_containers)
        self._bodies = Bodies(
            largest_bytes=self.limit_bytes,
            limit_bytes=_BODIES_AT_ONCE * self.limit_bytes,
            timeout_s=config.body_timeout_s,
        )

    async def answer(self, request: CallRequest) -> Answer:
        """Run a call and return its answer.

        Raises:
            RequestRefused: its requester may not make it.
            Exception: the handler's, at the end of the node.
        """
        try:
            prepared = await self._prepared(request)
            if prepared.method.is_stream:
                return Answer(200, self._lines(prepared), STREAM_TYPE)
            return self._value_answer(await _value_of(prepared, request))
        except RequestRefused:
            raise  # it is logged, too
        except TrionetError as exc:
            return error_answer(exc, self.limit_bytes)

    async def _prepared(self, request: CallRequest) -> PreparedCall:
        requester, handler = request.requester, self._handler
        requester.check_method(handler, request.gid, request.service, request.method)
        body = await self._bodies.read(request.parts)
        requester.check_body(body)
        call = _read_call(request, self._codec.decode(body))
        requester.check_call(handler, call)
        prepared = handler.prepare(call)
        _check_accepted(prepared, request)
        return prepared

    def _value_answer(self, value: Any) -> Answer:
        is_wide = isinstance(value, Replies)
        answer = {name: getattr(value, name) for name in value._fields} if is_wide else {"value": value}
        return Answer(200, self._encoded(answer, "a reply"))

    async def _lines(self, prepared: PreparedCall) -> AsyncGenerator[bytes]:
        try:
            async with prepared.stream(trio.CancelScope()) as items:
                async for item in items:
                    yield self._encoded({"item": item}, "an item") + b"\n"
            yield self._encoded({"end": True}, "an item") + b"\n"
        except TrionetError as exc:
            yield error_body(exc, self.limit_bytes) + b"\n"

    def _encoded(self, answer: dict[str, Any], what: str) -> bytes:
        try:
            return check_size(JSON.encode(answer), self.limit_bytes, what)
        except TrionetError as exc:
            raise RemoteError.from_exception(exc) from exc  # the handler has run


def error_answer(error: TrionetError, limit_bytes: int, status: int | None = None) -> Answer:
    """Return the answer for `error`."""
    return Answer(status or status_of(error), error_body(error, limit_bytes))


def refusal_answer(refused: RequestRefused, limit_bytes: int) -> Answer:
    """Return the answer for a refused request."""
    headers = (("WWW-Authenticate", 'Bearer realm="trionet"'),) if refused.status == UNAUTHORIZED else ()
    return Answer(refused.status, error_body(refused, limit_bytes), headers=headers)


async def _value_of(prepared: PreparedCall, request: CallRequest) -> Any:
    """Return the value of a method; a plain function needs no wait, and no task that watches the client meanwhile."""
    awaitable: Awaitable[Any] | None = None
    if prepared.method.is_sync:
        value = prepared.begin()
        if not is_awaitable(value):
            return value
        awaitable = value
    prepared.started_at = trio.current_time()
    return await request.attend(prepared.finish(trio.CancelScope(), awaitable))


def _read_call(request: CallRequest, args: object) -> Call:
    requester, headers = request.requester, request.headers
    believed = headers if requester.is_believed else NO_HEADERS
    caller = believed.get(CALLER_HEADER)
    node = None if caller is None else NodeAddress.of(caller)
    principal, forwarder = requester.principals(node, believed.get(PRINCIPAL_HEADER))
    return Call(
        gid=request.gid,
        service=request.service,
        method=request.method,
        args=check_args(args),
        kwargs={name: _keyword(text) for name, text in request.keywords},
        id=believed.get(CALL_ID_HEADER) or secrets.token_hex(_ID_BYTES),  # by which it is found and cancelled
        caller=node,
        timeout_s=timeout_s_from(headers.get(TIMEOUT_HEADER)),
        inner_depth=inner_depth_from(believed.get(DEPTH_HEADER)),
        is_json=caller is None,  # nodes send their address
        principal=principal,
        forwarder=forwarder,
        client=request.client,
        parent=parent_from(believed.get(PARENT_HEADER)),
        trace=requester.trace(headers),
    )


def _check_accepted(prepared: PreparedCall, request: CallRequest) -> None:
    """Raise `MalformedRequest` when the client accepts only a value, and the method is a stream; or the reverse."""
    accepted = request.headers.get("Accept")
    if accepted == VALUE_TYPE and prepared.method.is_stream:
        raise MalformedRequest(f"{request.service}/{request.method} is a stream: use comm.stream")
    if accepted == STREAM_TYPE and not prepared.method.is_stream:
        raise MalformedRequest(f"{request.service}/{request.method} is no stream: use comm.send")


def _keyword(text: str) -> Any:
    try:
        plain = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # not JSON: plain text
        return text
    return JSON.restore(plain)

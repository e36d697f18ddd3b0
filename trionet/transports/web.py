"""The node's HTTP face: a Quart-Trio app, served by Hypercorn's Trio connection class inside the node's nursery.

``PUT`` (or ``POST``) ``/<gid>/<service>/<method>`` with a JSON list of arguments runs the method; query parameters are
keyword arguments, each JSON (a bare word is a text). The answer is ``{"value": …}``; of a group-wide call
``{"values": {…}, "errors": {…}}``, with ``"value"`` where they are put together; of a failure
``{"error": {"code", "name", "text", …}}``. Values are in the JSON form of `trionet.codec`.

A web page must not be able to call a node through its reader's browser: a request whose ``Origin`` is foreign, or
whose ``Host`` is a name that could have been rebound to this address, is refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import h11
import quart.wrappers.base
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol.events import Body as StreamBody
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response as StreamResponse
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge, RequestTimeout

from trionet.codec import JSON
from trionet.errors import (
    AddressInUse,
    CallTimeout,
    CodeRefused,
    ConnectionLost,
    DecodeError,
    EmptyGroup,
    MalformedRequest,
    MessageTooLarge,
    MethodNotFound,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    RemoteError,
    SIDCollision,
    TemporarilyUnavailable,
    TrionetError,
    error_to_wire,
)
from trionet.identity import NodeAddress
from trionet.message import Call, check_args
from trionet.replies import Replies
from trionet.user_code import pass_endings

from .base import check_size
from .http import CALL_ID_HEADER, CALLER_HEADER, STREAM_TYPE, TIMEOUT_HEADER, VALUE_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hypercorn.protocol import ProtocolWrapper
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

    from trionet.config import NodeConfig
    from trionet.router import PreparedCall

    from .base import Handler

__all__ = ["QuartTrio", "WebServer"]

_LINGER_S = 2.0
_LINGER_READ_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024

_ClientGone: type[Exception] = getattr(quart.wrappers.base, "ClientDisconnectedError", ConnectionAbortedError)

_STATUS_OF = {
    NotFound: 404,
    MalformedRequest: 400,
    NotPermitted: 403,
    CodeRefused: 403,
    EmptyGroup: 409,
    SIDCollision: 409,
    AddressInUse: 409,
    MessageTooLarge: 413,
    NodeUnreachable: 502,
    ConnectionLost: 502,
    TemporarilyUnavailable: 503,
    CallTimeout: 504,
}


class WebServer:
    """Serves HTTP connections of one node.

    Attributes:
        app: the Quart-Trio app; further routes may be added to it before the first request.
        closing: whether answers tell the client not to send further requests on their connection.
    """

    def __init__(self, handler: Handler, config: NodeConfig) -> None:
        self.closing = False
        self.app: QuartTrio = _make_app(handler, config)
        self.app.after_request(self._say_when_closing)
        self._config = _hypercorn_config(config)
        self._context = WorkerContext(None)
        self._state: dict[str, Any] = {}
        self._wrapped = ASGIWrapper(_with_path(self.app))
        self._starting = trio.Lock()
        self._is_started = False

    async def started(self, nursery: trio.Nursery) -> None:
        """Start the app up in `nursery`, if that has not been done yet."""
        async with self._starting:
            if not self._is_started:
                await nursery.start(self.run)
                self._is_started = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the app started up (ASGI lifespan) until cancelled, and shut it down then."""
        lifespan = Lifespan(self._wrapped, self._config, self._state)
        shielded = trio.CancelScope(shield=True)

        async def handle_lifespan(*, task_status: trio.TaskStatus[None]) -> None:
            with shielded:
                await lifespan.handle_lifespan(task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(handle_lifespan)
            try:
                await lifespan.wait_for_startup()
                task_status.started()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(self._config.shutdown_timeout, shield=True):
                    await lifespan.wait_for_shutdown()
                shielded.cancel()

    def connect(self, stream: trio.SocketStream, first: bytes) -> _HTTPConnection:
        """Return the connection that serves `stream`, of which `first` has been read."""
        return _HTTPConnection(self._wrapped, self._config, self._context, self._state, stream, first)

    async def _say_when_closing(self, response: Response) -> Response:
        if self.closing and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        return response

    async def finish(self) -> None:
        """Close idle connections, and the others once they have answered."""
        await self._context.terminated.set()


class _HTTPConnection(TCPServer):
    """One HTTP connection, which tells when it is idle, and can be aborted."""

    def __init__(
        self, app: Any, config: Config, context: WorkerContext, state: Any, stream: trio.SocketStream, first: bytes
    ) -> None:
        pushed_back = _PushedBack(stream, first, config.keep_alive_timeout)
        super().__init__(app, config, context, state, pushed_back)  # type: ignore[arg-type]  # a stream
        self._socket = stream.socket
        self._reader: trio.lowlevel.Task | None = None
        self._input_ended = trio.Event()
        self.idle_since: float | None = trio.current_time()

    @property
    def protocol(self) -> ProtocolWrapper:
        return self._protocol

    @protocol.setter
    def protocol(self, made: ProtocolWrapper) -> None:
        """Take the protocol that Hypercorn has made for this connection, with our own failures in place of its own."""
        self._protocol = made
        made.protocol = _H11Protocol(
            made.app,
            made.config,
            made.context,
            made.task_group,
            made.state,
            made.ssl,
            made.client,
            made.server,
            made.send,
        )

    async def _read_data(self) -> None:
        self._reader = trio.lowlevel.current_task()
        await super()._read_data()
        # The peer has gone. Hypercorn would keep the connection open until it has been idle for long enough.
        self._input_ended.set()
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self.idle_since = trio.current_time() if event.idle else None
            if self._input_ended.is_set():
                return
        # This runs in the app's task, which Quart-Trio cancels once the answer is out: the idle timer must start, or
        # the socket close, all the same. Writes are shielded already.
        with trio.CancelScope(shield=not isinstance(event, RawData)):
            await super().protocol_send(event)

    def abort(self) -> None:
        self._socket.close()

    async def _close(self) -> None:
        if self._input_unread():
            with trio.move_on_after(_LINGER_S, shield=True):
                await self.stream.send_eof()
                if self._reader is trio.lowlevel.current_task():
                    await self._discard_input()
                else:
                    await self._input_ended.wait()
        await super()._close()

    def _input_unread(self) -> bool:
        """Whether the peer is in the middle of a request that was answered already (with 413, or 400, say).

        Closing a socket with unread data resets the connection, and the peer may lose the answer with it.
        """
        protocol = getattr(getattr(self, "protocol", None), "protocol", None)
        return getattr(getattr(protocol, "connection", None), "their_state", None) in {h11.SEND_BODY, h11.ERROR}

    async def _discard_input(self) -> None:
        try:
            while await self.stream.receive_some(_LINGER_READ_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass


class _H11Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, whose own failures (of requests that don't get as far as the app) have a body as all do."""

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, StreamResponse) and event.status_code >= HTTPStatus.BAD_REQUEST and _is_empty(event):
            headers, body = _own_failure(event.status_code)
            await super().stream_send(StreamResponse(event.stream_id, headers, event.status_code))
            await super().stream_send(StreamBody(event.stream_id, body))
        else:
            await super().stream_send(event)

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = _own_failure(status_code)
        for event in (h11.Response(headers=headers, status_code=status_code), h11.Data(body), h11.EndOfMessage()):
            await self._send_h11_event(event)


def _is_empty(response: StreamResponse) -> bool:
    return (b"content-length", b"0") in response.headers


def _own_failure(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    if status != HTTPStatus.INTERNAL_SERVER_ERROR:
        error: TrionetError = MalformedRequest(f"no proper HTTP request: {status} {HTTPStatus(status).phrase}")
    else:
        error = RemoteError("the request could not be served", type_name="", message="", traceback="")
    body = JSON.encode({"error": error_to_wire(error)})
    headers = [
        (b"content-type", JSON.content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    return headers, body


class _PushedBack:
    """A socket stream, of which some bytes have been read and are given again, and whose peer must read in time."""

    def __init__(self, stream: trio.SocketStream, first: bytes, write_timeout_s: float) -> None:
        self._first = first
        self._write_timeout_s = write_timeout_s
        self.socket = stream.socket
        self.receive_more = stream.receive_some
        self.send_piece = stream.send_all
        self.aclose = stream.aclose

    async def send_all(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            with trio.move_on_after(self._write_timeout_s) as scope:
                await self.send_piece(memoryview(data)[start : start + _PIECE_BYTES])
            if scope.cancelled_caught:
                self.socket.close()
                raise trio.BrokenResourceError("the peer does not read its answer")

    async def send_eof(self) -> None:
        # The stream's own would make what is being sent meanwhile raise BusyResourceError.
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):
            self.socket.shutdown(trio.socket.SHUT_WR)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return first
        return await self.receive_more(max_bytes)


def _with_path(app: QuartTrio) -> Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]:
    """Return `app` behind a check of the request's target, of which Quart takes for granted that it is one.

    And behind a guard: that the client has gone is no error, as it is for Quart from 0.23 on.
    """

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and not scope["path"].startswith("/"):
            try:
                path = urlsplit(scope["path"]).path
            except ValueError:
                path = ""
            scope["path"] = path if path.startswith("/") else "/"
        try:
            await _ignoring_gone_clients(app(scope, receive, send))
        except Exception:
            raise
        except BaseException as exc:  # a view of the user's has raised it; Hypercorn answers 500 to an Exception
            pass_endings(exc)
            raise RemoteError.from_exception(exc) from exc

    return run


async def _ignoring_gone_clients(work: Awaitable[None]) -> None:
    try:
        await work
    except* _ClientGone:
        pass


def _hypercorn_config(config: NodeConfig) -> Config:
    hypercorn_config = Config()
    hypercorn_config.accesslog = None
    hypercorn_config.errorlog = logging.getLogger("trionet.http")
    hypercorn_config.include_server_header = False
    hypercorn_config.keep_alive_timeout = config.idle_timeout_s
    hypercorn_config.keep_alive_max_requests = 1_000_000_000  # a node's peers stay
    return hypercorn_config


def _make_app(handler: Handler, config: NodeConfig) -> QuartTrio:
    app = QuartTrio("trionet", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.max_message_bytes
    app.config["BODY_TIMEOUT"] = config.body_timeout_s
    app.config["RESPONSE_TIMEOUT"] = None

    @app.before_request
    async def refuse_foreign_pages() -> Response | None:
        error = _foreign_page_error(request.headers.get("Origin"), request.host)
        return None if error is None else _error_response(error)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response(JSON.encode({"status": "ok"}), content_type="application/json")

    @app.route("/<gid>/<service>/<method>", methods=["PUT", "POST"])
    async def call(gid: str, service: str, method: str) -> Response:
        try:
            prepared = handler.prepare(_read_call(gid, service, method, await _read_body(config)))
            _check_accepted(prepared, f"{service}/{method}")
            if prepared.method.is_stream:
                return _stream_response(prepared, config.max_message_bytes)
            return _value_response(await prepared.finish(trio.CancelScope()), config.max_message_bytes)
        except TrionetError as exc:
            return _error_response(exc)

    @app.errorhandler(HTTPException)
    async def http_error(exc: HTTPException) -> Response:
        return _error_response(_translate(exc), exc.code, dict(exc.get_headers()))

    @app.errorhandler(Exception)
    async def other_error(exc: Exception) -> Response:
        return _error_response(RemoteError.from_exception(exc))

    return app


async def _read_body(config: NodeConfig) -> bytes:
    """Read the body, watching its size as it comes: Quart 0.23 itself looks at that only when all of it has come."""
    body = bytearray()
    with trio.move_on_after(config.body_timeout_s):
        async for part in request.body:
            body += part
            if len(body) > config.max_message_bytes:
                raise RequestEntityTooLarge
        return bytes(body)
    raise RequestTimeout


def _read_call(gid: str, service: str, method: str, body: bytes) -> Call:
    caller, timeout = request.headers.get(CALLER_HEADER), request.headers.get(TIMEOUT_HEADER)
    return Call(
        gid=gid,
        service=service,
        method=method,
        args=check_args(JSON.decode(body)),
        kwargs={name: _keyword(text) for name, text in request.args.items()},
        id=request.headers.get(CALL_ID_HEADER, ""),
        caller=None if caller is None else NodeAddress.of(caller),
        timeout_s=None if timeout is None else _seconds(timeout),
    )


def _check_accepted(prepared: PreparedCall, name: str) -> None:
    """Raise `MalformedRequest` when the client accepts a value alone from a stream, or a stream alone from the rest."""
    accepted = request.headers.get("Accept")
    if accepted == VALUE_TYPE and prepared.method.is_stream:
        raise MalformedRequest(f"{name} is a stream: use comm.stream")
    if accepted == STREAM_TYPE and not prepared.method.is_stream:
        raise MalformedRequest(f"{name} is no stream: use comm.send")


def _keyword(text: str) -> Any:
    try:
        return JSON.decode(text.encode())
    except DecodeError:
        return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise MalformedRequest(f"{TIMEOUT_HEADER} is a number of seconds, not {text!r:.40}")
    return seconds


def _value_response(value: Any, max_message_bytes: int) -> Response:
    if isinstance(value, Replies):
        answer: dict[str, Any] = {name: getattr(value, name) for name in value._attributes()}  # noqa: SLF001
    else:
        answer = {"value": value}
    try:
        body = check_size(JSON.encode(answer), max_message_bytes, "a reply")
    except TrionetError as exc:
        return _error_response(RemoteError.from_exception(exc))  # the handler did run
    return Response(body, content_type="application/json")


def _stream_response(prepared: PreparedCall, max_message_bytes: int) -> Response:
    async def lines() -> AsyncGenerator[bytes]:
        try:
            async with prepared.stream(trio.CancelScope()) as items:
                async for item in items:
                    yield _line({"item": item}, max_message_bytes)
            yield _line({"end": True}, max_message_bytes)
        except TrionetError as exc:
            yield _line({"error": error_to_wire(exc)}, max_message_bytes)

    response = Response(lines(), content_type=STREAM_TYPE)
    response.timeout = None
    return response


def _line(answer: dict[str, Any], max_message_bytes: int) -> bytes:
    try:
        return check_size(JSON.encode(answer), max_message_bytes, "an item") + b"\n"
    except TrionetError as exc:
        raise RemoteError.from_exception(exc) from exc


def _error_response(error: TrionetError, status: int | None = None, headers: dict[str, str] | None = None) -> Response:
    if status is None:
        status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
    kept = {name: value for name, value in (headers or {}).items() if name.lower() == "allow"}
    body = JSON.encode({"error": error_to_wire(error)})
    return Response(body, status=status, headers=kept, content_type="application/json")


def _translate(exc: HTTPException) -> TrionetError:
    if isinstance(exc, RequestEntityTooLarge):
        return MessageTooLarge("the request is over the size limit")
    if isinstance(exc, MethodNotAllowed):
        return MalformedRequest("call with PUT or POST")
    if exc.code == 404:  # noqa: PLR2004  a well-known number
        return MethodNotFound("paths are /<gid>/<service>/<method>")
    return MalformedRequest(f"{exc.code} {exc.name}")


def _foreign_page_error(origin: str | None, host: str) -> NotPermitted | None:
    """Return why a browser's request is refused, or None.

    A page of another site says so in ``Origin`` (Fetch Standard, 3.2); one that rebound its own name to our address
    still sends that name in ``Host``.
    """
    if origin is None:
        return None
    try:
        site, name = urlsplit(origin).netloc, urlsplit(f"//{host}").hostname or ""
    except ValueError:  # an IPv6 address that is none
        site, name = "", ""
    if not site or site != host:
        return NotPermitted(f"calls from pages of {origin:.100} are refused")
    if name != "localhost":
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return NotPermitted(f"calls from pages that reach this node as {name:.100} are refused: use its address")
    return None

"""The node's HTTP face: a Quart-Trio app, served by Hypercorn's Trio connection class inside the node's nursery.

``PUT`` (or ``POST``) ``/<gid>/<service>/<method>`` with a JSON list of arguments runs the method. Query parameters are
keyword arguments, in JSON (a bare word is a text). The response is ``{"value": …}``; for a group-wide call
``{"values": {…}, "errors": {…}}``, with ``"value"`` for an aggregate; for a failure
``{"error": {"code", "name", "text", …}}``. Values are in the JSON form of `trionet.codec`.

Requests of foreign web pages (`web_origin`) and with ambiguous framing (`web_framing`) are refused. On a node with
keys, so are those without a proof (`web_access`).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakMethod

import msgspec
import quart.wrappers.base
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from quart import Response, g, request, websocket
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from trionet.codec import JSON
from trionet.errors import MalformedRequest, RemoteError, TrionetError
from trionet.identity import NodeAddress
from trionet.log_limits import limited_log
from trionet.message import Call, check_args
from trionet.replies import Replies
from trionet.security.refusals import UNAUTHORIZED, RequestRefused
from trionet.user_code import pass_endings

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
from .web_access import ANYONE
from .web_bodies import Bodies
from .web_connection import HTTPConnection
from .web_dashboard import ABORT, READING_ENDPOINTS
from .web_endings import closing_unless_read
from .web_errors import error_body, error_of, error_response, status_of
from .web_pages import OPEN_PAGES, add_health, add_pages
from .web_refusals import RefusedRequests
from .web_sites import SAFE_METHODS, foreign_request_error
from .web_tls import TLS_CLIENT, SecuredStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

    from trionet.config import NodeConfig
    from trionet.prepared_call import PreparedCall

    from .base import Handler
    from .shown import Pages
    from .web_access import Requester, WebAccess

__all__ = ["QuartTrio", "WebServer"]

_BODIES_AT_ONCE = 16
"""The memory for arriving bodies, over all connections, in bodies of the largest size."""

_ON_PROVEN = "trionet.on_proven"
"""The key, in the ASGI state of a connection, of what is called once its client has proven itself."""

_ID_BYTES = 8

_CALL = "call"
"""The endpoint of calls."""

_ClientGone: type[Exception] = getattr(quart.wrappers.base, "ClientDisconnectedError", ConnectionAbortedError)


class WebServer:
    """Serves HTTP connections of one node.

    Attributes:
        app: the Quart-Trio app; further routes may be added to it before the first request.
        closing: whether responses close their connection.
        refused: the requests that were refused because of who made them.
    """

    def __init__(
        self, handler: Handler, config: NodeConfig, access: WebAccess | None = None, pages: Pages | None = None
    ) -> None:
        """Make the app.

        Args:
            handler: runs the calls.
            config: the node's.
            access: checks who makes a request; None on a node without a key or a certificate, where everyone may call.
            pages: what it shows besides its services.
        """
        self.closing: bool = False
        self.refused: RefusedRequests = RefusedRequests()
        self.app: QuartTrio = _make_app(handler, config, access, self.refused, pages)
        self.app.after_request(self._add_close_header)
        self._config = _hypercorn_config(config)
        self._context = WorkerContext(None)
        self._state: dict[str, Any] = {}
        self._wrapped = ASGIWrapper(_with_path(self.app))
        self._starting = trio.Lock()
        self._is_started = False

    async def started(self, nursery: trio.Nursery) -> None:
        """Start the app in `nursery`, once."""
        async with self._starting:
            if not self._is_started:
                await nursery.start(self.run)
                self._is_started = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the lifespan of the app (ASGI) until cancelled; then shut it down."""
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

    def connect(
        self,
        stream: trio.SocketStream | SecuredStream,
        first: bytes,
        on_proven: Callable[[], object] = lambda: None,
    ) -> HTTPConnection:
        """Return the connection on `stream`, whose first bytes have been read.

        ``on_proven()`` is called with each request that has a valid token or signature.
        """
        state = {**self._state, _ON_PROVEN: on_proven}
        if isinstance(stream, SecuredStream):
            state[TLS_CLIENT] = stream.client
        connection = HTTPConnection(self._wrapped, self._config, self._context, state, stream, first)
        state[ABORT] = WeakMethod(connection.abort)
        return connection

    async def _add_close_header(self, response: Response) -> Response:
        if self.closing and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        return response

    def close(self) -> None:
        """Have each response close its connection."""
        self.closing = True

    async def finish(self) -> None:
        """Close idle connections at once, and the others after their response."""
        await self._context.terminated.set()


def _with_path(app: QuartTrio) -> Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]:
    """Return `app` with a check of the request's target, which Quart assumes to be valid.

    A disconnected client is no error, unlike in Quart from 0.23 on.
    """

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and not scope["path"].startswith("/"):
            try:
                path = urlsplit(scope["path"]).path
            except ValueError:
                path = ""
            scope["path"] = path if path.startswith("/") else "/"
        try:
            await _ignoring_gone_clients(app(scope, *closing_unless_read(scope, receive, send)))
        except Exception:
            raise
        except BaseException as exc:  # of the user's view; Hypercorn answers 500 to an Exception
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
    hypercorn_config.errorlog = limited_log("trionet.http")
    hypercorn_config.include_server_header = False
    hypercorn_config.keep_alive_timeout = config.idle_timeout_s
    hypercorn_config.keep_alive_max_requests = 1_000_000_000  # peers keep their connections
    return hypercorn_config


def _make_app(
    handler: Handler, config: NodeConfig, access: WebAccess | None, refused: RefusedRequests, pages: Pages | None
) -> QuartTrio:
    app = QuartTrio("trionet", static_folder=None)
    app.logger = limited_log("trionet.http")
    app.config["MAX_CONTENT_LENGTH"] = config.max_message_bytes
    app.config["BODY_TIMEOUT"] = config.body_timeout_s
    app.config["RESPONSE_TIMEOUT"] = None
    limit_bytes = config.max_message_bytes

    @app.before_request
    @app.before_websocket
    async def refuse_foreign_pages() -> Response | None:
        error = foreign_request_error(config, access)
        if error is None:
            return None
        refused.note((request or websocket).scope, status_of(error), error.text)
        return error_response(error, limit_bytes)

    if access is not None:
        _require_proof(app, access, refused, limit_bytes)

    add_health(app)
    if pages is not None:
        add_pages(app, pages, handler, config, access)
    _add_calls(app, handler, config)
    _add_error_handlers(app, limit_bytes)
    return app


def _add_calls(app: QuartTrio, handler: Handler, config: NodeConfig) -> None:
    codec = JSON.limited(config.max_message_containers)
    limit_bytes = config.max_message_bytes
    bodies = Bodies(
        largest_bytes=limit_bytes, limit_bytes=_BODIES_AT_ONCE * limit_bytes, timeout_s=config.body_timeout_s
    )

    @app.route("/<gid>/<service>/<method>", methods=["PUT", "POST"])
    async def call(gid: str, service: str, method: str) -> Response:
        try:
            requester: Requester = g.get("requester", ANYONE)
            requester.check_method(handler, gid, service, method)
            body = await bodies.read(request.body)
            requester.check_body(body)
            read = _read_call(gid, service, method, codec.decode(body), requester)
            requester.check_call(handler, read)
            prepared = handler.prepare(read)
            _check_accepted(prepared, f"{service}/{method}")
            if prepared.method.is_stream:
                return _stream_response(prepared, limit_bytes)
            prepared.started_at = trio.current_time()
            return _value_response(await prepared.finish(trio.CancelScope()), limit_bytes)
        except RequestRefused:
            raise  # it is logged, too
        except TrionetError as exc:
            return error_response(exc, limit_bytes)


def _require_proof(app: QuartTrio, access: WebAccess, refused: RefusedRequests, limit_bytes: int) -> None:
    """Have `app` refuse requests without a proof, and sign its answers to nodes."""

    @app.before_request
    @app.before_websocket
    async def check_proof() -> None:
        asked = request or websocket
        if asked.endpoint not in OPEN_PAGES:
            g.requester = requester = access.requester(asked.scope)
            asked.scope["state"][_ON_PROVEN]()
            if asked.endpoint != _CALL:
                is_safe = bool(request) and (request.method in SAFE_METHODS or asked.endpoint in READING_ENDPOINTS)
                requester.check_route(is_safe=is_safe)

    @app.errorhandler(RequestRefused)
    async def refuse(exc: RequestRefused) -> Response:
        refused.note((request or websocket).scope, exc.status, exc.reason)
        headers = {"WWW-Authenticate": 'Bearer realm="trionet"'} if exc.status == UNAUTHORIZED else {}
        return error_response(exc, limit_bytes, exc.status, headers)

    @app.after_request
    async def sign(response: Response) -> Response:
        requester: Requester = g.get("requester", ANYONE)
        if requester.is_ending and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        return await requester.signed(response)


def _add_error_handlers(app: QuartTrio, limit_bytes: int) -> None:
    @app.errorhandler(HTTPException)
    async def http_error(exc: HTTPException) -> Response:
        (request or websocket).routing_exception = None  # its traceback refers to the request: a cycle
        allowed = {name: value for name, value in exc.get_headers() if name.lower() == "allow"}
        return error_response(error_of(exc, limit_bytes), limit_bytes, exc.code, allowed)

    @app.errorhandler(Exception)
    async def other_error(exc: Exception) -> Response:
        return error_response(RemoteError.from_exception(exc), limit_bytes)


def _read_call(gid: str, service: str, method: str, args: object, requester: Requester) -> Call:
    """Return the call of a request."""
    believed = request.headers if requester.is_believed else Headers()
    caller = believed.get(CALLER_HEADER)
    node = None if caller is None else NodeAddress.of(caller)
    principal, forwarder = requester.principals(node, believed.get(PRINCIPAL_HEADER))
    return Call(
        gid=gid,
        service=service,
        method=method,
        args=check_args(args),
        kwargs={name: _keyword(text) for name, text in request.args.items()},
        id=believed.get(CALL_ID_HEADER) or secrets.token_hex(_ID_BYTES),  # by which it is found and cancelled
        caller=node,
        timeout_s=timeout_s_from(request.headers.get(TIMEOUT_HEADER)),
        inner_depth=inner_depth_from(believed.get(DEPTH_HEADER)),
        is_json=caller is None,  # nodes send their address
        principal=principal,
        forwarder=forwarder,
        client=request.remote_addr or "",
        parent=parent_from(believed.get(PARENT_HEADER)),
        trace=requester.trace(request.headers),
    )


def _check_accepted(prepared: PreparedCall, name: str) -> None:
    """Raise `MalformedRequest` when the client accepts only a value, and the method is a stream; or the reverse."""
    accepted = request.headers.get("Accept")
    if accepted == VALUE_TYPE and prepared.method.is_stream:
        raise MalformedRequest(f"{name} is a stream: use comm.stream")
    if accepted == STREAM_TYPE and not prepared.method.is_stream:
        raise MalformedRequest(f"{name} is no stream: use comm.send")


def _keyword(text: str) -> Any:
    try:
        plain = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # not JSON: plain text
        return text
    return JSON.restore(plain)


def _value_response(value: Any, max_message_bytes: int) -> Response:
    answer = {name: getattr(value, name) for name in value._fields} if isinstance(value, Replies) else {"value": value}
    return Response(_encoded(answer, max_message_bytes, "a reply"), content_type="application/json")


def _stream_response(prepared: PreparedCall, max_message_bytes: int) -> Response:
    async def lines() -> AsyncGenerator[bytes]:
        try:
            async with prepared.stream(trio.CancelScope()) as items:
                async for item in items:
                    yield _encoded({"item": item}, max_message_bytes, "an item") + b"\n"
            yield _encoded({"end": True}, max_message_bytes, "an item") + b"\n"
        except TrionetError as exc:
            yield error_body(exc, max_message_bytes) + b"\n"

    response = Response(lines(), content_type=STREAM_TYPE)
    response.timeout = None
    return response


def _encoded(answer: dict[str, Any], max_message_bytes: int, what: str) -> bytes:
    try:
        return check_size(JSON.encode(answer), max_message_bytes, what)
    except TrionetError as exc:
        raise RemoteError.from_exception(exc) from exc  # the handler has run

"""The Quart-Trio app of the node's HTTP face; imported on first use, because Quart takes half a second and 20 MiB.

Requests of foreign web pages (`web_origin`) are refused. On a node with keys, so are those without a proof
(`web_access`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import quart.wrappers.base
from quart import Response, g, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from trionet.errors import RemoteError
from trionet.log_limits import limited_log
from trionet.security.refusals import RequestRefused

from .web_access import ANYONE
from .web_calls import CallRequest, refusal_answer
from .web_dashboard import READING_ENDPOINTS
from .web_errors import status_of
from .web_head import ON_PROVEN, Headers
from .web_pages import OPEN_PAGES, add_pages, add_plain_pages
from .web_responses import error_of, error_response
from .web_sites import SAFE_METHODS, foreign_request_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from werkzeug.routing import MapAdapter

    from trionet.config import NodeConfig

    from .base import Handler
    from .shown import Pages
    from .web_access import Requester, WebAccess
    from .web_calls import Answer, Calls
    from .web_plain_pages import PlainPages
    from .web_refusals import RefusedRequests

__all__ = ["ClientGone", "QuartTrio", "make_app"]

_CALL = "call"
"""The endpoint of calls."""

ClientGone: type[Exception] = getattr(quart.wrappers.base, "ClientDisconnectedError", ConnectionAbortedError)
"""What Quart from 0.23 on raises when the client has disconnected."""


class _App(QuartTrio):
    """An app for which a host that is no name is a fault of the request; Quart before 0.23 fails then."""

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Return what finds the route of a request."""
        try:
            return super().create_url_adapter(request)
        except HTTPException as exc:
            adapter = self.url_map.bind("localhost")
            adapter.match = partial(_raise, exc.with_traceback(None))  # type: ignore[method-assign]
            return adapter


def _raise(exc: HTTPException, **_: object) -> NoReturn:
    raise exc


def make_app(
    handler: Handler,
    calls: Calls,
    config: NodeConfig,
    access: WebAccess | None,
    refused: RefusedRequests,
    pages: Pages | None,
    plain: PlainPages,
    is_closing: Callable[[], bool],
) -> QuartTrio:
    """Return the app of one node; for its arguments see `trionet.transports.web.WebServer`.

    Args:
        handler: runs the calls.
        calls: answers them.
        config: the node's.
        access: checks who makes a request; None where everyone may call.
        refused: counts the refused requests.
        pages: what the node shows besides its services.
        plain: answers for its health and its metrics.
        is_closing: tells whether answers close their connection.
    """
    app = _App("trionet", static_folder=None)
    app.logger = limited_log("trionet.http")
    app.config["MAX_CONTENT_LENGTH"] = limit_bytes = config.max_message_bytes
    app.config["BODY_TIMEOUT"] = config.body_timeout_s
    app.config["RESPONSE_TIMEOUT"] = None

    @app.before_request
    @app.before_websocket
    async def refuse_foreign_pages() -> Response | None:
        asked = request or websocket
        error = foreign_request_error(Headers(asked.scope["headers"]), asked.method, asked.endpoint, config, access)
        if error is None:
            return None
        refused.note(asked.scope, status_of(error), error.text)
        return error_response(error, limit_bytes)

    if access is not None:
        _require_proof(app, access, refused, limit_bytes)

    _close_when_closing(app, is_closing)
    add_plain_pages(app, plain)
    if pages is not None:
        add_pages(app, pages, handler, config, access)
    _add_calls(app, calls)
    _add_error_handlers(app, limit_bytes)
    return app


def _close_when_closing(app: QuartTrio, is_closing: Callable[[], bool]) -> None:
    @app.after_request
    async def add_close_header(response: Response) -> Response:
        if is_closing() and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        return response


def _add_calls(app: QuartTrio, calls: Calls) -> None:
    @app.route("/<gid>/<service>/<method>", methods=["PUT", "POST"])
    async def call(gid: str, service: str, method: str) -> Response:
        answer = await calls.answer(
            CallRequest(
                gid,
                service,
                method,
                keywords=request.args.items(),
                headers=Headers(request.scope["headers"]),
                client=request.remote_addr or "",
                parts=request.body,
                requester=g.get("requester", ANYONE),
                attend=_attend,
            )
        )
        return _response(answer)


async def _attend(work: Awaitable[Any]) -> Any:
    """Await `work`; Quart-Trio cancels the request when its client goes away."""
    return await work


def _response(answer: Answer) -> Response:
    response = Response(
        answer.body, status=answer.status, headers=dict(answer.headers), content_type=answer.content_type
    )
    if not isinstance(answer.body, bytes):
        response.timeout = None
    return response


def _require_proof(app: QuartTrio, access: WebAccess, refused: RefusedRequests, limit_bytes: int) -> None:
    """Have `app` refuse requests without a proof, and sign its answers to nodes."""

    @app.before_request
    @app.before_websocket
    async def check_proof() -> None:
        asked = request or websocket
        if asked.endpoint not in OPEN_PAGES:
            g.requester = requester = access.requester(asked.scope)
            asked.scope["state"][ON_PROVEN]()
            if asked.endpoint != _CALL:
                is_safe = bool(request) and (request.method in SAFE_METHODS or asked.endpoint in READING_ENDPOINTS)
                requester.check_route(is_safe=is_safe)

    @app.errorhandler(RequestRefused)
    async def refuse(exc: RequestRefused) -> Response:
        refused.note((request or websocket).scope, exc.status, exc.reason)
        return _response(refusal_answer(exc, limit_bytes))

    @app.after_request
    async def sign(response: Response) -> Response:
        requester: Requester = g.get("requester", ANYONE)
        if requester.is_ending and request.http_version.startswith("1"):
            response.headers["Connection"] = "close"
        if requester.signs:
            body = await response.get_data(as_text=False)
            head = list(response.headers.items())
            response.headers.extend(requester.signature_of(head, response.status_code, body))
        return response


def _add_error_handlers(app: QuartTrio, limit_bytes: int) -> None:
    @app.errorhandler(HTTPException)
    async def http_error(exc: HTTPException) -> Response:
        (request or websocket).routing_exception = None  # its traceback refers to the request: a cycle
        allowed = {name: value for name, value in exc.get_headers() if name.lower() == "allow"}
        return error_response(error_of(exc, limit_bytes), limit_bytes, exc.code, allowed)

    @app.errorhandler(Exception)
    async def other_error(exc: Exception) -> Response:
        return error_response(RemoteError.from_exception(exc), limit_bytes)

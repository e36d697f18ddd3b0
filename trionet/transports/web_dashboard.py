"""The dashboard on a node's HTTP face: the page at ``/`` and ``/dashboard``, its files, and the stream of its topics.

The page and its files have no data in them, and are for anyone; the stream needs the scope ``read`` where the node has
a key. A browser gets its token by a ticket; see `web_tickets`.

Invariants: the page runs no code but its own files', talks to its own node only, and is shown in no frame. A stream
ends when its token does.

Source: HTML Standard, 9.2 (server-sent events); CSP Level 3; RFC 9110, 13.1.2 (If-None-Match).
"""

from __future__ import annotations

import time
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from quart import Response, g, request

from trionet.codec import JSON
from trionet.errors import MethodNotFound, NotFound, TemporarilyUnavailable, TrionetError
from trionet.message import LOCAL, Call
from trionet.security.refusals import RequestRefused
from trionet.security.tokens import bearer_token

from .web_access import ANYONE
from .web_head import ABORT
from .web_origin import foreign_host_error, own_names
from .web_responses import error_response
from .web_sites import FILE_ENDPOINTS
from .web_tickets import TICKET_PREFIX, Tickets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from quart_trio import QuartTrio

    from trionet.config import NodeConfig

    from .base import Handler
    from .shown import Dashboard, Pages
    from .web_access import Grant, Requester, WebAccess

__all__ = ["OPEN_ENDPOINTS", "PAGE_HEADERS", "READING_ENDPOINTS", "add_dashboard"]

OPEN_ENDPOINTS: Final = FILE_ENDPOINTS | {"dashboard_session"}
"""The endpoints that need no token."""

READING_ENDPOINTS: Final = frozenset({"dashboard_ticket"})
"""The endpoints that need the scope ``read``, whatever their method."""

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""The headers of the page and of all its files."""

_PAGE: Final = "index.html"
_PLACES: Final = ("/", "/dashboard")
"""Where the page is; its own links fit both."""
_USED: Final = (
    "this link has been used, or is older than a minute: run trionet dashboard again; if it was not you who has used "
    "it, somebody else on your machine has, who may see what you may"
)
_DATA_HEADERS: Final = {**PAGE_HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CHECK_S: Final = 15.0
"""The time after which the proof of a viewer is checked again: its key may be retired."""


def add_dashboard(app: QuartTrio, pages: Pages, handler: Handler, config: NodeConfig, access: WebAccess | None) -> None:
    """Add the page, its files and its stream; routes of the user's for its places go first."""
    limit_bytes = config.max_message_bytes
    _add_page(app, pages, limit_bytes)

    @app.get("/dashboard/<name>")
    async def dashboard_file(name: str) -> Response:
        return await _file(pages.dashboard, name, limit_bytes)

    @app.get("/dashboard/stream")
    async def dashboard_stream() -> Response:
        requester: Requester = g.get("requester", ANYONE)
        grant = requester.grant
        error = None if grant.is_proven else foreign_host_error(request.headers.getlist("Host"), own_names(config))
        if error is not None:
            return error_response(error, limit_bytes, headers=_DATA_HEADERS)
        try:
            handler.prepare(_question(requester))
            events = pages.dashboard.stream(request.args, _aborting(request.scope))
        except TrionetError as exc:
            return error_response(exc, limit_bytes, headers=_DATA_HEADERS)
        is_asked = request.method != "HEAD"
        messages = _while_granted(events, grant, access, request.scope) if is_asked else b""
        response = Response(messages, content_type="text/event-stream", headers=_DATA_HEADERS)
        response.timeout = None
        return response

    _add_sessions(app, access)


def _add_page(app: QuartTrio, pages: Pages, limit_bytes: int) -> None:
    """Add the page where the user has no route."""

    async def page() -> Response:
        if request.method in {"POST", "PUT"} or "text/html" not in request.headers.get("Accept", ""):
            return error_response(
                MethodNotFound("paths are /<gid>/<service>/<method>; a browser gets the dashboard here"),
                limit_bytes,
                headers=_DATA_HEADERS,
            )
        return await _file(pages.dashboard, _PAGE, limit_bytes)

    @app.before_serving
    async def add_page() -> None:
        taken = {rule.rule for rule in app.url_map.iter_rules()}
        for place in _PLACES:
            if place not in taken:
                app.add_url_rule(place, "dashboard_page", page, methods=["GET", "POST", "PUT"])


def _question(requester: Requester) -> Call:
    """Return the call that stands for a stream where the node's policy is asked: who may not make it sees nothing."""
    principal, forwarder = requester.principals(None, None)
    return Call(LOCAL, "inspection", "glance", principal=principal, forwarder=forwarder)


def _add_sessions(app: QuartTrio, access: WebAccess | None) -> None:
    """Add how a browser gets a token: its holder leaves it here for a ticket, and the page brings the ticket."""
    tickets = Tickets()

    @app.post("/dashboard/ticket")
    async def dashboard_ticket() -> Response:
        requester: Requester = g.get("requester", ANYONE)
        pages = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint == "dashboard_page"}
        found = {} if _PLACES[0] in pages else {"page": _PLACES[1]}
        if requester.grant.expires_s is not None:  # else none is needed
            found["ticket"] = tickets.put(bearer_token(request.headers.getlist("Authorization")))
        return _json(found)

    @app.post("/dashboard/session")
    async def dashboard_session() -> Response:
        if access is None:
            return _json(_session(ANYONE.grant))
        shown = bearer_token(request.headers.getlist("Authorization"))
        token = tickets.take(shown) or shown
        if token.startswith(TICKET_PREFIX):
            raise RequestRefused(_USED, reason="the ticket of the page has been used, or is older than a minute")
        return _json({"token": token, **_session(access.grant_of(request.scope, token))})


async def _while_granted(
    events: AsyncGenerator[bytes], grant: Grant, access: WebAccess | None, scope: Any
) -> AsyncGenerator[bytes]:
    """Yield what the viewer may do, and then the events, until it may see no more."""
    yield b"event: session\ndata: %s\n\n" % JSON.encode(_session(grant))
    checked_at = time.monotonic()
    async with aclosing(events):
        async for message in events:
            if grant.expires_s is not None and time.time() >= grant.expires_s:
                return
            if access is not None and time.monotonic() >= checked_at + _CHECK_S:
                checked_at = time.monotonic()
                try:
                    access.requester(scope)
                except RequestRefused:
                    return  # the page asks again, and is told
            yield message


def _session(grant: Grant) -> dict[str, Any]:
    plain = {"scope": grant.scope, "keyed": grant.is_proven}
    return plain if grant.expires_s is None else {**plain, "expires": grant.expires_s}


def _aborting(scope: Any) -> Callable[[], None]:
    """Return what closes the connection of a request at once; nothing over HTTP/2, where others share it."""
    reference = scope["state"].get(ABORT) if scope["http_version"].startswith("1") else None

    def abort() -> None:
        found = None if reference is None else reference()
        if found is not None:
            found()

    return abort


async def _file(dashboard: Dashboard, name: str, limit_bytes: int) -> Response:
    try:
        file = await dashboard.file(name)
    except OSError as exc:  # such as too many open files
        error = TemporarilyUnavailable(f"the file {name} can't be read now: {exc.strerror}")
        return error_response(error, limit_bytes, headers=_DATA_HEADERS)
    if file is None:
        return error_response(NotFound(f"the dashboard has no file {name!r:.80}"), limit_bytes, headers=_DATA_HEADERS)
    response = Response(file.content, headers=PAGE_HEADERS, content_type=file.content_type)
    response.set_etag(file.etag)
    if file.etag in request.if_none_match:
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.set_data(b"")
    return response


def _json(body: dict[str, Any]) -> Response:
    return Response(JSON.encode(body), headers=_DATA_HEADERS, content_type=JSON.content_type)

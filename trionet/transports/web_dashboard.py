"""The dashboard on a node's HTTP face: ``GET /``, the files of the page, and the stream of what it shows.

The page and its files have no data in them, and are for anyone; the stream needs the scope ``read`` where the node has
a key.

Invariant: the page runs no code but its own files', talks to its own node only, and is shown in no frame.

Source: HTML Standard, 9.2 (server-sent events); CSP Level 3; RFC 9110, 13.1.2 (If-None-Match).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from quart import Response, request

from trionet.codec import JSON
from trionet.errors import NotFound, TrionetError

from .web_errors import error_body, status_of

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from trionet.config import NodeConfig

    from .base import Dashboard, Pages

__all__ = ["DASHBOARD_FILES", "add_dashboard"]

DASHBOARD_FILES: Final = frozenset({"dashboard_page", "dashboard_file"})
"""The endpoints of the page and its files."""

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
_STREAM_HEADERS: Final = {**PAGE_HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def add_dashboard(app: QuartTrio, pages: Pages, config: NodeConfig) -> None:
    """Add the page, its files and its stream; a route of the user's for ``/`` goes first."""
    limit_bytes = config.max_message_bytes

    async def page() -> Response:
        if "text/html" not in request.headers.get("Accept", ""):
            return _refused(NotFound("this is a node of trionet: a browser gets its dashboard here"), limit_bytes)
        return await _file(pages.dashboard, _PAGE, limit_bytes)

    @app.before_serving
    async def add_page() -> None:
        if not any(rule.rule == "/" for rule in app.url_map.iter_rules()):
            app.add_url_rule("/", "dashboard_page", page, methods=["GET"])

    @app.get("/dashboard/<name>")
    async def dashboard_file(name: str) -> Response:
        return await _file(pages.dashboard, name, limit_bytes)

    @app.get("/dashboard/stream")
    async def dashboard_stream() -> Response:
        try:
            messages = pages.dashboard.stream(request.args)
        except TrionetError as exc:
            return _refused(exc, limit_bytes)
        response = Response(messages, content_type="text/event-stream", headers=_STREAM_HEADERS)
        response.timeout = None
        return response


async def _file(dashboard: Dashboard, name: str, limit_bytes: int) -> Response:
    file = await dashboard.file(name)
    if file is None:
        return _refused(NotFound(f"the dashboard has no file {name!r:.80}"), limit_bytes)
    response = Response(file.content, headers=PAGE_HEADERS, content_type=file.content_type)
    response.set_etag(file.etag)
    if file.etag in request.if_none_match:
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.set_data(b"")
    return response


def _refused(error: TrionetError, limit_bytes: int) -> Response:
    body = error_body(error, limit_bytes)
    return Response(body, status_of(error), headers=PAGE_HEADERS, content_type=JSON.content_type)

"""The pages of a node's HTTP face that are no calls: its health, its metrics, and its OpenAPI document.

Whether the node lives and is ready may be asked by anyone, and no more is told; all else needs the scope ``read`` where
the node has a key.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import trio
from quart import Response, request

from trionet.codec import JSON
from trionet.errors import NotFound

from .web_dashboard import OPEN_ENDPOINTS, add_dashboard
from .web_errors import error_body

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from trionet.config import NodeConfig
    from trionet.figures import NodeFigures

    from .base import Handler
    from .shown import Pages
    from .web_access import WebAccess

__all__ = ["OPEN_PAGES", "add_health", "add_pages"]

OPEN_PAGES: Final = frozenset({"healthz", "live", "ready"}) | OPEN_ENDPOINTS
"""The endpoints that need no token."""

_NO_METRICS: Final = 'metrics need the extra "metrics": pip install "trionet[metrics]"'


def add_health(app: QuartTrio) -> None:
    """Add the pages that say that the process answers."""

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/live")
    async def live() -> Response:
        return _json({"status": "ok"})


def add_pages(app: QuartTrio, pages: Pages, handler: Handler, config: NodeConfig, access: WebAccess | None) -> None:
    """Add the pages about the node; what takes long is done in one thread at a time, so that the node stays prompt."""
    in_turn = trio.CapacityLimiter(1)
    add_dashboard(app, pages, handler, config, access)

    @app.get("/ready")
    async def ready() -> Response:
        if pages.is_ready:
            return _json({"status": "ok"})
        return _json({"status": "not ready"}, HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await pages.openapi(), content_type=JSON.content_type)

    @app.get("/metrics")
    async def metrics() -> Response:
        write = partial(_exposition, pages.figures(), request.headers.get("Accept", ""))
        try:
            text, content_type = await trio.to_thread.run_sync(write, limiter=in_turn)
        except ImportError:
            body = error_body(NotFound(_NO_METRICS), config.max_message_bytes)
            return Response(body, HTTPStatus.NOT_IMPLEMENTED, content_type=JSON.content_type)
        return Response(text, content_type=content_type)


def _exposition(figures: NodeFigures, accept: str) -> tuple[bytes, str]:
    from trionet.exposition import exposition

    return exposition(figures, accept)


def _json(body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(JSON.encode(body), status, content_type=JSON.content_type)

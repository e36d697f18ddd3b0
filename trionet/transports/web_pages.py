"""The pages of a node's HTTP face that are no calls: its health, its metrics, and its OpenAPI document.

Whether the node lives and is ready may be asked by anyone, and no more is told; all else needs the scope ``read`` where
the node has a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Response, request

from trionet.codec import JSON

from .web_dashboard import OPEN_ENDPOINTS, add_dashboard
from .web_plain_pages import OPEN_PLAIN_PAGES

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from trionet.config import NodeConfig

    from .base import Handler
    from .shown import Pages
    from .web_access import WebAccess
    from .web_plain_pages import PlainPages

__all__ = ["OPEN_PAGES", "add_pages", "add_plain_pages"]

OPEN_PAGES: Final = OPEN_PLAIN_PAGES | OPEN_ENDPOINTS
"""The endpoints that need no token."""


def add_plain_pages(app: QuartTrio, plain: PlainPages) -> None:
    """Add the health and the metrics."""

    async def page() -> Response:
        answer = await plain.answer(str(request.endpoint), request.headers.get("Accept", ""))
        return Response(answer.body, answer.status, content_type=answer.content_type)

    for name in plain.names:
        app.add_url_rule(f"/{name}", name, page, methods=["GET"])


def add_pages(app: QuartTrio, pages: Pages, handler: Handler, config: NodeConfig, access: WebAccess | None) -> None:
    """Add the pages about the node."""
    add_dashboard(app, pages, handler, config, access)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await pages.openapi(), content_type=JSON.content_type)

"""Whether the request that is being served is one of a foreign web page; see `web_origin`.

A name that could be rebound to the node matters only where a page gets something for it: not for the files of the
dashboard, which have no data in them, and not where each request needs a token or a signature, which a page of
another origin has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import request, websocket

from .web_dashboard import FILE_ENDPOINTS
from .web_origin import foreign_page_error, own_names

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.errors import NotPermitted

    from .web_access import WebAccess

__all__ = ["SAFE_METHODS", "foreign_request_error"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
"""RFC 9110, 9.2.1: the methods of a followed link."""


def foreign_request_error(config: NodeConfig, access: WebAccess | None) -> NotPermitted | None:
    """Return the error for a request or WebSocket of a foreign page; None for any other."""
    asked = request or websocket
    headers = asked.headers
    site = ", ".join(headers.getlist("Sec-Fetch-Site"))
    # Only by these methods: a submitted form is a navigation, too.
    mode = headers.get("Sec-Fetch-Mode", "") if asked.method in SAFE_METHODS else ""
    fetch = (site, mode, headers.get("Sec-Fetch-Dest", "")) if site else None
    is_any_name = asked.endpoint in FILE_ENDPOINTS or (access is not None and access.needs_secret)
    names = None if is_any_name else own_names(config)
    return foreign_page_error(headers.getlist("Origin"), headers.getlist("Host"), names, fetch)

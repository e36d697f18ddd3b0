"""Whether a request is one of a foreign web page; see `web_origin`.

A name that could be rebound to the node matters only where a page gets something for it: not for the files of the
dashboard, which have no data in them, and not where each request needs a token or a signature, which a page of
another origin has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .web_origin import foreign_page_error, own_names

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.errors import NotPermitted

    from .web_access import WebAccess
    from .web_head import Headers

__all__ = ["FILE_ENDPOINTS", "SAFE_METHODS", "foreign_request_error"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
"""RFC 9110, 9.2.1: the methods of a followed link."""


FILE_ENDPOINTS: Final = frozenset({"dashboard_page", "dashboard_file"})
"""The endpoints that have no data."""


def foreign_request_error(
    headers: Headers, method: str, endpoint: str | None, config: NodeConfig, access: WebAccess | None
) -> NotPermitted | None:
    """Return the error for a request or WebSocket of a foreign page; None for any other.

    Args:
        headers: its headers.
        method: its method; GET for a WebSocket.
        endpoint: what it is for; None for nothing that there is.
        config: the node's.
        access: checks who makes a request; None where everyone may call.
    """
    origins = headers.getlist("Origin")
    site = ", ".join(headers.getlist("Sec-Fetch-Site"))
    if not origins and not site:
        return None
    # Only by these methods: a submitted form is a navigation, too.
    mode = headers.get("Sec-Fetch-Mode", "") if method in SAFE_METHODS else ""
    fetch = (site, mode, headers.get("Sec-Fetch-Dest", "")) if site else None
    is_any_name = endpoint in FILE_ENDPOINTS or (access is not None and access.needs_secret)
    names = None if is_any_name else own_names(config)
    return foreign_page_error(origins, headers.getlist("Host"), names, fetch)

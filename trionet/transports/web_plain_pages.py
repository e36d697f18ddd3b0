"""The pages of a node's HTTP face that programs ask for again and again: its health, and its metrics.

They need no app, so a node that is only probed and scraped, as in Kubernetes, never imports Quart (`web_direct`).
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.codec import JSON
from trionet.errors import NotFound

from .web_calls import Answer
from .web_errors import error_body

if TYPE_CHECKING:
    from trionet.figures import NodeFigures

    from .shown import Pages

__all__ = ["OPEN_PLAIN_PAGES", "PlainPages"]

OPEN_PLAIN_PAGES: Final = frozenset({"healthz", "live", "ready"})
"""Those that need no token."""

_NO_METRICS: Final = 'metrics need the extra "metrics": pip install "trionet[metrics]"'


class PlainPages:
    """Answers for the plain pages of one node.

    Attributes:
        names: those that it has, each the path without its slash.
    """

    def __init__(self, pages: Pages | None, limit_bytes: int) -> None:
        """Show `pages`; without any, only that the process answers. No body of an error is over `limit_bytes`."""
        self.names: tuple[str, ...] = ("healthz", "live") if pages is None else ("healthz", "live", "ready", "metrics")
        self._pages = pages
        self._limit_bytes = limit_bytes
        self._in_turn = trio.CapacityLimiter(1)

    async def answer(self, name: str, accept: str) -> Answer:
        """Return the page `name`; `accept` is the media types that the client accepts."""
        if self._pages is not None and name == "metrics":
            return await self._metrics(self._pages, accept)
        if self._pages is not None and name == "ready" and not self._pages.is_ready:
            return _json({"status": "not ready"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ok"})

    async def _metrics(self, pages: Pages, accept: str) -> Answer:
        """Return the metrics, which one thread at a time writes, so that the node stays prompt."""
        write = partial(_exposition, pages.figures(), accept)
        try:
            text, content_type = await trio.to_thread.run_sync(write, limiter=self._in_turn)
        except ImportError:
            return Answer(HTTPStatus.NOT_IMPLEMENTED, error_body(NotFound(_NO_METRICS), self._limit_bytes))
        return Answer(HTTPStatus.OK, text, content_type)


def _exposition(figures: NodeFigures, accept: str) -> tuple[bytes, str]:
    from trionet.exposition import exposition

    return exposition(figures, accept)


def _json(body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, JSON.encode(body))

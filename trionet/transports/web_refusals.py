"""The requests over HTTP that a node refuses because of who makes them: counted, and in the log with who and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.log_limits import about, limited_log

if TYPE_CHECKING:
    from hypercorn.typing import HTTPScope, WebsocketScope

__all__ = ["RefusedRequests"]

_log = limited_log(__name__)


class RefusedRequests:
    """Counts the refused requests of one node.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count: int = 0

    def note(self, scope: HTTPScope | WebsocketScope, status: int, reason: str) -> None:
        """Count a refused request, and log who made it and why it was refused.

        Args:
            scope: the request's.
            status: the HTTP status of the answer.
            reason: a sentence, which quotes no token.
        """
        self.count += 1
        client = scope.get("client")
        peer = "a client that has gone" if client is None else client[0]
        _log.warning(
            "a request of %s for %.200s over HTTP was refused with status %d: %s",
            peer,
            scope["path"],
            status,
            reason,
            extra=about(peer, reason),
        )

"""The log of one node's events, and its orphaned calls."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from .events import ChildEnded, ChildGivenUp, OrphanedCall
from .launchers.base import explain_status
from .log_limits import about, limited_log

if TYPE_CHECKING:
    from .events import Event

__all__ = ["NodeLog"]

_log = limited_log(__name__)

_ORPHANS_KEPT: Final = 64


class NodeLog:
    """Logs the events that need attention.

    Attributes:
        calls_orphaned: how many orphans there were.
        latest_orphans: the latest 64 of them.
    """

    def __init__(self) -> None:
        self.calls_orphaned: int = 0
        self.latest_orphans: deque[OrphanedCall] = deque(maxlen=_ORPHANS_KEPT)

    def handle(self, event: Event) -> None:
        """Log an event."""
        match event:
            case ChildEnded(node=node, status=status) if status:
                _log.warning("the spawned node %s ended: %s", node, explain_status(status), extra=about(node))
            case ChildGivenUp(node=node, restarts=restarts):
                _log.error(
                    "the spawned node %s is not started again after %d restarts", node, restarts, extra=about(node)
                )
            case OrphanedCall():
                self.calls_orphaned += 1
                self.latest_orphans.append(event)
                _log.warning(
                    "the call %s/%s/%s to %s was cancelled, and may still be running there",
                    event.gid,
                    event.service,
                    event.method,
                    event.node,
                    extra=about(event.node),
                )

"""The log of one node's events, its orphaned calls, and the handlers that its end waits for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from .events import ChildEnded, ChildGivenUp, OrphanedCall
from .launchers.base import explain_status
from .log_limits import about, limited_log

if TYPE_CHECKING:
    from collections.abc import Collection

    from .events import Event
    from .identity import NodeAddress
    from .prepared_call import PreparedCall

__all__ = ["NodeLog"]

_log = limited_log(__name__)

_ORPHANS_KEPT: Final = 64
_END_S: Final = 0.5
"""The time that cancelled handlers have to end without a line."""
_LOOK_AGAIN_S: Final = 0.001
_MOST_NAMES: Final = 5


class NodeLog:
    """Logs the events that need attention.

    Attributes:
        calls_orphaned: how many orphans there were.
        latest_orphans: the latest 64 of them.
    """

    def __init__(self) -> None:
        self._has_begun = self._is_stopping = False
        self.calls_orphaned: int = 0
        self.latest_orphans: deque[OrphanedCall] = deque(maxlen=_ORPHANS_KEPT)

    def began(self, node: NodeAddress) -> None:
        """Log that a node has booted; of one that has not, its error says it all."""
        self._has_begun = True
        _log.info("node %s is ready on %s", node.sid, node, extra=about(node, node=node, sid=node.sid))

    def stopping(self, node: NodeAddress, running: int) -> None:
        """Log, once, that a node begins to stop, with so many handlers running."""
        if self._has_begun and not self._is_stopping:
            self._is_stopping = True
            text = "node %s is stopping: %d calls are in progress"
            _log.info(text, node, running, extra=about(node, node=node, sid=node.sid, calls=running))

    def handle(self, event: Event) -> None:
        """Log an event."""
        match event:
            case ChildEnded(node=node, status=status) if status:
                _log.warning(
                    "the spawned node %s ended: %s", node, explain_status(status), extra=about(node, status=status)
                )
            case ChildGivenUp(node=node, restarts=restarts):
                _log.error(
                    "the spawned node %s is not started again after %d restarts",
                    node,
                    restarts,
                    extra=about(node, restarts=restarts),
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
                    extra=about(
                        event.node, gid=event.gid, service=event.service, method=event.method, call_id=event.id
                    ),
                )

    async def report_running(self, node: NodeAddress, running: Collection[PreparedCall]) -> None:
        """Log the end of a node, and its cancelled handlers that have not ended soon: its end waits for them."""
        until, pause_s = trio.current_time() + _END_S, _LOOK_AGAIN_S
        while running and trio.current_time() < until:
            await trio.sleep(pause_s)
            pause_s *= 2
        names = sorted(prepared.name for prepared in running)
        if names:
            _log.warning(
                "node %s has stopped, and its end waits for %s%s: a handler in a thread ends at a cancel if it calls "
                "trio.from_thread.check_cancelled(), or is left behind with @trionet.rpc(thread=True, "
                "abandon_on_cancel=True)",
                node,
                ", ".join(names[:_MOST_NAMES]),
                f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "",
                extra=about(node, node=node),
            )
        elif self._has_begun:
            _log.info("node %s has stopped", node, extra=about(node, node=node, sid=node.sid))

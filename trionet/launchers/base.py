"""The interface of launchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["KILL_AFTER_S", "Launcher", "ObservedStatus", "explain_status"]

KILL_AFTER_S = 3.0
"""The time that a node has to stop, after its own grace, before its process is killed."""


class ObservedStatus(int):
    """An exit status that proves that the node has ended: the launcher observed the exit of the node's own process.

    A plain number proves nothing: perhaps only a connection to the node, or a helper, has ended.
    """

    __slots__ = ()


class Launcher(Protocol):
    """Starts nodes."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node, and return when it has ended: it belongs to the nursery of this task.

        It calls ``task_status.started(address)`` when the node has booted, after its `on_start`. If cancelled, it stops
        the node, and waits for its end. The node also stops when this process dies. In both cases a node that has
        booted continues if its configuration has ``detach``.

        Returns:
            The exit status of a node that has ended by itself: 0 if it was stopped, minus the number of the signal that
            killed it. An `ObservedStatus` is proof: the spawner's cluster hears of it at once. After a plain number the
            members' probes find out whether the node has ended.

        Raises:
            SpawnError: the node did not boot; the text is its reason.
        """
        ...


def explain_status(status: int) -> str:
    """Return the text for an exit status."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"

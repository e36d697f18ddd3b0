"""The interface of launchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["KILL_AFTER_S", "Launcher", "explain_status"]

KILL_AFTER_S = 3.0
"""How much longer than its own grace a node may take to stop before its process is killed."""


class Launcher(Protocol):
    """A way to start a node."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended, so that it belongs to the nursery that this runs in.

        It calls ``task_status.started(address)`` when the node has booted, after its `on_start`. When cancelled, it
        stops the node and waits for its end first. The node also stops when this process dies. In both cases a node
        that has booted and whose configuration has ``detach`` continues instead.

        Returns:
            The exit status when the node has ended by itself: 0 when it was stopped, minus the signal's number when a
            signal killed it.

        Raises:
            SpawnError: the node did not boot; the text is its own reason.
        """
        ...


def explain_status(status: int) -> str:
    """Return an exit status in words."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"

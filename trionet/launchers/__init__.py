"""Ways to start a node elsewhere: each is an object with ``async start(config, task_status=...)``.

`start` runs for as long as the launched node does: it calls ``task_status.started(address)`` when the node has booted,
raises `SpawnError` when it doesn't boot, returns when the node has ended, and when it is cancelled it ends the node
before it lets go. So a launched node belongs to the nursery that `start` runs in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["Launcher"]


class Launcher(Protocol):
    """A way to start a node."""

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start a node and stay until it has ended; see the module's text.

        Raises:
            SpawnError: the node did not boot.
        """
        ...

"""The launchers that every node has under fixed names, and the helper processes and connections that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.errors import SpawnError
from trionet.log_limits import limited_log

from . import forkserver
from .connections import Connections
from .forkserver import ForkServerLauncher
from .ssh import SSHLauncher
from .subprocess import SubprocessLauncher

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Launcher
    from .needs import Needs

__all__ = ["BuiltInLaunchers"]

_log = limited_log(__name__)


class BuiltInLaunchers:
    """Those of one node.

    Args:
        nursery: where helpers and connections live; it must outlive all nodes.
        needs: what the nodes need.

    Attributes:
        by_name: the launchers.
    """

    def __init__(self, nursery: trio.Nursery, needs: Needs) -> None:
        self._forkserver = ForkServerLauncher(nursery, needs)
        self._connections = Connections(nursery, needs)
        self.by_name: dict[str, Launcher] = {
            "forkserver": _ForkServerOrSubprocess(self._forkserver, SubprocessLauncher()),
            "subprocess": SubprocessLauncher(),
        }

    def ssh(self, host: str) -> Launcher:
        """Return the launcher of nodes on `host`."""
        return SSHLauncher(host)

    def close(self) -> None:
        """End the helper processes and the connections."""
        self._forkserver.close()
        self._connections.close()

    def passed(self) -> AbstractContextManager[None]:
        """Have the launchers of nodes that the block starts share this node's connections to other machines."""
        return self._connections.passed()

    async def prewarm(self) -> None:
        """Start the fork server ahead of time, on platforms that have one."""
        if forkserver.is_available():
            await self._forkserver.prewarm()


class _ForkServerOrSubprocess:
    """Starts nodes by the fork server; without one, and for detached nodes, as processes of their own."""

    def __init__(self, first: ForkServerLauncher, second: Launcher) -> None:
        self._first = first
        self._second: Launcher = second
        self._has_warned = False

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        launcher = self._second
        if not config.detach:
            try:
                await self._first.prewarm()
                launcher = self._first
            except SpawnError as exc:
                if not self._has_warned:
                    _log.warning("there is no fork server (%s): nodes are started as processes of their own", exc)
                self._has_warned = True
        return await launcher.start(config, task_status=task_status)

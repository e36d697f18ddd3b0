"""The launchers of one node, under their names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from trionet.errors import ConfigError, SpawnError
from trionet.log_limits import limited_log
from trionet.nurseries import open_plain_nursery

from . import forkserver
from .connections import Connections
from .forkserver import ForkServerLauncher
from .ssh import SSHLauncher
from .subprocess import SubprocessLauncher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractContextManager

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Launcher

__all__ = ["Launchers", "open_launchers"]

_log = limited_log(__name__)

_SSH = "ssh:"


@asynccontextmanager
async def open_launchers(needs: forkserver.Needs = forkserver.NO_NEEDS) -> AsyncGenerator[Launchers]:
    """Open the launchers of one node. Helper processes end with the block; all spawned nodes must end within it.

    Args:
        needs: what the nodes need, so that a helper prepares it.
    """
    async with open_plain_nursery() as nursery:
        launchers = Launchers(nursery, needs)
        try:
            yield launchers
        finally:
            launchers.close()


class Launchers:
    """The launchers by name: the built-in ones, the registered ones, and ``ssh:HOST``."""

    def __init__(self, nursery: trio.Nursery, needs: forkserver.Needs) -> None:
        self._forkserver = ForkServerLauncher(nursery, needs)
        self._connections = Connections(nursery, needs)
        self._by_name: dict[str, Launcher] = {
            "forkserver": _ForkServerOrSubprocess(self._forkserver, SubprocessLauncher()),
            "subprocess": SubprocessLauncher(),
        }

    def put(self, name: str, launcher: Launcher) -> None:
        """Register `launcher`, in place of the one of that name."""
        self._by_name[name] = launcher

    def get(self, name: str) -> Launcher:
        """Return the launcher of that name.

        Raises:
            ConfigError: there is none.
        """
        if name.startswith(_SSH) and name != _SSH:
            return SSHLauncher(name.removeprefix(_SSH))
        if name not in self._by_name:
            known = ", ".join(sorted(self._by_name))
            raise ConfigError(f"launcher: there is no {name!r:.80}; there are {known}, and ssh:HOST")
        return self._by_name[name]

    def close(self) -> None:
        """End the helper processes."""
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

"""Keeps what a launcher of the user's raises from ending the node that spawns: it is a `SpawnError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.errors import RemoteError, SpawnError, TrionetError
from trionet.user_code import pass_endings

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Launcher

__all__ = ["GuardedLauncher"]


class GuardedLauncher:
    """A `trionet.launchers.base.Launcher` around another one."""

    def __init__(self, guarded: Launcher) -> None:
        self._guarded = guarded

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`.

        Raises:
            SpawnError: the launcher raised it, or anything else.
        """
        try:
            return await self._guarded.start(config, task_status=task_status)
        except TrionetError:
            raise
        except BaseException as exc:
            pass_endings(exc)
            raise SpawnError(f"the launcher failed: {RemoteError.from_exception(exc)}") from exc

"""Starts nodes in this process, as tasks of the spawner's nursery: for tests and simulations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.errors import SpawnError
from trionet.log_limits import limited_log
from trionet.user_code import pass_endings
from trionet.user_errors import as_error

from .base import ObservedStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    class _Node(Protocol):
        @property
        def address(self) -> NodeAddress: ...


__all__ = ["InProcessLauncher"]

_log = limited_log(__name__)


class InProcessLauncher:
    """Fulfils `trionet.launchers.base.Launcher`."""

    def __init__(self, open_node: Callable[[NodeConfig], AbstractAsyncContextManager[_Node]]) -> None:
        """Start nodes by `open_node`."""
        self._open_node = open_node

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        booted = False
        try:
            async with self._open_node(config) as node:
                booted = True
                task_status.started(node.address)
                await trio.sleep_forever()
        except BaseException as exc:
            pass_endings(exc)
            if booted:
                _log.exception("a node of this process failed")
                return ObservedStatus(1)
            raise SpawnError(f"the node did not boot: {as_error(exc)}") from exc
        return ObservedStatus(0)

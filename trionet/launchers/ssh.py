"""A node on another machine, started by the system's OpenSSH client."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import trio

from .subprocess import supervise
from .supervised import Boot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SSHLauncher"]


class SSHLauncher:
    """Starts ``trionet-node`` on another machine; the configuration goes through the connection, not a command line.

    When the connection ends, for whatever reason, the node stops.

    Args:
        host: what ``ssh`` is given: a name of its configuration, or ``user@host``.
        command: what starts ``trionet-node`` over there.
        options: further arguments of ``ssh``, such as ``["-i", "key"]``.
    """

    def __init__(self, host: str, *, command: Sequence[str] = ("trionet-node",), options: Sequence[str] = ()) -> None:
        # BatchMode: a question for a password would hang. The keep-alive notices a dead network within a minute.
        keep_alive = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
        remote = shlex.join([*command, "--supervised"])
        self._command = ["ssh", "-T", *keep_alive, *options, "--", host, remote]

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        return await supervise(self._command, Boot(config), task_status)

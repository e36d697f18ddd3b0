"""A node on another machine, started by the system's OpenSSH client."""

from __future__ import annotations

import shlex
import tempfile
from typing import IO, TYPE_CHECKING

import trio

from trionet.errors import SpawnError
from trionet.log_limits import about, limited_log

from .subprocess import supervise
from .supervised import Boot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["SSHLauncher"]

_log = limited_log(__name__)

_BROKEN = 255
"""The exit status of ``ssh`` when the trouble is its own, not the command's."""

# A question for a password would hang; a host that doesn't answer is given up, and a dead network noticed in a minute.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=3")


class SSHLauncher:
    """Starts ``trionet-node`` on another machine; the configuration goes through the connection, not a command line.

    When the connection ends, for whatever reason, the node stops.

    Args:
        host: what ``ssh`` is given: a name of its configuration, or ``user@host``.
        command: what starts ``trionet-node`` over there.
        options: further arguments of ``ssh``, such as ``["-i", "key"]``.
    """

    def __init__(self, host: str, *, command: Sequence[str] = ("trionet-node",), options: Sequence[str] = ()) -> None:
        # What comes first counts, so the user's go before ours.
        ours = [word for option in _OPTIONS for word in ("-o", option)]
        remote = shlex.join([*command, "--supervised"])
        self._host = host
        self._ssh = ["ssh", "-T", *options, *ours]
        self._there = ["--", host, remote]

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        with tempfile.NamedTemporaryFile(prefix="trionet-ssh-") as log:  # ssh's own words apart from the node's
            try:
                status = await supervise([*self._ssh, "-E", log.name, *self._there], Boot(config), task_status)
            except SpawnError as exc:
                if exc.__cause__ is not None:  # the node's own reason
                    raise
                raise SpawnError("; ".join([exc.text, *_lines(log)])) from None
            if status == _BROKEN:
                _log.warning(
                    "the connection to %s broke: %s", self._host, "; ".join(_lines(log)), extra=about(self._host)
                )
            return status


def _lines(log: IO[bytes]) -> list[str]:
    lines = (line.strip() for line in log.read().decode(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("Warning:")]

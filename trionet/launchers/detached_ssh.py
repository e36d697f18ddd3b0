"""A detached node on another machine: it has a login of its own, because it outlives the connection of the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trionet.errors import SpawnError
from trionet.log_limits import about, limited_log

from .output import is_output_named
from .ssh_connection import BROKEN
from .ssh_log import open_log
from .ssh_login import remote_line
from .ssh_reasons import reasons
from .subprocess import supervise
from .supervised import Boot

if TYPE_CHECKING:
    import trio

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .ssh_login import Login

__all__ = ["start_detached"]

_log = limited_log(__name__)

_STATUS: Final = re.compile(r"exit status (\d+)$")


async def start_detached(login: Login, config: NodeConfig, task_status: trio.TaskStatus[NodeAddress]) -> int:
    """Start a node by a login of its own, and stay until it has ended; see `Launcher.start`."""
    words, prologue = ["--supervised"], b""
    if login.has_surroundings:
        words, prologue = [*words, "--placed"], login.surroundings()
    *there, _ = login.there
    command = remote_line([*login.command, *words])
    with open_log() as log:
        boot = Boot(config, is_output_named=is_output_named())
        try:
            status = await supervise([*login.ssh, *log.options, *there, command], boot, task_status, prologue)
        except SpawnError as exc:
            found = _STATUS.search(exc.text)
            if exc.__cause__ is not None or found is None:  # the node's own reason; or ssh was not started
                raise
            raise SpawnError("; ".join([exc.text, *await reasons(login, int(found[1]), log.lines())])) from None
        if status == BROKEN:
            reason = "; ".join(log.lines())
            _log.warning("the connection to %s broke: %s", login.host, reason, extra=about(login.host, host=login.host))
        return status

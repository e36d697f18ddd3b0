"""SIGHUP: a node reads its files again.

Invariants: a node without such files, and a process that began with SIGHUP ignored (nohup), treat it as before. A
service of systemd always handles it: ``systemctl reload`` ends none. When the terminal of the process has gone, the
signal means what it always has: the end.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import ConfigError, TrionetError
from trionet.forks import receive_signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.node import Node

    from .service_manager import ServiceManager

__all__ = ["reload_on_signal"]

_log = logging.getLogger(__name__)

_UNTOLD: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
"""What stands in the way of asking for the terminal, and says nothing of it."""


async def reload_on_signal(
    node: Node,
    manager: ServiceManager,
    then: Callable[[], Awaitable[None]] | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Reload the files of `node`, and await ``then()``, at each SIGHUP, until cancelled; report it to `manager`."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None or not (node.reloading or manager) or signal.getsignal(hangup) is signal.SIG_IGN:
        task_status.started()
        return
    had_terminal = _has_terminal()
    with receive_signals(hangup) as signals:
        task_status.started()
        async for _ in signals:
            if had_terminal and not _has_terminal():
                node.stop()
                return
            with manager.reloading():
                await _reload(node, then)


async def _reload(node: Node, then: Callable[[], Awaitable[None]] | None) -> None:
    try:
        await node.reload()
        if then is not None:
            await then()
    except (ConfigError, TrionetError) as exc:
        _log.error("node %s was not reloaded, and goes on as before: %s", node.address, exc)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal, as far as can be told."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as exc:
        return exc.errno in _UNTOLD
    return True

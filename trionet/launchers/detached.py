"""The processes of detached nodes, which outlive their launcher, and perhaps this process.

Invariants: one that ends before this process is reaped by the next spawn by a command, or end of one; of those that
don't, Python gives no warning at its end, and no descriptor is held.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trionet.trio_internals import release

if TYPE_CHECKING:
    import trio

__all__ = ["let_go", "reap"]

_pids: list[int] = []
_held: list[trio.Process] = []
"""Those that this version of Trio does not release."""


def let_go(process: trio.Process) -> None:
    """Do no more for a process than to reap it."""
    if process.poll() is not None:
        return
    if hasattr(os, "WNOHANG") and release(process):
        _pids.append(process.pid)
    else:
        _held.append(process)


def reap() -> None:
    """Reap those that have ended."""
    _pids[:] = [pid for pid in _pids if _is_running(pid)]
    _held[:] = [process for process in _held if process.poll() is None]


def _is_running(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # reaped by others; or this process is a fork of the parent
        return False

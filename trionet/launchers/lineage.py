"""The processes that a node must not outlive: its launcher, the launcher's own launcher, and so on up to the first.

A node detects the end of its launcher by a closed pipe. If the launcher is a spawned node itself and its event loop is
blocked, the pipe closes only when it is killed, seconds after the death of its own launcher; a chain of such nodes
would take seconds for each. So every process on this machine watches all processes above it.

Source: pidfd_open(2). Without that call, the pipe alone is watched.
"""

from __future__ import annotations

import os
import sys

__all__ = ["ORPHANED_S", "descend_from", "lineage", "open_watches"]

ORPHANED_S = 3.0
"""The time that a node has to stop after the end of one of those, before its process is killed."""

_above: list[int] = []


def descend_from(pids: list[int]) -> None:
    """Set the processes above this one."""
    _above[:] = pids


def lineage() -> list[int]:
    """Return the ids of all processes above a child: those above this one, and its own."""
    return [*_above, os.getpid()]


def open_watches(pids: list[int]) -> list[int]:
    """Return descriptors that become readable when a process of `pids` ends; none where the system can't."""
    watches = []
    for pid in pids:
        if sys.platform != "linux":
            break
        try:
            watches.append(os.pidfd_open(pid))
        except ProcessLookupError:
            gone, other_end = os.pipe()
            os.close(other_end)
            watches.append(gone)
        except OSError:  # an old kernel, or a sandbox
            break
    return watches

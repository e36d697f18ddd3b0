"""Whom a process must not outlive: its launcher, that one's launcher, and so on up to the first.

A closed pipe tells a node that its launcher is gone. Where that one was a spawned node itself and its event loop is
blocked, the pipe closes only when it is killed, seconds after its own launcher's death; a chain of such nodes would
take seconds for each. So every process on this machine knows all those above it, and counts from the first death.

Source: pidfd_open(2). Where there is no such call, the pipe alone tells.
"""

from __future__ import annotations

import os
import sys

__all__ = ["ORPHANED_S", "descend_from", "lineage", "open_watches"]

ORPHANED_S = 3.0
"""How long a node has to stop by itself when one of those is gone; then its process is killed."""

_above: list[int] = []


def descend_from(pids: list[int]) -> None:
    """Note who is above this process."""
    _above[:] = pids


def lineage() -> list[int]:
    """Return the ids of the processes above this one, and its own: those above a process that it starts."""
    return [*_above, os.getpid()]


def open_watches(pids: list[int]) -> list[int]:
    """Return descriptors that become readable when a process of `pids` has ended; none where that isn't possible."""
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

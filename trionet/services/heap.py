"""The memory of this process: allocated, and in use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["HeapBytes", "heap_bytes"]

_STATUS = Path("/proc/self/status")


class HeapBytes(NamedTuple):
    """Sizes in bytes; 0 < used <= total."""

    total: int
    used: int


def heap_bytes() -> HeapBytes:
    """Return this process's heap figures.

    Returns:
        On Linux, `total` is the private writable memory of the process (``VmData`` of ``/proc/self/status``: Python's
        arenas, malloc's heaps and mappings), and `used` is its resident part (``RssAnon``). Python itself has no figure
        for both of its allocators. Elsewhere both are the process's peak resident size (``getrusage``).

    Source: proc_pid_status(5), getrusage(2).
    """
    try:
        fields = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
        total, used = (int(fields[name].split()[0]) * 1024 for name in ("VmData", "RssAnon"))
    except (OSError, KeyError, ValueError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = used = peak if sys.platform == "darwin" else peak * 1024
    used = max(1, used)
    return HeapBytes(max(total, used), used)

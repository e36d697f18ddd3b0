"""The facts on which results depend: the machine and the versions, without its owner."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from typing import Any

__all__ = ["machine", "versions"]

_PACKAGES = ("trionet", "trio", "msgspec", "httpx", "hypercorn", "quart", "quart-trio")


def machine() -> dict[str, Any]:
    """Return the facts of this machine, and its load."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release().partition("-")[0],
        "memory_mib": _memory_mib(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2


def versions() -> dict[str, str]:
    """Return the versions of Python, of the dependencies of trionet, and of Node.js if there is one."""
    found = {"python": f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:3]))}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name == "trionet":
                import trionet

                found[name] = getattr(trionet, "__version__", "checkout")
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        found["node.js"] = node.stdout.strip().removeprefix("v")
    return found

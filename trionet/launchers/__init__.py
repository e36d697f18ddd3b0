"""Ways to start a node elsewhere.

A launcher is an object with ``async start(config, task_status=...)``; `Launcher` says what it has to do. `forkserver`,
`subprocess`, `ssh` and `in_process` are here, and `registry` holds those of one node under their names.
"""

from __future__ import annotations

from .base import Launcher
from .ssh import SSHLauncher

__all__ = ["Launcher", "SSHLauncher"]

"""Launchers: they start nodes, in this process or others.

A launcher is an object with ``async start(config, task_status=...)``, which `Launcher` specifies. `forkserver`,
`subprocess`, `ssh` and `in_process` are the built-in ones; `registry` holds those of one node by their names.
"""

from __future__ import annotations

from .base import Launcher, ObservedStatus

__all__ = ["Launcher", "ObservedStatus"]

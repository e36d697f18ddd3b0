"""What the commands begin with: an interrupt while they import trionet is no traceback.

It stands outside the package, which is imported first for each of its modules, and takes the better part of the start.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module

__all__ = ["glomers", "main", "node"]

_INTERRUPTED = 130


def main() -> None:
    """Run ``trionet``."""
    _run("trionet.cli.main")


def node() -> None:
    """Run ``trionet-node``."""
    _run("trionet.cli.node")


def glomers() -> None:
    """Run ``trionet-glomers``."""
    _run("trionet.cli.glomers")


def _run(module: str) -> None:
    """Run a command; an interrupt ends it as it ends a program that does not handle it, until it does."""
    handler = signal.getsignal(signal.SIGINT)
    is_own = handler is signal.default_int_handler  # else it is ignored, as in the background of a script
    if is_own:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = import_module(module).main
    try:
        if is_own:
            signal.signal(signal.SIGINT, handler)
        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)

"""A node as the first process of a container.

The kernel gives orphans to the process with the number 1, which must wait for them, or they stay as zombies: nodes
whose fork server was killed are such. A node can't wait for any child that ends, because it would take the statuses of
its own children from those who wait for these. So the command goes on in a child, and this process passes on signals,
waits for whatever ends, and ends as the child does.

Source: pid_namespaces(7); tini and docker-init do the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Final, NoReturn

__all__ = ["become_child"]

_FIRST: Final = 1
_BY_SIGNAL: Final = 128
_NOT_PASSED_ON: Final = ("SIGCHLD", "SIGKILL", "SIGSTOP", "SIGTTIN", "SIGTTOU")


def become_child() -> None:
    """Go on in a child when this is the first process; then the first one never returns from here."""
    if sys.platform == "win32" or os.getpid() != _FIRST:
        return
    passed_on = signal.valid_signals() - {getattr(signal, name) for name in _NOT_PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)  # none is lost before there is whom to tell
    child = os.fork()
    if child:
        _serve(child, passed_on)
    _come_to_foreground()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _come_to_foreground() -> None:
    """Take the terminal, if there is one: Ctrl-C comes once then, and not from the first process as well."""
    os.setpgid(0, 0)
    ignored = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else the one in the background is stopped
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, ignored)


def _serve(child: int, passed_on: set[signal.Signals]) -> NoReturn:
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the first process is told of those signals only that it handles
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # their ends must be seen when the child closes them
        os.dup2(nothing, number)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        status = _reap(child)
        if status is not None:
            os._exit(status if status >= 0 else _BY_SIGNAL - status)
        number = signal.sigwait({*passed_on, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Wait for all that have ended; return the exit status of `child` if it is among them."""
    found = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return found
        if pid == child:
            return os.waitstatus_to_exitcode(status)

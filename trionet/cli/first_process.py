"""A node as the first process of a container.

The kernel makes process 1 the parent of orphans, such as nodes whose fork server was killed; it must reap them, or they
stay as zombies. A node can't reap all processes: the code that waits for its own children would miss their exit
statuses. So the command continues in a child, and this process forwards signals, reaps all processes, and ends as the
child does.

Source: pid_namespaces(7); tini and docker-init do the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Final, NoReturn

__all__ = ["become_child", "own_pids"]

_FIRST: Final = 1
_BY_SIGNAL: Final = 128
_NOT_PASSED_ON: Final = ("SIGCHLD", "SIGKILL", "SIGSTOP", "SIGTTIN", "SIGTTOU")


def become_child() -> None:
    """Continue in a child if this is process 1, which then never returns."""
    if sys.platform == "win32" or os.getpid() != _FIRST:
        return
    passed_on = signal.valid_signals() - {getattr(signal, name) for name in _NOT_PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)  # none is lost before the child exists
    child = os.fork()
    if child:
        _serve(child, passed_on)
    _come_to_foreground()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def own_pids() -> tuple[str, ...]:
    """Return the numbers by which a service manager names this process: its own; in a child of process 1, both."""
    own, parent = os.getpid(), os.getppid()
    return (str(own), str(parent)) if parent == _FIRST else (str(own),)


def _come_to_foreground() -> None:
    """Become the foreground group of the terminal, if any, so that Ctrl-C comes once, and not by process 1, too."""
    os.setpgid(0, 0)
    ignored = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else a background process is stopped
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, ignored)


def _serve(child: int, passed_on: set[signal.Signals]) -> NoReturn:
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the first process receives only signals that it handles
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # the other ends must notice when the child closes them
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
    """Reap all ended processes; return the exit status of `child` if it is among them."""
    found = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return found
        if pid == child:
            return os.waitstatus_to_exitcode(status)

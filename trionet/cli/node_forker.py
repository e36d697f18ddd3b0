"""What the helpers that fork nodes share: they fork, reap, kill and end them.

Such a helper runs no threads, and is in no run of Trio any more, so that a fork is safe.

Invariants: every child is reaped and reported; no child outlives this process, its connection to the launcher, or a
process above it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import select
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trionet.launchers.forked import RECORD
from trionet.launchers.lineage import ORPHANED_S
from trionet.streams import flush_streams

from .supervised import run_forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NodeForker", "freeze"]

_PR_SET_PDEATHSIG: Final = 1
_READ_BYTES: Final = 4096


def freeze() -> None:
    """Move all objects out of the garbage collector's reach, which would copy shared pages in each child."""
    flush_streams()  # otherwise every child would print the buffered output again
    gc.collect()
    gc.disable()
    gc.freeze()


class NodeForker:
    """Forks nodes, and reports their ends.

    Args:
        watches: descriptors that become readable when this process must end.

    Attributes:
        watches: those.
        pids: the processes of the nodes, by their numbers.
        woken: a descriptor that becomes readable when a child has ended.
        waker: its other end.
        die_with_parent: has the kernel kill the process that calls it when its parent dies; on Linux only.
    """

    def __init__(self, watches: list[int]) -> None:
        self.watches: list[int] = watches
        self.pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self.die_with_parent: Callable[[], object] = _prctl()
        # The end of a child wakes the poll.
        self.woken: int
        self.waker: int
        self.woken, self.waker = os.pipe()
        for end in (self.woken, self.waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)

    def send(self, record: bytes) -> None:
        """Send a record to the launcher, if it still exists."""
        raise NotImplementedError

    def own_descriptors(self) -> Iterable[int]:
        """Return the descriptors that a child must not keep, besides those of this class."""
        raise NotImplementedError

    def before_report(self, number: int) -> None:
        """Called when a node has ended, before that is reported."""

    def fork(self, number: int, descriptor: int, sentinel: int | None = None) -> None:
        """Fork the node `number`, and report that.

        Args:
            number: chosen by the launcher.
            descriptor: the far end of its line, which is closed here.
            sentinel: a process; when it has ended, the node stops.
        """
        own_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            os.close(descriptor)
            self.send(RECORD.pack(b"E", number, exc.errno or 0))
            return
        if pid == 0:
            self._be_child(descriptor, own_pid, sentinel)
        os.close(descriptor)
        self.pids[number], self._numbers[pid] = pid, number
        self.send(RECORD.pack(b"P", number, pid))

    def kill(self, number: int) -> None:
        """Kill a node's process, if it has not ended."""
        if number in self.pids:
            os.kill(self.pids[number], signal.SIGKILL)

    def _be_child(self, descriptor: int, parent_pid: int, sentinel: int | None) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self.woken, self.waker, *self.watches, *self.own_descriptors()):
                os.close(other)
            os.set_inheritable(descriptor, False)
            self.die_with_parent()
            if os.getppid() != parent_pid:
                os._exit(1)
            os.setpgid(0, 0)  # Ctrl-C in a terminal goes to the parent, which then stops its nodes
            random.seed()
            gc.enable()
            status = run_forked(descriptor, sentinel)
            flush_streams()
        except BaseException:  # nothing may propagate into the helper's own loop
            traceback.print_exc()
        finally:
            os._exit(status)

    def reap(self) -> None:
        """Reap the children that have ended, and report them."""
        while True:
            try:
                os.read(self.woken, _READ_BYTES)
            except BlockingIOError:
                break
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            number = self._numbers.pop(pid, None)
            if number is None:  # no node
                continue
            del self.pids[number]
            self.before_report(number)
            self.send(RECORD.pack(b"X", number, os.waitstatus_to_exitcode(status)))

    def end_children(self) -> None:
        """Stop all children, and kill those that don't stop in time."""
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + ORPHANED_S
        while self._numbers and time.monotonic() < until:
            self.reap()
            select.select([self.woken], [], [], 0.1)
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)


def _prctl() -> Any:
    """Return a function after which the kernel kills this process when its parent dies; on Linux only."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

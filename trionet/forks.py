"""What a process that user code forks must not keep.

``os.fork`` and ``multiprocessing`` copy every descriptor. As long as the copy lives, a port would stay open that its
node has closed, a connection would not end, and a spawned node would not see that its spawner is gone. So in a forked
process ``/dev/null`` takes the place of each, at once. The number stays taken, because objects of before still count it
as theirs and may close it.

Invariant: nothing that this does is seen at the other end: it closes, and shuts nothing down.

Source: fork(2); ``os.register_at_fork``.
"""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet

import trio

__all__ = ["keep_from_forks", "keep_loop_from_forks"]


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


_kept: WeakSet[_HasDescriptor] = WeakSet()
_polls: list[Any] = []
"""What the loops that run nodes wait with: `select.epoll` objects, to which there are no weak references."""


def keep_from_forks(holder: _HasDescriptor) -> None:
    """Have forked processes let go of the descriptor that `holder` has then, if it has one."""
    _kept.add(holder)


def keep_loop_from_forks() -> None:
    """Have forked processes let go of what Trio's loop waits with.

    One that goes on in Trio, because it raises ``SystemExit`` perhaps, would change what this process waits for; so it
    ends with an internal error of Trio's. On other systems than Linux the kernel sees to that.
    """
    runner = getattr(trio._core._run.GLOBAL_RUN_CONTEXT, "runner", None)  # noqa: SLF001  nothing public tells
    poll = getattr(getattr(runner, "io_manager", None), "_epoll", None)
    if poll is not None and poll not in _polls:
        _polls[:] = [*(other for other in _polls if not other.closed), poll]


def _let_go() -> None:
    descriptors = sorted({descriptor for holder in (*_kept, *_polls) if (descriptor := _descriptor_of(holder)) >= 0})
    _kept.clear()
    _polls.clear()
    if not descriptors:
        return
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
    except OSError:  # no descriptor is free, or there is no such file
        for descriptor in descriptors:
            os.close(descriptor)
        return
    for descriptor in descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _descriptor_of(holder: _HasDescriptor) -> int:
    try:
        return holder.fileno()
    except (OSError, ValueError):  # it has been closed
        return -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

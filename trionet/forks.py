"""What a process that user code forks must not keep.

``os.fork`` and ``multiprocessing`` copy every descriptor. As long as the copy lives, a port would stay open that its
node has closed, a connection would not end, and a spawned node would not see that its spawner is gone. So in a forked
process ``/dev/null`` takes the place of each, at once. The number stays taken, because objects of before still count it
as theirs and may close it.

Signals that a node's command receives do there what they did before, or ``Process.terminate`` would do nothing.

Invariant: nothing that this does is seen at the other end: it closes, and shuts nothing down.

Source: fork(2); ``os.register_at_fork``.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

__all__ = ["keep_from_forks", "keep_loop_from_forks", "receive_signals"]


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


_kept: WeakSet[_HasDescriptor] = WeakSet()
_polls: list[Any] = []
"""What the loops that run nodes wait with: `select.epoll` objects, to which there are no weak references."""

_handlers: dict[signal.Signals, tuple[Any, Any]] = {}
"""Those of `receive_signals`, and those before."""

_forking = threading.local()


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


@contextmanager
def receive_signals(*signals: signal.Signals) -> Generator[AsyncIterator[int]]:
    """Receive signals as `trio.open_signal_receiver` does, but not those of forked processes."""
    before = {number: signal.getsignal(number) for number in signals}
    with trio.open_signal_receiver(*signals) as received:
        _handlers.update({number: (signal.getsignal(number), before[number]) for number in signals})
        try:
            yield received
        finally:
            for number in signals:
                del _handlers[number]


def _hold_signals() -> None:
    """Have those that come for the new process wait until it does with them what it is to do."""
    if _handlers:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _release_signals() -> None:
    mask = vars(_forking).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _restore_signals() -> None:
    for number, (ours, before) in _handlers.items():
        if signal.getsignal(number) is ours:
            signal.signal(number, signal.SIG_DFL if before is None else before)
    _handlers.clear()
    _release_signals()


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
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_restore_signals)

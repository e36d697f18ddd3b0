"""Releases descriptors and signals of a node in processes that user code forks.

``os.fork`` and ``multiprocessing`` copy every descriptor. While the copy exists, a port would stay open that its
node has closed, a connection would not end, and a spawned node would not see that its spawner is gone. So a forked
process replaces each by ``/dev/null`` at once. The number stays in use, because objects from before the fork may still
close it.

The same is done to every epoll of the process. A forked process that goes on in Trio, because it raises ``SystemExit``
perhaps, would change the descriptors of its parent's loop. Now it ends with an internal error of Trio's. Only Linux has
epolls, and fork(2) copies no kqueue.

Signals that a node's command receives have their former handlers there, or ``Process.terminate`` would do nothing.

Invariant: the other end of a connection sees nothing of this: a descriptor is closed, and never shut down.

Source: fork(2), epoll(7), proc(5); ``os.register_at_fork``.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from typing import Protocol

    class _HasDescriptor(Protocol):
        def fileno(self) -> int: ...


__all__ = ["keep_from_forks", "receive_signals"]


_kept: WeakSet[_HasDescriptor] = WeakSet()
_handlers: dict[signal.Signals, tuple[Any, Any]] = {}
"""The handlers of `receive_signals`, and the former ones."""

_forking = threading.local()
_DESCRIPTORS = "/proc/self/fd"


def keep_from_forks(holder: _HasDescriptor) -> None:
    """Release the descriptor of `holder`, if it has one, in forked processes."""
    _kept.add(holder)


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
    """Block the signals that arrive at the new process until its handlers are restored."""
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


def _release_descriptors() -> None:
    if not _kept:
        return
    descriptors = {descriptor for holder in _kept if (descriptor := _descriptor_of(holder)) >= 0}
    _kept.clear()
    if not descriptors:
        return
    descriptors |= _epolls()
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
    except OSError:  # no descriptor is free, or there is no such file
        for descriptor in descriptors:
            os.close(descriptor)
        return
    for descriptor in descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _epolls() -> set[int]:
    """Return the descriptors of all epolls of this process: Trio has no public way to that of its loop."""
    found = set()
    with suppress(OSError):  # not Linux, or without /proc
        for name in os.listdir(_DESCRIPTORS):
            with suppress(OSError):  # that of the listing itself
                if os.readlink(f"{_DESCRIPTORS}/{name}") == "anon_inode:[eventpoll]":
                    found.add(int(name))
    return found


def _descriptor_of(holder: _HasDescriptor) -> int:
    try:
        return holder.fileno()
    except (OSError, ValueError):  # it has been closed
        return -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_descriptors)
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_restore_signals)

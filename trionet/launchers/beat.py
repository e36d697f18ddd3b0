"""A sign of life that doesn't depend on the event loop: a debugger, or a long computation, stops that for minutes."""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ["Beat"]


class Beat:
    """A thread that writes to a pipe at intervals, until closed.

    Invariant: it writes nothing after `close`, when the descriptor may be another file's.

    Args:
        descriptor: of a pipe that does not block; where it is full, a beat is left out.
        data: at most as long as a pipe takes at once.
        every_s: seconds.
    """

    def __init__(self, descriptor: int, data: bytes, every_s: float) -> None:
        self._descriptor = descriptor
        self._data = data
        self._every_s = every_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="trionet shows that it lives", daemon=True).start()

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            with self._lock:
                if self._closed.is_set():
                    return
                try:
                    with contextlib.suppress(BlockingIOError):
                        os.write(self._descriptor, self._data)
                except OSError:  # the other end is gone
                    return

"""A sign of life that doesn't depend on the event loop: a debugger, or a long computation, stops that for minutes.

The event loop of a node that was itself spawned may be blocked when its spawner dies. Then it is killed after seconds,
and its own nodes on other machines would hear of it only then. So the thread watches the processes above, too.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Final

from .lineage import open_watches

__all__ = ["Beat"]

_AGAIN_S: Final = 0.1


class Beat:
    """A thread that writes to a pipe at intervals, until closed.

    Invariant: it writes nothing after `close`, when the descriptor may be another file's.

    Args:
        descriptor: of a pipe that does not block; where it is full, a beat is left out.
        data: at most as long as a pipe takes at once.
        every_s: seconds.
        above: the ids of processes.
        farewell: what to write when one of those has ended.
    """

    def __init__(self, descriptor: int, data: bytes, every_s: float, above: list[int], farewell: bytes) -> None:
        self._descriptor = descriptor
        self._data = data
        self._every_ms = every_s * 1000
        self._farewell = farewell
        self._lock = threading.Lock()
        self._is_closed = False
        self._woken, self._waker = os.pipe()
        self._watches = open_watches(above)
        threading.Thread(target=self._run, name="trionet shows that it lives", daemon=True).start()

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._is_closed = True
        os.close(self._waker)

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self._woken, *self._watches):
            poll.register(descriptor, select.POLLIN)
        while not poll.poll(self._every_ms):
            self._write(self._data)
        while not self._write(self._farewell):
            time.sleep(_AGAIN_S)
        for descriptor in (self._woken, *self._watches):
            os.close(descriptor)

    def _write(self, data: bytes) -> bool:
        """Write, unless closed; return whether there is no more to do about it."""
        with self._lock:
            if self._is_closed:
                return True
            try:
                os.write(self._descriptor, data)
            except BlockingIOError:
                return False
            except OSError:  # the other end is gone
                return True
            return True

"""What nodes of another machine print, on its way to their spawner: the far side; see `trionet.launchers.far_output`.

Invariant: of what the nodes have printed, at most as many bytes have been passed on as the spawner has granted; so
output that nobody reads holds up those that print, and nothing else.
"""

from __future__ import annotations

import os
import select
from typing import Final

__all__ = ["PassedOutput"]

_READ_BYTES: Final = 65_536
_STREAMS: Final = (1, 2)


class PassedOutput:
    """The standard output and error of this process and its children, from now on.

    Args:
        granted: how many bytes may be passed on at first.
        poll: wakes this process when there are some; they are asked for while they may be passed on.

    Attributes:
        descriptor: from which they are read.
    """

    def __init__(self, granted: int, poll: select.poll) -> None:
        self._left = granted
        self._poll = poll
        self._before = os.dup(_STREAMS[-1])
        self.descriptor: int
        self.descriptor, end = os.pipe()
        for number in _STREAMS:
            os.dup2(end, number)
        os.close(end)
        os.set_blocking(self.descriptor, False)
        poll.register(self.descriptor, select.POLLIN)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that a child must not keep."""
        return self.descriptor, self._before

    def grant(self, count: int) -> None:
        """Permit `count` bytes more."""
        if not self._left:
            self._poll.register(self.descriptor, select.POLLIN)
        self._left += count

    def read(self) -> bytes:
        """Return what is to be passed on now; nothing if there is none, or no more may be."""
        if not self._left:
            return b""
        try:
            data = os.read(self.descriptor, min(self._left, _READ_BYTES))
        except BlockingIOError:
            return b""
        self._left -= len(data)
        if not self._left:
            self._poll.unregister(self.descriptor)
        return data

    def end(self) -> None:
        """Pass nothing on any more: those that print go on without a reader, and this process prints as before."""
        if self._left:
            self._poll.unregister(self.descriptor)
        self._left = 0
        for number in _STREAMS:
            os.dup2(self._before, number)
        os.close(self.descriptor)

"""What nodes of another machine print, on its way to the standard error of their spawner: the near side.

It shares the connection with all else, whose frames must not wait for it. So the helper over there passes on as many
bytes as it has been granted, `GRANTED_BYTES` at first, and gets a new grant for what has been written here. Where
nobody reads standard error, nodes that print wait, as those of this machine do.

Invariant: what is held here is at most what has been granted.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["GRANTED_BYTES", "FarOutput"]

GRANTED_BYTES: Final = 262_144
_STDERR: Final = 2
_LAST_S: Final = 1.0
"""How long the last words may take, where standard error is read slowly."""


class FarOutput:
    """The output of all nodes of one connection.

    Args:
        grant: grants the helper a number of bytes.
    """

    def __init__(self, grant: Callable[[int], Awaitable[None]]) -> None:
        self._grant = grant
        self._held = bytearray()
        self._news = trio.Event()
        self._is_closing = False
        self._shield = trio.CancelScope(shield=True)
        self._threads = trio.CapacityLimiter(1)

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._held += data
        self._news.set()

    async def run(self) -> None:
        """Write it, until `close`."""
        with self._shield:
            while self._held or not self._is_closing:
                data, self._held = bytes(self._held), bytearray()
                if data:
                    await trio.to_thread.run_sync(_write, data, abandon_on_cancel=True, limiter=self._threads)
                    await self._grant(len(data))
                else:
                    await self._news.wait()
                    self._news = trio.Event()

    def close(self) -> None:
        """Have `run` end, once the rest is written or a moment has passed."""
        self._is_closing = True
        self._news.set()
        self._shield.deadline = trio.current_time() + _LAST_S


def _write(data: bytes) -> None:
    """Write to standard error; without a reader drop it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except BlockingIOError:  # another process has made it non-blocking
            select.select([], [_STDERR], [])
        except OSError:
            return

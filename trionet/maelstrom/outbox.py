"""What a node has to say, gathered and written in one go.

Invariant: lines leave in the order in which they were put, and all that were put in one pass of Trio's scheduler leave
in one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio.abc import SendChannel

__all__ = ["MAX_BACKLOG_BYTES", "Outbox"]

MAX_BACKLOG_BYTES: Final = 8 * 1024 * 1024
"""How much may wait to be written before the node stops reading."""


class Outbox:
    """Lines on their way to one channel."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0  # of the lines, and of what is being written
        self._filled = trio.lowlevel.ParkingLot()
        self._written = trio.lowlevel.ParkingLot()

    def put(self, line: bytes) -> None:
        """Have `line`, which ends in a newline, written soon."""
        self._lines.append(line)
        self._size += len(line)
        self._filled.unpark()

    async def run(self, channel: SendChannel[bytes]) -> None:
        """Write until cancelled.

        Raises:
            trio.BrokenResourceError: nobody reads any more.
        """
        while True:
            if not self._lines:
                await self._filled.park()
            lines, self._lines = self._lines, []
            data = b"".join(lines)
            await channel.send(data)
            self._size -= len(data)
            self._written.unpark_all()

    async def wait_short(self, limit_bytes: int = MAX_BACKLOG_BYTES) -> None:
        """Wait until no more than so much is still to be written."""
        while self._size > limit_bytes:
            await self._written.park()

"""Pending lines of a node, written in batches.

Invariant: lines are written in the order of `Outbox.put`, and all lines of one pass of Trio's scheduler in one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["MAX_BACKLOG_BYTES", "Outbox"]

MAX_BACKLOG_BYTES: Final = 8 * 1024 * 1024
"""The size of pending lines above which the node stops reading."""


class Outbox:
    """The pending lines of one channel or stream."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0  # of the pending lines, and of the current write
        self._filled = trio.lowlevel.ParkingLot()
        self._written = trio.lowlevel.ParkingLot()

    def put(self, line: bytes) -> None:
        """Queue `line`, which ends in a newline."""
        self._lines.append(line)
        self._size += len(line)
        self._filled.unpark()

    async def run(self, send: Callable[[bytes], Awaitable[object]]) -> None:
        """Write with `send` until cancelled; its exceptions pass through."""
        while True:
            if not self._lines:
                await self._filled.park()
            lines, self._lines = self._lines, []
            data = b"".join(lines)
            await send(data)
            self._size -= len(data)
            self._written.unpark_all()

    async def wait_short(self, limit_bytes: int = MAX_BACKLOG_BYTES) -> None:
        """Wait until at most `limit_bytes` are pending."""
        while self._size > limit_bytes:
            await self._written.park()

"""The pace of a launcher's starts on this machine: of many nodes, only some start at once.

A thousand processes that start at once share the processors: each is late in answering, so that the others suspect it,
and its news costs them more. The nodes of a few processors are as soon ready one after the other.

Invariant: a start that waits for others, as an `on_start` that waits for nodes started later, does not stop them: each
counts for `LONGEST_S` at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trionet.processors import usable_processors

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["LONGEST_S", "PER_PROCESSOR", "Pace"]

PER_PROCESSOR: Final = 4
"""How many nodes start at once on each processor: a start waits at times, for its seed above all."""

LONGEST_S: Final = 1.0
"""How long a start counts."""


class Pace:
    """Bounds the starts in progress."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(PER_PROCESSOR * usable_processors())

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn, which lasts as long as the block."""
        return self._limiter

    @staticmethod
    async def wait_report(reports: trio.socket.SocketType) -> None:
        """Wait until a node reports, or ends, for `LONGEST_S` at most; `reports` becomes readable then."""
        with trio.move_on_after(LONGEST_S):
            await trio.lowlevel.wait_readable(reports)

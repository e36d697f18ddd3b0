"""Whether to look for input again and again for a moment, instead of going to sleep until there is some.

To wake a process takes longer than a peer needs to answer a short call: some 50 us, and several times that on a virtual
machine that gives up an idle processor. So a link that has just heard from its peer, and will probably hear again at
once, looks for a moment first. Other tasks run in between. What it costs is processor time, and so it is done only
where it has lately been worth it.

Invariants: a link that hears nothing within the moment goes to sleep; of all links in one run of Trio at most one
looks, the one that the last two inputs came by; what was in vain is tried again the more rarely, the more often it was.

Source: to wait actively for about as long as going to sleep and being woken costs is at most twice as bad as the best
that one could do (Karlin, Li, Manasse, Owicki, "Empirical studies of competitive spinning for a shared-memory
multiprocessor", 1991, section 2).
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BusyPoll", "usable_processors"]

_MOMENT_S: Final = 0.0003
_MOST_SKIPPED: Final = 255
_ENOUGH_PROCESSORS: Final = 2
"""With one, the peer can't run while this process looks."""


class _LastInput:
    """Which link the last input came by."""

    __slots__ = ("poll",)

    def __init__(self) -> None:
        self.poll: BusyPoll | None = None


_last_input: trio.lowlevel.RunVar[_LastInput] = trio.lowlevel.RunVar("trionet.last_input")


class BusyPoll:
    """Looks for the input of one link."""

    __slots__ = ("_is_possible", "_last", "_skips", "_skips_left")

    def __init__(self, processors: int) -> None:
        """Begin optimistically.

        Args:
            processors: how many this process may run on; with fewer than two it never looks.
        """
        try:
            self._last = _last_input.get()
        except LookupError:
            self._last = _LastInput()
            _last_input.set(self._last)
        self._is_possible = processors >= _ENOUGH_PROCESSORS
        self._skips = self._skips_left = 0

    def is_worth_it(self) -> bool:
        """Take that there was input; return whether to look for more."""
        before, self._last.poll = self._last.poll, self
        if before is not self or not self._is_possible:
            return False
        if self._skips_left:
            self._skips_left -= 1
            return False
        return True

    async def look(self, receive: Callable[[int], bytes], most: int) -> bytes | None:
        """Look for input for a moment; return it, or None if there was none.

        Args:
            receive: ``recv`` of a socket that doesn't block.
            most: bytes to receive.

        Raises:
            OSError: the connection broke.
        """
        until = perf_counter() + _MOMENT_S
        while True:
            await trio.lowlevel.checkpoint()
            try:
                data = receive(most)
            except BlockingIOError:
                if perf_counter() < until and self._last.poll is self:
                    continue
                self._skips = self._skips_left = min(2 * self._skips + 1, _MOST_SKIPPED)
                return None
            self._skips //= 2
            return data


def usable_processors() -> int:
    """Return how many processors this process may run on, where the system tells; else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

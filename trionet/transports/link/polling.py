"""Busy polling: a link spins for its next input for a short time before it sleeps.

To wake a process costs some 50 us, and several times that on a virtual machine that yields an idle processor: more
than a peer needs to answer a short call. So a link spins for `_MOMENT_S` after an input. Other tasks run in between.
Spinning costs processor time, which other processes may need: a hundred that spin after an answer would keep two
processors from the next one for 15 ms. So a link spins only if its last two inputs came within `_SOON_S`, and if it has
succeeded recently.

Invariants: a link spins for at most `_MOMENT_S`, then sleeps. At most one link in a Trio run spins: the link of the
last two inputs. Failed spins back off exponentially.

Source: spinning for about the cost of a sleep and a wake-up is at most twice as expensive as the optimum (Karlin, Li,
Manasse, Owicki, "Empirical studies of competitive spinning for a shared-memory multiprocessor", 1991, section 2).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from trionet.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BusyPoll"]

_MOMENT_S: Final = 0.0003
_SOON_S: Final = 0.001
"""Inputs that come one after the other are not further apart, even where each wakes a process of a virtual machine."""
_MOST_SKIPPED: Final = 255
_ENOUGH_PROCESSORS: Final = 2
"""With one, the peer can't run while this process spins."""


class _LastInput:
    """The link of the last input in this Trio run, and the processors once a link has needed their number."""

    __slots__ = ("poll", "processors")

    def __init__(self) -> None:
        self.poll: BusyPoll | None = None
        self.processors: int | None = None


_last_input: trio.lowlevel.RunVar[_LastInput] = trio.lowlevel.RunVar("trionet.last_input")


class BusyPoll:
    """Spins for the input of one link."""

    __slots__ = ("_at", "_last", "_now", "_processors", "_skips", "_skips_left")

    def __init__(self, processors: int | None = None, now: Callable[[], float] = perf_counter) -> None:
        """Start without back-off.

        Args:
            processors: the number of processors for this process; with fewer than two it never spins. None: it is found
                when it matters for the first time, because that takes a millisecond.
            now: the clock, in seconds.
        """
        try:
            self._last = _last_input.get()
        except LookupError:
            self._last = _LastInput()
            _last_input.set(self._last)
        self._processors = processors
        self._now = now
        self._at = -_SOON_S
        self._skips = self._skips_left = 0

    @property
    def is_last(self) -> bool:
        """Whether the last input of this Trio run came by this link."""
        return self._last.poll is self

    @property
    def _is_possible(self) -> bool:
        if self._processors is None:
            if self._last.processors is None:
                self._last.processors = usable_processors()
            self._processors = self._last.processors
        return self._processors >= _ENOUGH_PROCESSORS

    def is_worth_it(self) -> bool:
        """Handle an input; return whether to spin for the next one."""
        before, self._last.poll = self._last.poll, self
        before_at, self._at = self._at, self._now()
        if before is not self or self._at - before_at > _SOON_S or not self._is_possible:
            return False
        if self._skips_left:
            self._skips_left -= 1
            return False
        return True

    async def look(self, receive: Callable[[], bytes]) -> bytes | None:
        """Spin for input; return it, or None if there was none.

        Args:
            receive: receives from a non-blocking socket.

        Raises:
            OSError: the connection broke.
        """
        until = self._now() + _MOMENT_S
        while True:
            await trio.lowlevel.checkpoint()
            try:
                data = receive()
            except BlockingIOError:
                if self._now() < until and self._last.poll is self:
                    continue
                self._skips = self._skips_left = min(2 * self._skips + 1, _MOST_SKIPPED)
                return None
            self._skips //= 2
            return data

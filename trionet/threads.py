"""The worker threads of a node's handlers.

There is one limiter for each depth of nesting (`trionet.nesting`). With a single one, handlers whose threads wait for
calls to other threaded handlers of this node could take all places, and wait for each other.

Invariants: at most `max_threads` handlers run in threads at each depth. The holder of a place waits for places at
greater depths only; at the greatest no call waits: one that finds no place is refused. In virtual time one handler runs
at a time at each depth, in the order of the calls, so that a seeded run does not depend on the order of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from .errors import TemporarilyUnavailable
from .nesting import DEEPEST
from .virtual_time import is_time_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadPools"]

T = TypeVar("T")


class ThreadPools:
    """Runs functions in worker threads of Trio, with a limiter for each depth."""

    def __init__(self, max_threads: int) -> None:
        """Limit the threads at each depth to `max_threads`, at least 1."""
        self._max_threads = max_threads
        self._limiters: dict[int, trio.CapacityLimiter] = {}

    async def run(self, function: Callable[[], T], depth: int, *, abandon_on_cancel: bool) -> T:
        """Return ``function()``, which a thread runs with the caller's context variables.

        Args:
            function: a plain function.
            depth: the depth of the calls that it makes, 0 to `DEEPEST`.
            abandon_on_cancel: whether a cancelled scope leaves the thread behind; it holds its place until it ends.

        Raises:
            TemporarilyUnavailable: there is no place at the greatest depth.
        """
        limiter = self._limiters.get(depth)
        if limiter is None:
            places = 1 if is_time_virtual() else self._max_threads
            limiter = self._limiters[depth] = trio.CapacityLimiter(places)
        if depth >= DEEPEST and limiter.available_tokens < 1:
            raise TemporarilyUnavailable(
                f"calls are nested {depth} deep, and {self._max_threads} of this node's handlers run in threads there, "
                f"its max_threads"
            )
        return await trio.to_thread.run_sync(function, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

"""Time limits for a peer that exclude the stalls of this node.

While this process is stopped, or its loop is blocked, deadlines pass, and data that arrived in time is unread. So a
wait whose deadline passed in a stall is extended by the length of the stall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["within"]

T = TypeVar("T")

_LATE_S: Final = 0.5
"""A deadline noticed later than this passed in a stall."""


async def within(seconds: float, step: Callable[[], Awaitable[T]]) -> T:
    """Await ``step()``, for at most `seconds` in which this node runs.

    Args:
        seconds: the limit.
        step: called again after a stall; it must be safe to cancel and repeat.

    Raises:
        trio.TooSlowError: it took longer.
    """
    until = trio.current_time() + seconds
    while True:
        with trio.move_on_at(until):
            return await step()
        now = trio.current_time()
        if now - until < _LATE_S:
            raise trio.TooSlowError
        until = now + min(seconds, now - until)

"""Time that the other side has for something, of which this node's own stalls take nothing away.

While this process is stopped, or its loop is blocked, deadlines pass, and what the other side has sent in time lies
unread. So who waits past such a deadline waits on for as long as that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["within"]

T = TypeVar("T")

_LATE_S: Final = 0.5
"""A deadline that is noticed so much later was passed in a stall."""


async def within(seconds: float, step: Callable[[], Awaitable[T]]) -> T:
    """Await ``step()`` for that many seconds in which this node runs.

    Args:
        seconds: how long.
        step: what to wait for; it is begun again after a stall, and must go on where it was cancelled, or anew.

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

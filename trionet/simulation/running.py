"""Running in virtual time, so that the same seed gives the same run.

What would differ from run to run, and is made to follow from the seed here: the order in which Trio runs the tasks
that can run, and the numbers of the module ``random``. Nodes have random numbers of their own.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.testing import MockClock

from trionet.transports.memory.outside import stand_still
from trionet.trio_internals import seeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

__all__ = ["deterministic", "run", "standing_still"]

T = TypeVar("T")


def deterministic(seed: int) -> AbstractContextManager[None]:
    """Have the order of tasks, and the module ``random``, follow from `seed` within the block."""
    return seeded(f"{seed} tasks", f"{seed} module")


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run ``await main(*args)`` in virtual time, deterministically, and return what it returns."""
    with deterministic(seed):
        return trio.run(standing_still(main), *args, clock=MockClock(autojump_threshold=0))


def standing_still(main: Callable[..., Awaitable[T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return `main` such that time, where it is virtual, stands still while threads and processes work for it."""

    @functools.wraps(main)
    async def run_main(*args: Any) -> T:
        stand_still()
        return await main(*args)

    return run_main

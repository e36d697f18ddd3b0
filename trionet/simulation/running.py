"""Runs programs in virtual time, so that the same seed gives the same run.

Two sources of randomness are seeded here: the order in which Trio runs the tasks that are ready, and the module
``random``. Nodes have random numbers of their own.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from trio.testing import MockClock

from trionet.transports.memory.outside import stand_still
from trionet.trio_internals import seeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from contextlib import AbstractContextManager

from .arguments import require

__all__ = ["deterministic", "run", "run_virtually"]

T = TypeVar("T")

_MOST_OBJECTS: Final = 200_000
"""The number of new objects after which the garbage collector runs. A simulation leaves next to no garbage in cycles,
and a collection also empties the processor's caches: with 10,000 it takes a sixth of the time."""


def deterministic(seed: int) -> AbstractContextManager[None]:
    """Seed the order of tasks, and the module ``random``, within the block."""
    return seeded(f"{seed} tasks", f"{seed} module")


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run ``await main(*args)`` in virtual time, deterministically, and return its result."""
    require(main, Callable, "a program is an async function")
    result: T = run_virtually(trio.run, seed)(main, *args)
    return result


@contextmanager
def _rare_collections() -> Generator[None]:
    """Have the garbage collector run less often within the block, where it runs."""
    objects, *others = gc.get_threshold()
    gc.set_threshold(max(objects, _MOST_OBJECTS) if objects else 0, *others)
    try:
        yield
    finally:
        gc.set_threshold(objects, *others)


def run_virtually(run: Callable[..., T], seed: int) -> Callable[..., T]:
    """Return a function that runs as `run`, `trio.run` or the like, but deterministically and in virtual time.

    Virtual time stands still while threads and processes work for a task. A clock that is passed stays as it is.
    """

    def run_main(main: Callable[..., Awaitable[Any]], *args: Any, clock: Any = None, **settings: Any) -> T:
        @functools.wraps(main)
        async def standing_still(*args: Any) -> Any:
            stand_still()
            return await main(*args)

        if clock is None:
            clock = MockClock(autojump_threshold=0)
        with deterministic(seed), _rare_collections():
            return run(standing_still, *args, clock=clock, **settings)

    return run_main

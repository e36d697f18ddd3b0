"""Runs programs in virtual time, so that the same seed gives the same run.

Two sources of randomness are seeded here: the order in which Trio runs the tasks that are ready, and the module
``random``. Nodes have random numbers of their own.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from trio.testing import MockClock

from trionet.transports.memory.outside import stand_still

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

from .arguments import require

__all__ = ["deterministic", "run", "run_virtually"]

T = TypeVar("T")


class _Chance:
    """The seeded sources of randomness; the last seed applies until all blocks have ended.

    Blocks may end in any order, as those of clusters side by side do.
    """

    def __init__(self) -> None:
        self._core: Any = trio._core._run  # noqa: SLF001  see `deterministic`
        self._blocks = 0
        self._before: tuple[Any, ...] = ()

    def begin(self, seed: int) -> None:
        core = self._core
        if not self._blocks:
            self._before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate(), random.getstate()  # noqa: SLF001
        self._blocks += 1
        core._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
        core._r.seed(f"{seed} tasks")  # noqa: SLF001
        random.seed(f"{seed} module")

    def end(self) -> None:
        self._blocks -= 1
        if not self._blocks:
            core = self._core
            core._ALLOW_DETERMINISTIC_SCHEDULING = self._before[0]  # noqa: SLF001
            core._r.setstate(self._before[1])  # noqa: SLF001
            random.setstate(self._before[2])


_chance: Final = _Chance()


@contextmanager
def deterministic(seed: int) -> Generator[None]:
    """Seed the order of tasks and the module ``random`` within the block.

    Trio has no public way to do this; Hypothesis's plugin for Trio does the same.
    """
    _chance.begin(seed)
    try:
        yield
    finally:
        _chance.end()


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run ``await main(*args)`` in virtual time, deterministically, and return its result."""
    require(main, Callable, "a program is an async function")
    result: T = run_virtually(trio.run, seed)(main, *args)
    return result


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
        with deterministic(seed):
            return run(standing_still, *args, clock=clock, **settings)

    return run_main

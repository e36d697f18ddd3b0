"""Running in virtual time, so that the same seed gives the same run.

What would differ from run to run, and is made to follow from the seed here: the order in which Trio runs the tasks
that can run, and the numbers of the module ``random``. Nodes have random numbers of their own.
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
    from collections.abc import Awaitable, Coroutine, Generator

from .arguments import require

__all__ = ["deterministic", "run", "standing_still"]

T = TypeVar("T")


class _Chance:
    """What would differ from run to run; it follows from the last seed that was given, until all blocks have ended.

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
    """Have the order of tasks, and the module ``random``, follow from `seed` within the block.

    Trio has no public way to this; it is the one that Hypothesis's plugin for Trio takes.
    """
    _chance.begin(seed)
    try:
        yield
    finally:
        _chance.end()


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run ``await main(*args)`` in virtual time, deterministically, and return what it returns."""
    require(main, Callable, "a program is an async function")
    with deterministic(seed):
        return trio.run(standing_still(main), *args, clock=MockClock(autojump_threshold=0))


def standing_still(main: Callable[..., Awaitable[T]]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return `main` such that time, where it is virtual, stands still while threads and processes work for it."""

    @functools.wraps(main)
    async def run_main(*args: Any) -> T:
        stand_still()
        return await main(*args)

    return run_main

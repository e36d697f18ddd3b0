"""Running in virtual time, so that the same seed gives the same run.

What would differ from run to run, and is made to follow from the seed here: the order in which Trio runs the tasks
that can run, and the numbers of the module ``random``. Nodes have random numbers of their own.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

__all__ = ["deterministic", "run"]

T = TypeVar("T")


@contextmanager
def deterministic(seed: int) -> Generator[None]:
    """Have the order of tasks, and the module ``random``, follow from `seed` within the block.

    Trio has no public way to this; it is the one that Hypothesis's plugin for Trio takes.
    """
    core: Any = trio._core._run  # noqa: SLF001  see above
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate(), random.getstate()  # noqa: SLF001
    core._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    core._r.seed(f"{seed} tasks")  # noqa: SLF001
    random.seed(f"{seed} module")
    try:
        yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before[0]  # noqa: SLF001
        core._r.setstate(before[1])  # noqa: SLF001
        random.setstate(before[2])


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run ``await main(*args)`` in virtual time, deterministically, and return what it returns."""
    with deterministic(seed):
        return trio.run(main, *args, clock=MockClock(autojump_threshold=0))

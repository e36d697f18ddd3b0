"""multiprocessing: one call to each process of a pool, by `Pool.map` over its pipes.

A pool has one queue for all its processes, and a fast one would take several items: a barrier lets each take one.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any

from benchmarks.commands import answer_in_threads, options
from benchmarks.load import PAYLOAD

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

_barrier: Barrier | None = None


def _begin(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  what a pool's processes share comes by their initializer
    _barrier = barrier


def echo(value: str) -> str:
    """Return `value`, once every process has one."""
    assert _barrier is not None
    _barrier.wait()
    return value


def main(processes: int) -> None:
    """Answer the runner's commands."""
    barrier = multiprocessing.Barrier(processes)
    with multiprocessing.Pool(processes, _begin, (barrier,)) as pool:

        def fan_out(command: dict[str, Any]) -> dict[str, Any]:
            seconds = []
            for _ in range(command["times"]):
                begun = time.perf_counter()
                echoes = pool.map(echo, [PAYLOAD] * processes, chunksize=1)
                seconds.append(time.perf_counter() - begun)
                if echoes != [PAYLOAD] * processes:
                    raise ValueError("an echo is wrong")
            return {"seconds": seconds}

        answer_in_threads(fan_out)


if __name__ == "__main__":
    main(options()["processes"])

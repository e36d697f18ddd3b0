"""multiprocessing: sleeps in the processes of a pool, by `Pool.imap_unordered`."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

from benchmarks.commands import answer_in_threads, options
from benchmarks.sleeps import Clock


# begin
def sleep(seconds: float) -> float:
    """Sleep as long as an item says."""
    time.sleep(seconds)
    return seconds


# end


def main(processes: int) -> None:
    """Answer the runner's commands."""
    # begin
    with multiprocessing.Pool(processes) as pool:
        # end

        def answer(command: dict[str, Any]) -> dict[str, Any]:
            clock = Clock(command)
            # begin
            for slept in pool.imap_unordered(sleep, clock.items):
                clock.note(slept)
            # end
            return clock.result()

        pool.map(sleep, [0.0] * processes)
        answer_in_threads(answer)


if __name__ == "__main__":
    main(options()["processes"])

"""Dask: sleeps in the workers of a local cluster, by `Client.map` and `as_completed`."""

from __future__ import annotations

import importlib
import time
from typing import Any

from benchmarks.commands import answer_in_threads, options
from benchmarks.sleeps import Clock

distributed: Any = importlib.import_module("distributed")


# begin
def sleep(seconds: float) -> float:
    """Sleep as long as an item says."""
    time.sleep(seconds)
    return seconds


# end


def main(processes: int) -> None:
    """Answer the runner's commands."""
    # begin
    with distributed.Client(n_workers=processes, threads_per_worker=1, dashboard_address=None) as client:
        # end

        def answer(command: dict[str, Any]) -> dict[str, Any]:
            clock = Clock(command)
            # begin
            futures = client.map(sleep, clock.items, pure=False)
            for _, slept in distributed.as_completed(futures, with_results=True):
                clock.note(slept)
            # end
            return clock.result()

        client.gather(client.map(sleep, [0.0] * processes, pure=False))
        answer_in_threads(answer)


if __name__ == "__main__":
    main(options()["processes"])

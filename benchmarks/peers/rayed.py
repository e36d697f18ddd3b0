"""Ray: sleeps in actors, by `ActorPool.map_unordered`."""

from __future__ import annotations

import importlib
import time
from typing import Any

from benchmarks.commands import answer_in_threads, options
from benchmarks.sleeps import Clock

ray: Any = importlib.import_module("ray")
ActorPool: Any = importlib.import_module("ray.util").ActorPool


# begin
class Sleeper:
    """Sleeps, once at a time."""

    def sleep(self, seconds: float) -> float:
        """Sleep as long as an item says."""
        time.sleep(seconds)
        return seconds


# end


def main(processes: int) -> None:
    """Answer the runner's commands."""
    # begin
    ray.init(num_cpus=processes, include_dashboard=False)
    sleeper = ray.remote(Sleeper)
    actors = [sleeper.remote() for _ in range(processes)]
    pool = ActorPool(actors)
    # end

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        clock = Clock(command)
        # begin
        for slept in pool.map_unordered(lambda actor, seconds: actor.sleep.remote(seconds), clock.items):
            clock.note(slept)
        # end
        return clock.result()

    ray.get([actor.sleep.remote(0.0) for actor in actors])
    answer_in_threads(answer)
    ray.shutdown()


if __name__ == "__main__":
    main(options()["processes"])

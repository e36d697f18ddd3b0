"""trionet: sleeps on the nodes of a group, by `Group.map`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

import trionet
from benchmarks.commands import answer_in_trio, options
from benchmarks.sleeps import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


# begin
class Sleeper:
    """Sleeps, once at a time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    @trionet.rpc
    async def sleep(self, seconds: float) -> float:
        """Sleep as long as an item says."""
        async with self._turn:
            await trio.sleep(seconds)
        return seconds


async def offer(node: trionet.Node) -> None:
    """Offer the service on a spawned node."""
    await node.local.routes.put(Sleeper())


@asynccontextmanager
async def open_workers(count: int) -> AsyncGenerator[trionet.Group]:
    """Spawn some nodes, and put them into a group."""
    async with trionet.open_node() as node:
        config = trionet.NodeConfig(on_start="benchmarks.peers.mapped:offer")
        await node.local.groups.put("workers", [await node.spawn(config) for _ in range(count)])
        yield node.group("workers")


async def sleep_all(group: trionet.Group, items: list[float], per_member: int) -> AsyncGenerator[float]:
    """Sleep as long as each item says, wherever somebody is free."""
    async with group.map(Sleeper.sleep, items, per_member=per_member) as results:
        async for done in results:
            yield done.result()


# end


async def main(processes: int, per_member: int) -> None:
    """Answer the runner's commands."""
    async with open_workers(processes) as group:

        async def answer(command: dict[str, Any]) -> dict[str, Any]:
            clock = Clock(command)
            async for slept in sleep_all(group, clock.items, per_member):
                clock.note(slept)
            return clock.result()

        await answer_in_trio(answer)


if __name__ == "__main__":
    trio.run(main, options()["processes"], options()["per_member"])

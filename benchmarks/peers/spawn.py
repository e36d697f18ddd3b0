"""A trionet node that spawns many, each answering a call; the first time from cold, then with the fork server warm."""

from __future__ import annotations

import time

import trio

import trionet
from benchmarks.commands import Answer, answer_in_trio, options


class Spawner:
    """A node and those that it has spawned."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = trio.Event()
        self._node: trionet.Node | None = None
        self._children: list[trionet.NodeAddress] = []

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be a node until stopped."""
        async with trionet.open_node() as self._node:
            task_status.started()
            await trio.sleep_forever()
        self._ended.set()

    async def answer(self, command: Answer) -> Answer:
        """Obey the runner."""
        begun = time.perf_counter()
        match command["do"]:
            case "spawn":
                await self._spawn()
            case "stop":
                await self._stop()
            case "end":
                assert self._node is not None
                await self._node.local.status.stop()
                await self._ended.wait()
        return {"seconds": time.perf_counter() - begun}

    async def _spawn(self) -> None:
        assert self._node is not None
        node, children = self._node, self._children
        children.clear()

        async def spawn_one() -> None:
            children.append(await node.local.status.spawn(trionet.NodeConfig()))

        async with trio.open_nursery() as nursery:
            for _ in range(self._count):
                nursery.start_soon(spawn_one)
        await node.local.groups.put("children", children)
        replies = await node.group("children").comm.send(["port"], trionet.Remote(service="status", method="get"))
        replies.raise_errors()
        if sorted(replies.values.values()) != sorted(child.port for child in children):
            raise ValueError("an answer is wrong")

    async def _stop(self) -> None:
        """Stop the children, and keep what makes them."""
        assert self._node is not None
        events = self._node.events()
        stop = trionet.Remote(service="status", method="stop")
        (await self._node.group("children").comm.send([], stop)).raise_errors()
        for _ in range(self._count):
            await anext(events)


async def main(count: int) -> None:
    """Be the worker."""
    spawner = Spawner(count)
    async with trio.open_nursery() as nursery:
        await nursery.start(spawner.run)
        await answer_in_trio(spawner.answer)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, options()["count"])

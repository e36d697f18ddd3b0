"""A pool of worker processes that grows, shrinks, and survives kills while it works.

The group is a rule, "who has the tag role=worker", so the pool has no list of it to keep. With `restart="on_failure"`
a killed worker is started again. `group.map` hands out the items: each goes to a worker that is free, those that come
later included. Items whose worker was killed run again elsewhere; so the method must bear that, and is marked as
idempotent. It prints::

    2 workers
    grown to 4 workers
    a worker is killed
    it is back: 4 workers
    shrunk to 1 worker
    600 of 600 items are done, and 0 have failed
    a closed pool leaves nothing behind: 0 workers
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import trio

import trionet

if TYPE_CHECKING:
    from collections.abc import Callable

TAGS = {"role": "worker"}


class Hasher:
    """The work."""

    @trionet.rpc(idempotent=True)
    async def digest(self, number: int) -> int:
        """Return a number made of another; it takes a while."""
        await trio.sleep(0.005)
        return number * number % 9973

    @trionet.rpc(read=True)
    def pid(self) -> int:
        """Return the process id of its node."""
        return os.getpid()


class Pool:
    """Worker processes of one node, a number that can change at any time."""

    def __init__(self, node: trionet.Node, config: trionet.NodeConfig) -> None:
        self.node = node
        self.config = config
        self.workers: list[trionet.NodeAddress] = []

    @property
    def group(self) -> trionet.Group:
        """The group of the workers."""
        return self.node.group("workers")

    async def resize(self, size: int) -> None:
        """Start or stop workers; return when the group has `size`.

        A worker that is stopped finishes its calls first, for `stop_grace_s` at most.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(size - len(self.workers)):
                nursery.start_soon(self._start)
            while len(self.workers) > size:
                nursery.start_soon(self._stop, self.workers.pop())
        await self.wait(lambda present: len(present) == size)

    async def _start(self) -> None:
        self.workers.append(await self.node.spawn(self.config))

    async def _stop(self, worker: trionet.NodeAddress) -> None:
        stop = trionet.Remote(node=worker, service="status", method="stop")
        with trio.move_on_after(10):
            while True:
                try:
                    await self.node.local.comm.send([], stop)
                    break
                except (trionet.NodeUnreachable, trionet.ConnectionLost):
                    await trio.sleep(0.1)  # just killed: it is started again, and stopped then

    async def wait(self, condition: Callable[[dict[trionet.SID, trionet.NodeAddress]], bool]) -> None:
        """Wait until the members of the group fulfil a condition."""
        events = self.node.events()  # first listen, then look: no change is missed in between
        while not condition(self.group.members()):
            await anext(events)


async def main(node: trionet.Node) -> None:
    """Have items worked on, and trouble the pool meanwhile."""
    await node.local.groups.put("workers", where=TAGS)
    config = trionet.NodeConfig(
        services={"hasher": "worker_pool:Hasher"}, tags=TAGS, restart="on_failure", log_level="error"
    )
    pool = Pool(node, config)
    await pool.resize(2)
    print(f"{len(pool.group.members())} workers")

    async def trouble() -> None:
        await pool.resize(4)
        print(f"grown to {len(pool.group.members())} workers")

        victim = pool.workers[0]
        events = node.events()
        os.kill(await node.call(victim, Hasher.pid), signal.SIGKILL)
        print("a worker is killed")
        async for event in events:
            if isinstance(event, trionet.MemberJoined) and event.node == victim:
                break
        print(f"it is back: {len(pool.group.members())} workers")

        await pool.resize(1)
        print(f"shrunk to {len(pool.group.members())} worker")

    items = range(600)
    failed = done = 0
    async with trio.open_nursery() as nursery, pool.group.map(Hasher.digest, items, per_member=2) as results:
        nursery.start_soon(trouble)
        async for result in results:
            done += 1
            failed += result.error is not None
    print(f"{done} of {len(items)} items are done, and {failed} have failed")

    await pool.resize(0)
    print(f"a closed pool leaves nothing behind: {len(pool.group.members())} workers")


if __name__ == "__main__":
    trionet.run(main, trionet.NodeConfig(join=[]))

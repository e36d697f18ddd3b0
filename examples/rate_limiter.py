"""One rate limit for a whole group: so many permits a second in all, whichever nodes use them.

The member with the lowest SID keeps the bucket. Each node takes permits from it in batches, so that most requests cost
no message. Who waits, waits at the keeper; who gives up is cancelled there, too, and leaves the queue.

Promised, while all members agree on the keeper: at most rate x seconds + burst permits, and a batch for each node that
has not used it yet. A new keeper begins with a full bucket: a burst more. Not promised: during a partition each side
has a keeper, so two sides permit twice as much; and until a death is noticed, some seconds, nobody gets new permits.
It prints::

    3 nodes share 200 permits a second
    150 requests took at least 0.6 s: True, and 30 calls to the keeper
    after 0.1 s without a permit a request gives up: True
    the keeper leaves, another one takes over: True
    100 more requests took at least 0.3 s: True
"""

from __future__ import annotations

import trio

import trionet
from trionet.testing import wait_converged


class Bucket:
    """Permits, which come at a steady rate; up to `burst` are kept. Every node has one; the keeper's is used."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.permits = float(burst)
        self.counted_at = trio.current_time()
        self.calls = 0
        self._queue = trio.Lock()  # first come, first served

    @trionet.rpc
    async def take(self, wanted: int) -> int:
        """Wait until so many permits are there, at most the burst; take them, and return how many."""
        self.calls += 1
        wanted = min(wanted, self.burst)
        async with self._queue:
            self._count()
            await trio.sleep(max(0, wanted - self.permits) / self.rate)
            self._count()
            self.permits -= wanted
            return wanted

    def _count(self) -> None:
        now = trio.current_time()
        self.permits = min(self.burst, self.permits + (now - self.counted_at) * self.rate)
        self.counted_at = now


class Limiter:
    """A node's share of the limit: ``await limiter.acquire()`` before each request."""

    def __init__(self, node: trionet.Node, batch: int) -> None:
        self.node = node
        self.batch = batch
        self.permits = 0
        self._queue = trio.Lock()

    def keeper(self) -> trionet.NodeAddress:
        """Return the member with the lowest SID."""
        return next(iter(self.node.all.members().values()))

    async def acquire(self) -> None:
        """Wait for a permit, and use it."""
        async with self._queue:
            while not self.permits:
                try:
                    self.permits = await self.node.call(self.keeper(), Bucket.take, self.batch)
                except (trionet.NodeUnreachable, trionet.TemporarilyUnavailable, trionet.ConnectionLost):
                    await trio.sleep(0.1)  # the keeper goes, perhaps with the batch; the members name another one soon
            self.permits -= 1


async def timed(limiters: list[Limiter], requests: int) -> float:
    """Make so many requests by all limiters at once; return the seconds that it took."""
    begun = trio.current_time()

    async def work(limiter: Limiter) -> None:
        for _ in range(requests // len(limiters)):
            await limiter.acquire()

    async with trio.open_nursery() as nursery:
        for limiter in limiters:
            nursery.start_soon(work, limiter)
    return trio.current_time() - begun


async def main() -> None:
    """Share a limit among three nodes, the keeper of which leaves."""
    async with trio.open_nursery() as nursery:
        nodes = [await nursery.start(trionet.serve_node, trionet.NodeConfig(join=[]))]
        for _ in range(2):
            config = trionet.NodeConfig(join=[str(nodes[0].address)])
            nodes.append(await nursery.start(trionet.serve_node, config))
        await wait_converged(nodes)  # else two of them might take different members for the keeper
        buckets = [Bucket(rate=200, burst=20) for _ in nodes]
        for node, bucket in zip(nodes, buckets, strict=True):
            await node.local.routes.put(bucket)
        print(f"{len(nodes)} nodes share 200 permits a second")

        limiters = [Limiter(node, batch=5) for node in nodes]
        took = await timed(limiters, 150)
        calls = sum(bucket.calls for bucket in buckets)
        print(f"150 requests took at least 0.6 s: {took >= 0.6}, and {calls} calls to the keeper")

        with trio.move_on_after(0.1) as patience:
            await timed(limiters, 60)
        print(f"after 0.1 s without a permit a request gives up: {patience.cancelled_caught}")

        keeper = next(node for node in nodes if node.address == limiters[0].keeper())
        keeper.stop()
        others = [limiter for limiter in limiters if limiter.node is not keeper]
        took = await timed(others, 100)
        print(f"the keeper leaves, another one takes over: {others[0].keeper() != keeper.address}")
        print(f"100 more requests took at least 0.3 s: {took >= 0.3}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

"""The services of the simulated nodes of the tests, and programs that use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from random import Random
from typing import TYPE_CHECKING

import trio

from trionet import Node, NodeConfig, Remote, TrionetError, rpc
from trionet.simulation import SCENARIOS, Simulation, Trace, open_cluster

if TYPE_CHECKING:
    from trionet.simulation import Fault

__all__ = ["CONFIG", "COUNT", "NUMBERS", "WORK", "Counter", "busy", "scenario_trace"]

COUNT = Remote(service="counter", method="count")
WORK = Remote(service="counter", method="work")
NUMBERS = Remote(service="counter", method="numbers")


class Counter:
    """Counts, at once or after a while, and counts calls in progress."""

    def __init__(self) -> None:
        self.count_so_far = 0
        self.in_progress = 0

    @rpc
    def count(self) -> int:
        self.count_so_far += 1
        return self.count_so_far

    @rpc
    async def work(self, seconds: float) -> int:
        self.in_progress += 1
        try:
            await trio.sleep(seconds)
        finally:
            self.in_progress -= 1
        return self.count()

    @rpc
    async def numbers(self) -> AsyncGenerator[int]:
        while True:
            await trio.sleep(0.1)
            yield self.count()


async def expose_counter(node: Node) -> None:
    await node.local.routes.put(Counter(), "counter")


CONFIG = NodeConfig(on_start=expose_counter)


async def busy(sim: Simulation, index: int, seed: int) -> None:
    """Let a node call the others in all ways, giving up on some, until cancelled."""
    random = Random(f"{seed} {index}")
    while True:
        await trio.sleep(random.expovariate(3))
        if not sim.is_up(index):
            continue
        node, choice = sim.nodes[index], random.random()
        with trio.move_on_after(2 * random.random()):
            try:
                if choice < 1 / 4:
                    await node.all.comm.send([random.random()], WORK)
                elif choice < 1 / 2:
                    await node.all.comm.send([], COUNT)
                elif choice < 3 / 4:
                    await node.all.gossip.send([], COUNT)
                else:
                    peer = sim.address(random.randrange(len(sim.nodes)))
                    remote = Remote(node=peer, service="counter", method="work")
                    await node.local.comm.send([random.random()], remote)
            except TrionetError as exc:
                sim.note(type(exc).__name__, index)


async def scenario_trace(
    seed: int | str, n: int | str = 4, duration_s: float | str = 15.0, scenario: str = "anything"
) -> Trace:
    """Let busy nodes live through a scenario; return the trace."""
    seed, n, duration_s = int(seed), int(n), float(duration_s)
    faults: list[Fault] = SCENARIOS[scenario](n, duration_s, Random(f"{seed} faults"))
    async with open_cluster(n, seed=seed, config=CONFIG, faults=faults) as sim, trio.open_nursery() as nursery:
        for index in range(n):
            nursery.start_soon(busy, sim, index, seed)
        await trio.sleep(duration_s)
        nursery.cancel_scope.cancel()
    assert sim.trace is not None
    return sim.trace

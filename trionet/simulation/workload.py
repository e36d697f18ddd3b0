"""The default program of a trial: calls of all kinds between the nodes.

Short and long calls, some of them cancelled; nested calls; fan-outs; streams; rumors. Invariant: in a correct cluster
nothing but a `TrionetError` is raised.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet import Node, NodeAddress, Remote, TrionetError, rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cluster import Simulation

__all__ = ["SERVICE", "Workload", "busy", "keep_busy", "open_workload"]

SERVICE: Final = "workload"
"""The name of the service."""

_PAUSE_S: Final = 0.5
_LONG_S: Final = 1000.0


class Workload:
    """The service that the nodes call."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._touched = 0

    @rpc
    def touch(self) -> int:
        """Count."""
        self._touched += 1
        return self._touched

    @rpc
    async def work(self, seconds: float) -> int:
        """Sleep."""
        await trio.sleep(seconds)
        return self.touch()

    @rpc
    async def relay(self, chain: list[NodeAddress], seconds: float) -> int:
        """Call `work` on the last node of a chain, through the others."""
        if not chain:
            return await self.work(seconds)
        found: int = await self._node.local.comm.send([chain[1:], seconds], _on("relay", chain[0]))
        return found

    @rpc
    async def tick(self, seconds: float) -> AsyncGenerator[int]:
        """Yield numbers."""
        while True:
            await trio.sleep(seconds)
            yield self.touch()


async def open_workload(node: Node) -> None:
    """Register the service, as `on_start` of a configuration."""
    await node.local.routes.put(Workload(node), SERVICE)


def _on(method: str, node: NodeAddress | None = None) -> Remote:
    return Remote(node=node, service=SERVICE, method=method)


async def busy(sim: Simulation) -> None:
    """Keep all nodes busy for the duration of the faults."""
    with trio.move_on_after(sim.duration_s):
        await keep_busy(sim)


async def keep_busy(sim: Simulation) -> None:
    """Keep all nodes busy that have the `Workload`, until cancelled."""
    async with trio.open_nursery() as nursery:
        for index in range(len(sim.nodes)):
            nursery.start_soon(_keep_busy, sim, index)


async def _keep_busy(sim: Simulation, index: int) -> None:
    kinds: list[Callable[[Simulation, int], Any]] = [_call, _call, _relay, _fan_out, _gossip, _stream]
    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(sim.random.expovariate(1 / _PAUSE_S))
            if sim.is_up(index):
                nursery.start_soon(_for_a_while, sim, index, sim.random.choice(kinds))


async def _for_a_while(sim: Simulation, index: int, action: Callable[[Simulation, int], Any]) -> None:
    """Do something, and cancel it after a time: by a deadline, which travels, or without one."""
    patience_s, is_known = sim.random.expovariate(1.0), sim.random.random() < 1 / 3

    async def attempt() -> None:
        try:
            await action(sim, index)
        except TrionetError as exc:
            sim.note(type(exc).__name__, index)

    if is_known:
        with trio.move_on_after(patience_s):
            await attempt()
        return
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def give_up() -> None:
            await trio.sleep(patience_s)
            nursery.cancel_scope.cancel()

        await attempt()
        nursery.cancel_scope.cancel()


def _peer(sim: Simulation) -> NodeAddress:
    return sim.address(sim.random.randrange(len(sim.nodes)))


def _seconds(sim: Simulation) -> float:
    return _LONG_S if sim.random.random() < 1 / 2 else sim.random.random()


async def _call(sim: Simulation, index: int) -> None:
    if sim.random.random() < 1 / 3:
        await sim.nodes[index].local.comm.send([], _on("touch", _peer(sim)))
    else:
        await sim.nodes[index].local.comm.send([_seconds(sim)], _on("work", _peer(sim)))


async def _relay(sim: Simulation, index: int) -> None:
    chain = [_peer(sim), _peer(sim)]
    await sim.nodes[index].local.comm.send([chain[1:], _seconds(sim)], _on("relay", chain[0]))


async def _fan_out(sim: Simulation, index: int) -> None:
    await sim.nodes[index].all.comm.send([_seconds(sim)], _on("work"))


async def _gossip(sim: Simulation, index: int) -> None:
    await sim.nodes[index].all.gossip.send([], _on("touch"))


async def _stream(sim: Simulation, index: int) -> None:
    async with sim.nodes[index].local.comm.stream([0.2], _on("tick", _peer(sim))) as items:
        async for _ in items:
            pass

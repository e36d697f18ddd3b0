"""Simulated clusters that live as long as a test, and the virtual time that they live in.

Invariant: the tasks of a cluster belong to the nursery of the factory, not to who asked for it, so that a cluster ends
with the test, whatever happens to the scope that it was made in.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from trionet.nurseries import open_background_nursery
from trionet.simulation import open_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from trionet import NodeConfig
    from trionet.simulation import Fault, Network, Simulation

__all__ = ["ClusterFactory", "is_virtual", "open_cluster_factory"]

_STANDS_STILL = """\
this test's clock stands still, and a cluster needs time to pass: ask for autojump_clock in place of mock_clock, or \
for no clock at all, which comes to the same\
"""


class ClusterFactory:
    """What the fixture ``trionet_cluster`` gives: makes simulated clusters.

    Attributes:
        seed: of each cluster for which nothing else is said; the test's.
    """

    def __init__(self, nursery: trio.Nursery, seed: int, on_open: Callable[[Simulation], None]) -> None:
        self.seed = seed
        self._nursery = nursery
        self._on_open = on_open

    async def __call__(
        self,
        n: int = 3,
        *,
        seed: int | None = None,
        network: Network | str = "lan",
        config: NodeConfig | Callable[[int], NodeConfig] | None = None,
        faults: Sequence[Fault] = (),
        is_traced: bool = True,
    ) -> Simulation:
        """Start a cluster of `n` nodes, and return it once each of them sees all; it ends with the test.

        Args:
            n: how many.
            seed: what all its random numbers follow from; default: the test's.
            network: how the network is; this and the rest is as for `trionet.simulation.open_cluster`.
            config: the nodes' configuration, or a function of a node's place that gives it.
            faults: what is to go wrong, from when the cluster is returned.
            is_traced: whether to keep a trace; without one, a failed test leaves none.

        Raises:
            RuntimeError: the clock of the test stands still.
        """
        clock = _mock_clock()
        if clock is not None and clock.rate == 0 and clock.autojump_threshold == float("inf"):
            raise RuntimeError(_STANDS_STILL)
        settings = {"network": network, "config": config, "faults": faults, "is_traced": is_traced}
        sim: Simulation = await self._nursery.start(self._serve, n, self.seed if seed is None else seed, settings)
        return sim

    async def _serve(
        self, n: int, seed: int, settings: dict[str, Any], *, task_status: trio.TaskStatus[Simulation]
    ) -> None:
        async with open_cluster(n, seed=seed, on_open=self._on_open, **settings) as sim:
            task_status.started(sim)
            await trio.sleep_forever()


@asynccontextmanager
async def open_cluster_factory(
    seed: int, on_open: Callable[[Simulation], None] = lambda _: None
) -> AsyncGenerator[ClusterFactory]:
    """Give a factory of clusters, which all end with the block.

    Args:
        seed: of those for which nothing else is said.
        on_open: called with each cluster before its first node starts.
    """
    async with open_background_nursery() as nursery:
        yield ClusterFactory(nursery, seed, on_open)


def is_virtual() -> bool:
    """Whether time passes by jumps, or not at all, so that what comes from outside would come too late, or never."""
    clock = _mock_clock()
    return clock is not None and (clock.rate == 0 or clock.autojump_threshold != float("inf"))


def _mock_clock() -> MockClock | None:
    clock = trio.lowlevel.current_clock()
    return clock if isinstance(clock, MockClock) else None

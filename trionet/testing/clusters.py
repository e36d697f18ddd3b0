"""Simulated clusters for a test, in virtual time.

Invariant: the tasks of a cluster belong to the nursery of the factory, so that a cluster ends with the test, even
if the scope in which it was started ends otherwise.
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
this test's clock stands still, and a cluster needs time to pass: use autojump_clock in place of mock_clock, or no \
clock, which has the same effect\
"""


class ClusterFactory:
    """Starts simulated clusters; the value of the fixture ``trionet_cluster``.

    Attributes:
        seed: the default seed of clusters; the test's.
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
            n: the number of nodes.
            seed: the seed of all its random numbers; default: the test's.
            network: the network; this and the rest is as for `trionet.simulation.open_cluster`.
            config: the nodes' configuration, or a function of a node's place that returns it.
            faults: the schedule of faults, from the return of the cluster.
            is_traced: whether to record a trace; without one, a failed test saves none.

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
    """Yield a factory of clusters, which all end with the block.

    Args:
        seed: the default seed.
        on_open: called with each cluster before its first node starts.
    """
    async with open_background_nursery() as nursery:
        yield ClusterFactory(nursery, seed, on_open)


def is_virtual() -> bool:
    """Whether time jumps or stands still, so that input from outside would be late."""
    clock = _mock_clock()
    return clock is not None and (clock.rate == 0 or clock.autojump_threshold != float("inf"))


def _mock_clock() -> MockClock | None:
    clock = trio.lowlevel.current_clock()
    return clock if isinstance(clock, MockClock) else None

"""Faults: partitions, killed nodes, paused nodes.

Invariants: a fault and its end alternate, the first fault is at once, and the gaps are uniform between 0 and twice the
interval. When the test is over all is healed, all nodes run. Source: Jepsen, ``jepsen.nemesis.combined``; Maelstrom
itself has partitions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from .partitions import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from .cluster import NodeCluster
    from .history import History
    from .network import Network
    from .options import Options

__all__ = ["TARGETS", "Nemesis"]


def _some(nodes: Sequence[str], random: Random) -> list[str]:
    return random.sample(nodes, random.randint(1, len(nodes)))


def _share(size: Callable[[int], int]) -> Callable[[Sequence[str], Random], list[str]]:
    return lambda nodes, random: random.sample(nodes, size(len(nodes)))


TARGETS: Final[Mapping[str, Callable[[Sequence[str], Random], list[str]]]] = {
    "some": _some,
    "one": _share(lambda count: 1),
    "minority-third": _share(lambda count: (count - 1) // 3),
    "minority": _share(lambda count: count // 2),
    "majority": _share(lambda count: count // 2 + 1),
    "all": _share(lambda count: count),
}
"""Which nodes are killed or paused."""


class Nemesis:
    """Injects faults.

    Args:
        options: the faults, the mean time from one to its end and to the next, and the nodes.
        network: is partitioned.
        cluster: kills and pauses nodes.
        history: records the faults.
        random: chooses faults, times and nodes.
    """

    def __init__(
        self, options: Options, network: Network, cluster: NodeCluster, history: History, random: Random
    ) -> None:
        self._options = options
        self._network = network
        self._cluster = cluster
        self._history = history
        self._random = random
        self._wrong: dict[str, str] = {}

    @property
    def state(self) -> str:
        """The faults of this moment, in words; empty if there are none."""
        return ", ".join(self._wrong.values())

    async def run(self) -> None:
        """Inject faults until cancelled."""
        async with trio.open_nursery() as nursery:
            if "partition" in self._options.nemesis:
                nursery.start_soon(self._repeat, ["partition"])
            others = [fault for fault in self._options.nemesis if fault != "partition"]
            if others:
                nursery.start_soon(self._repeat, others)

    async def _repeat(self, faults: list[str]) -> None:
        while True:
            fault = self._random.choice(faults)
            # A node that is left half initialised would fail the test, so the end of the test waits for starting
            # nodes, at most for the time limit of their initialisation.
            with trio.CancelScope(shield=True):
                await (self._end(fault) if fault in self._wrong else self._begin(fault))
            await trio.sleep(self._random.uniform(0, 2 * self._options.nemesis_interval_s))

    async def _begin(self, fault: str) -> None:
        if fault == "partition":
            kind = self._random.choice(list(PARTITIONS))
            self._network.partitions = PARTITIONS[kind](self._options.nodes, self._random)
            cut = {node: sorted(ignored) for node, ignored in self._network.partitions.items() if ignored}
            self._history.note("start-partition", {"kind": kind, "ignored": cut})
            self._wrong[fault] = f"partition ({kind})"
            return
        kind = self._random.choice(list(TARGETS))
        nodes = sorted(TARGETS[kind](self._options.nodes, self._random))
        self._wrong[fault] = f"{fault} ({', '.join(nodes)})"
        self._history.note(fault, nodes)
        harm = self._cluster.kill if fault == "kill" else self._cluster.pause
        for node in nodes:
            harm(node)

    async def _end(self, fault: str) -> None:
        del self._wrong[fault]
        if fault == "partition":
            self._network.partitions = {}
            self._history.note("stop-partition", None)
        elif fault == "kill":
            await self._cluster.start_killed()
            self._history.note("start", "all")
        else:
            self._cluster.resume_all()
            self._history.note("resume", "all")

    async def heal(self) -> None:
        """End all faults."""
        for fault in self._options.nemesis:
            if fault in self._wrong:
                await self._end(fault)
            elif fault == "partition":
                self._history.note("stop-partition", None)

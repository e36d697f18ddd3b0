"""Settings agree after partitions, crashes and restarts, and late nodes have them, with many seeds."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from trionet import Node, TrionetError
from trionet.simulation import Partition, open_cluster, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.simulation import Simulation

KEYS = ("a", "b", "c", "d")
AGREE_WITHIN_S = 10.0
LATE_WITHIN_S = 2.0
PARTITION_S = 10.0


def _running(sim: Simulation) -> list[Node]:
    """Return the nodes that run; one that starts again isn't there until it has joined, or given up waiting for it."""
    return [node for node in sim.up if not node.is_stopping]


class _Writer:
    """Writes settings on both sides of a partition, and notes what a majority of all nodes has acknowledged.

    Attributes:
        acknowledged: the stamps of the acknowledged writes, by key.
    """

    def __init__(self, sim: Simulation) -> None:
        self.acknowledged: dict[str, list[int]] = {}
        self._sim = sim

    async def write(self, node: Node, key: str, value: int) -> None:
        try:
            receipt = await node.all.settings.put(key, value)
            entry = node.local.replicated.get("all", f"setting/{key}")
            if entry is None or entry.id.hex() != receipt.id:
                return
            with trio.move_on_after(3.0):
                spread = await receipt.wait_spread(0.51)
                if spread.known > len(self._sim.nodes) / 2:
                    self.acknowledged.setdefault(key, []).append(entry.stamp)
        except TrionetError:
            return  # the node has crashed

    async def write_much(self, random: Random, nursery: trio.Nursery) -> None:
        for number in range(25):
            await trio.sleep(random.uniform(0.0, 2 * (1.0 + PARTITION_S) / 25))
            node = random.choice(_running(self._sim))
            if random.random() < 0.15 and "gone" in await node.all.settings.items():
                nursery.start_soon(_remove, node, "gone")
            else:
                nursery.start_soon(self.write, node, random.choice((*KEYS, "gone")), number)

    def check(self) -> None:
        """Fail if an acknowledged write is lost, and no later one has replaced it."""
        for key, stamps in self.acknowledged.items():
            if key == "gone":
                continue  # its entry is removed now and then
            for node in _running(self._sim):
                entry = node.local.replicated.get("all", f"setting/{key}")
                assert entry is not None, key
                assert entry.stamp >= max(stamps), key


async def _remove(node: Node, key: str) -> None:
    try:
        await node.all.settings.del_(key)
    except TrionetError:
        return


async def _wait_agreed(sim: Simulation) -> None:
    """Wait until all nodes have the same settings."""
    with trio.fail_after(AGREE_WITHIN_S):
        while True:
            found = [await node.all.settings.items() for node in _running(sim)]
            if len(found) == len(sim.nodes) and all(items == found[0] for items in found):
                return
            await trio.sleep(0.1)


async def _crash_some(sim: Simulation, random: Random) -> None:
    """Crash less than half of the nodes, one after the other, each for a while."""
    size = len(sim.nodes)
    crashed = random.sample(range(size), (size - 1) // 2)
    for index in crashed:
        await trio.sleep(random.uniform(0.2, 0.6 * PARTITION_S / len(crashed)))
        sim.crash(index, is_silent=random.random() < 0.5)
        await trio.sleep(random.uniform(0.1, 0.4 * PARTITION_S / len(crashed)))
        sim.restart_soon(index)


async def disagree(seed: int) -> tuple[float, int]:
    """Write on both sides of a partition; return how long agreement took, and how many writes were acknowledged."""
    random = Random(f"{seed} program")
    size = random.choice((3, 4, 5, 7))
    network = random.choice(("lan", "lan", "bad"))
    async with open_cluster(size, seed=seed, network=network, is_traced=False) as sim:
        order = random.sample(range(size), size)
        cut = random.randint(1, size - 1)
        sim.play([Partition(at_s=1.0, duration_s=PARTITION_S, sides=[order[:cut], order[cut:]])])
        writer, healed_at = _Writer(sim), trio.current_time() + 1.0 + PARTITION_S
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_crash_some, sim, random)
            await writer.write_much(random, nursery)
        await trio.sleep_until(max(healed_at, trio.current_time()))
        await _wait_agreed(sim)
        writer.check()
        return trio.current_time() - healed_at, sum(map(len, writer.acknowledged.values()))


async def join_late(seed: int) -> float:
    """Start a node soon after a setting was written; return after how many seconds it has the setting."""
    random = Random(f"{seed} program")
    async with open_cluster(random.choice((1, 2, 3, 5, 8)), seed=seed, is_traced=False) as sim:
        await random.choice(sim.nodes).all.settings.put("limit", 5)
        await trio.sleep(random.choice((0.0, random.uniform(0.0, 3.0))))
        began_at = trio.current_time()
        node = await sim.start()
        with trio.fail_after(LATE_WITHIN_S):
            assert await node.all.settings.wait("limit") == 5
        return trio.current_time() - began_at


def run_seeds(program: Callable[[int], Awaitable[object]], first: int, last: int) -> None:
    for seed in range(first, last):
        try:
            run(program, seed, seed=seed)
        except BaseException as exc:
            raise AssertionError(f"seed {seed}") from exc


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 5])
def test_all_nodes_agree_soon_after_a_partition_and_nothing_acknowledged_is_lost(first: int) -> None:
    run_seeds(disagree, first, first + 5)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_all_nodes_agree_soon_after_a_partition_with_a_hundred_seeds(first: int) -> None:
    run_seeds(disagree, first, first + 100)


@pytest.mark.slow
def test_a_late_node_has_a_setting_within_two_seconds() -> None:
    run_seeds(join_late, 0, 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_late_node_has_a_setting_within_two_seconds_with_a_thousand_seeds() -> None:
    run_seeds(join_late, 0, 1000)

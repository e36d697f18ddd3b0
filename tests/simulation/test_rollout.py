"""Simulated plain nodes become sealed under loss, partitions, crashes and restarts: no member is stranded."""

from __future__ import annotations

import shutil
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from tests.rolling import config_of, roll_out
from tests.security.keys import key_of
from tests.simulation.rotating import STALE_S, check_calls, gentle_faults, keep_calling
from trionet import Remote, TrionetError
from trionet.errors import PreconditionFailed
from trionet.security.key_file import new_key_file
from trionet.simulation import SCENARIOS, Simulation, open_cluster, run
from trionet.transports.link.replacement import REPLACED_S

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node, NodeConfig

DURATION_S = 40.0
HEALED_S = 200.0
ROLLED_S = 400.0
STEPS = ("accept=both", "send=sealed", "accept=sealed")


class Rollouts:
    """Operators of a simulated cluster.

    Attributes:
        done: counts of commands, and of refusals.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._random = Random(f"{seed} operator")
        self.done = Counter[str]()

    def config(self, index: int) -> NodeConfig:
        return config_of(self._folder / f"node{index}.key")

    def give_key(self, node: Node) -> None:
        path = node.config.key_file or ""
        try:
            new_key_file(path, key_of(self._seed))
            self.done["given"] += 1
        except TrionetError:
            self.done["had"] += 1

    async def operate(self, sim: Simulation) -> None:
        """Have operators try steps at nodes, until cancelled."""
        while True:
            await trio.sleep(self._random.uniform(0.1, 2.0))
            if sim.up:
                with trio.move_on_after(20):
                    await self._step(self._random.choice(sim.up))

    async def _step(self, node: Node) -> None:
        try:
            if node.keys.agent is None:
                self.give_key(node)
                await node.reload()
            else:
                await node.keys.rollout(self._random.choice(STEPS))
                self.done["step"] += 1
        except PreconditionFailed:
            self.done["refused"] += 1
        except TrionetError:
            self.done["failed"] += 1


async def _rolled(seed: int, n: int, folder: Path) -> Counter[str]:
    rollouts = Rollouts(folder, seed)
    faults = SCENARIOS["anything"](n, DURATION_S, Random(f"{seed} faults"))
    async with open_cluster(n, seed=seed, config=rollouts.config, faults=faults) as sim:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rollouts.operate, sim)
            await trio.sleep(DURATION_S)
            nursery.cancel_scope.cancel()
        with trio.fail_after(HEALED_S):
            for index in range(n):
                if not sim.is_up(index):
                    await sim.restart(index)
            await sim.wait_converged()  # nobody is stranded
        await trio.sleep(STALE_S)
        await check_calls(sim.up)
        for node in sim.up:
            if node.keys.agent is None:
                rollouts.give_key(node)
                await node.reload()
        with trio.fail_after(ROLLED_S):
            for step in STEPS:
                await roll_out(sim.up[seed % n], step)
        await check_calls(sim.up)
        assert all([(await node.keys.status()).is_protected for node in sim.up]), f"seed {seed}"
        assert all(len(node.members()) == n for node in sim.up), f"seed {seed}"
    return rollouts.done


def rolled(seed: int, n: int, folder: Path) -> Counter[str]:
    """Make a plain cluster sealed through faults; return what the operators have done."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return run(_rolled, seed, n, folder, seed=seed)


async def _rolled_amid_calls(seed: int, n: int, folder: Path) -> tuple[list[str], Counter[str]]:
    rollouts, lost = Rollouts(folder, seed), list[str]()
    random, faults = Random(f"{seed} times"), gentle_faults(n, DURATION_S, Random(f"{seed} faults"))
    async with open_cluster(n, seed=seed, config=rollouts.config, faults=faults) as sim:
        await sim.wait_converged()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_calling, sim, Random(f"{seed} calls"), lost, rollouts.done)
            for node in sim.up:
                await trio.sleep(random.uniform(0, 3))
                rollouts.give_key(node)
                await node.reload()
            with trio.fail_after(ROLLED_S):
                for step in STEPS:
                    await trio.sleep(random.uniform(0, 10))
                    await roll_out(sim.up[seed % n], step)
            await trio.sleep(STALE_S)
            nursery.cancel_scope.cancel()
    return lost, rollouts.done


def rolled_amid_calls(seed: int, n: int, folder: Path) -> Counter[str]:
    """Make a plain cluster sealed while calls flow, through faults that may not cost one; return the counts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lost, done = run(_rolled_amid_calls, seed, n, folder, seed=seed)
    assert lost == [], (f"seed {seed}", lost[:3])
    return done


def test_no_call_is_lost_in_a_rollout(tmp_path: Path) -> None:
    assert sum((rolled_amid_calls(seed, 3 + seed % 3, tmp_path / "keys") for seed in range(3)), Counter())["calls"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_no_call_is_lost_in_1000_rollouts(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        rolled_amid_calls(seed, 3 + seed % 4, tmp_path / "keys")


async def _left_before_the_key(folder: Path) -> None:
    rollouts = Rollouts(folder, 1)
    async with open_cluster(3, seed=1, config=rollouts.config) as sim:
        await sim.wait_converged()
        left = sim.address(2)
        sim.stop(2)
        await sim.wait_converged()
        for node in sim.up:
            rollouts.give_key(node)
            await node.reload()
        with pytest.raises(PreconditionFailed, match=f"absent: {left}"):
            await sim.up[0].keys.rollout("send=sealed")
        await sim.up[0].keys.rollout("send=sealed", [str(left)])


def test_a_rollout_waits_for_a_member_that_left_before_the_key_came(tmp_path: Path) -> None:
    run(_left_before_the_key, tmp_path, seed=1)


def test_a_rollout_through_faults_strands_no_member_in_20_seeds(tmp_path: Path) -> None:
    done = Counter[str]()
    for seed in range(20):
        done += rolled(seed, 3 + seed % 3, tmp_path / "keys")
    assert min(done[what] for what in ("given", "step", "refused")) > 10, done


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 1000, 50))
def test_a_rollout_through_faults_strands_no_member_in_1000_seeds(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        rolled(seed, 3 + seed % 4, tmp_path / "keys")


async def _rolled_with_rumors(folder: Path) -> list[bool]:
    rollouts = Rollouts(folder, 1)
    believed = list[bool]()
    async with open_cluster(2, seed=1, config=rollouts.config) as sim:
        await sim.wait_converged()
        one, other = sim.up
        for node in sim.up:
            rollouts.give_key(node)
            await node.reload()
        for wait_s, steps in ((1, ()), (1, STEPS[1:]), (REPLACED_S + 1, ())):
            for step in steps:
                await roll_out(one, step)
            await trio.sleep(wait_s)
            before = other.statistics().calls_refused
            await one.all.gossip.send(["nobody"], Remote(service="routes", method="rem"))
            await trio.sleep(1)
            believed.append(other.statistics().calls_refused == before)
    return believed


def test_a_rumor_proves_nothing_until_the_plain_links_have_closed(tmp_path: Path) -> None:
    assert run(_rolled_with_rumors, tmp_path, seed=1) == [False, False, True]

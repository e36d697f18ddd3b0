"""Simulated nodes whose keys are rotated while faults come, and how to see that none is left behind."""

from __future__ import annotations

import shutil
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import trio

from tests.security.keys import key_of
from trionet import NodeConfig, Remote, TrionetError
from trionet.errors import PreconditionFailed
from trionet.security.key_file import new_key_file, read_key_file
from trionet.simulation import SCENARIOS, Degrade, Simulation, Skew, Slow, open_cluster, run

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node
    from trionet.simulation import Fault, Trace

__all__ = [
    "STALE_S",
    "Rotation",
    "check_calls",
    "gentle_faults",
    "keep_calling",
    "rotate_once",
    "rotated",
    "rotated_amid_calls",
]

NID = Remote(service="status", method="get")
DURATION_S = 40.0
HEALED_S = 200.0
ROTATED_S = 300.0
STALE_S = 60.0
"""By then the links of crashed hosts are closed."""


class Rotation:
    """Key files in a folder, one for each node, and the operators' commands.

    Attributes:
        done: counts of commands, and of refusals.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = Random(f"{seed} operator")
        self.seed = seed
        self.done = Counter[str]()
        self._made = 0

    def config(self, index: int) -> NodeConfig:
        """Return the configuration of a node; its key file is made once."""
        path = self.folder / f"node{index}.key"
        if not path.exists():
            new_key_file(str(path), key_of(1000 * self.seed))
        return NodeConfig(key_file=str(path))

    def new_file(self) -> str:
        """Return the path of a new key's file."""
        self._made += 1
        path = self.folder / f"new{self._made}.key"
        new_key_file(str(path), key_of(1000 * self.seed + self._made))
        return str(path)

    async def operate(self, sim: Simulation) -> None:
        """Have operators try steps at nodes, until cancelled."""
        while True:
            await trio.sleep(self.random.uniform(0.1, 2.0))
            if sim.up:
                node = self.random.choice(sim.up)
                with trio.move_on_after(20):
                    await self.step(node)

    async def step(self, node: Node) -> None:
        """Have an operator try one step at a node."""
        kind = self.random.choice(["install", "use", "use", "retire", "retire"])
        try:
            status = await node.keys.status()
            ids = {one.state: one.id for one in status.keys if one.is_held and not one.seals}
            if kind == "install":
                if len([one for one in status.keys if one.is_held]) < 4:
                    await node.keys.install(self.new_file())
            elif ids:
                await (node.keys.use if kind == "use" else node.keys.retire)(self.random.choice(sorted(ids.values())))
            self.done[kind] += 1
        except PreconditionFailed:
            self.done["refused"] += 1
        except TrionetError:
            self.done["failed"] += 1


async def rotate_once(node: Node, path: str) -> str:
    """Install, use, and retire all others, as an operator who waits for what is refused; return the new key's id."""
    key_id = await node.keys.install(path)
    await _until_done(node, "use", key_id)
    for one in (await node.keys.status()).keys:
        if one.is_held and one.id != key_id:
            await _until_done(node, "retire", one.id)
    return key_id


async def _until_done(node: Node, what: str, key_id: str) -> None:
    while True:
        try:
            await getattr(node.keys, what)(key_id)
        except PreconditionFailed:
            await trio.sleep(1)
        else:
            return


async def check_calls(nodes: list[Node]) -> None:
    """Each node calls each other one."""
    for one in nodes:
        for other in nodes:
            with trio.fail_after(10):
                assert await one.local.comm.send(["nid"], Remote(node=other.address, service="status", method="get"))


async def until_agreed(nodes: list[Node], key_id: str) -> None:
    """Wait until all hold this key and no other one."""
    while not all(_holds_only(node, key_id) for node in nodes):  # noqa: ASYNC110  in virtual time
        await trio.sleep(1)


def _holds_only(node: Node, key_id: str) -> bool:
    agent = node.keys.agent
    assert agent is not None
    return [one.hex() for one in agent.ring.keys] == [key_id] and agent.ring.is_written


async def _rotated(seed: int, n: int, folder: Path, scenario: str) -> tuple[Trace, Counter[str]]:
    rotation = Rotation(folder, seed)
    faults = SCENARIOS[scenario](n, DURATION_S, Random(f"{seed} faults"))
    async with open_cluster(n, seed=seed, config=rotation.config, faults=faults) as sim:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rotation.operate, sim)
            await trio.sleep(DURATION_S)
            nursery.cancel_scope.cancel()
        with trio.fail_after(HEALED_S):
            for index in range(n):
                if not sim.is_up(index):
                    await sim.restart(index)
            await sim.wait_converged()  # nobody is stranded
        assert len(sim.up) == n
        await trio.sleep(STALE_S)
        await check_calls(sim.up)
        with trio.fail_after(ROTATED_S):
            key_id = await rotate_once(sim.up[seed % n], rotation.new_file())
            await until_agreed(sim.up, key_id)
        await check_calls(sim.up)
        for index in range(n):
            held = [one for one in read_key_file(rotation.config(index).key_file or "").entries if one.key is not None]
            assert [one.id.hex() for one in held] == [key_id], f"seed {seed}"
    assert sim.trace is not None
    return sim.trace, rotation.done


def rotated(seed: int, n: int, folder: Path, scenario: str = "anything") -> tuple[Trace, Counter[str]]:
    """Rotate the keys of `n` nodes through faults; return the trace, and what the operators have done."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return run(_rotated, seed, n, folder, scenario, seed=seed)


async def keep_calling(sim: Simulation, random: Random, lost: list[str], done: Counter[str]) -> None:
    """Have each node call others all the time, until cancelled; record calls that are not answered."""

    async def call_others(node: Node) -> None:
        while True:
            await trio.sleep(random.uniform(0.05, 0.5))
            other = random.choice(sim.up).address
            try:
                await node.local.comm.send(["nid"], Remote(node=other, service="status", method="get"))
                done["calls"] += 1
            except TrionetError as exc:
                lost.append(f"{trio.current_time():.2f} {node.address} to {other}: {exc!r}")

    async with trio.open_nursery() as nursery:
        for node in sim.up:
            nursery.start_soon(call_others, node)


def gentle_faults(n: int, duration_s: float, random: Random) -> list[Fault]:
    """Return a slow node, a clock that jumps, and a network that reorders: none of this may cost a call.

    Two others may: a node that answers later than a connection attempt lasts, and loss while a link closes, where the
    peer's reset overtakes the answer that it sends again.
    """
    at_s = random.uniform(0, duration_s / 4)
    return [
        Slow(at_s=0, duration_s=duration_s, node=random.randrange(n), lag_s=random.uniform(0, 0.02)),
        Degrade(at_s=at_s, duration_s=duration_s / 2, duplicates=0.2, reordered=0.3, latency_s=random.uniform(0, 0.1)),
        Skew(at_s=at_s, duration_s=duration_s / 3, node=random.randrange(n), forward_s=random.uniform(0, 10)),
    ]


async def _rotated_amid_calls(seed: int, n: int, folder: Path) -> tuple[list[str], Counter[str]]:
    rotation, lost = Rotation(folder, seed), list[str]()
    faults = gentle_faults(n, DURATION_S, Random(f"{seed} faults"))
    async with open_cluster(n, seed=seed, config=rotation.config, faults=faults) as sim:
        await sim.wait_converged()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_calling, sim, Random(f"{seed} calls"), lost, rotation.done)
            for number in range(2):
                with trio.fail_after(ROTATED_S):
                    key_id = await rotate_once(sim.up[(seed + number) % n], rotation.new_file())
                    await until_agreed(sim.up, key_id)
            await trio.sleep(STALE_S)
            nursery.cancel_scope.cancel()
    return lost, rotation.done


def rotated_amid_calls(seed: int, n: int, folder: Path) -> Counter[str]:
    """Rotate the keys of `n` nodes twice while calls flow, through faults that may not cost one; return the counts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lost, done = run(_rotated_amid_calls, seed, n, folder, seed=seed)
    assert lost == [], (f"seed {seed}", lost[:3])
    return done

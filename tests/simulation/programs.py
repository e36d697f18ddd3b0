"""Programs, configurations and invariants for trials, as a user would write them."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import trio

from trionet import Node, NodeAddress, NodeConfig, Remote, rpc
from trionet.simulation import Watch

if TYPE_CHECKING:
    from trionet.simulation import Simulation, TraceEvent, Trial, Violation

__all__ = [
    "CRASHING",
    "HERE",
    "LAN",
    "LOCAL",
    "STUBBORN",
    "TALKATIVE",
    "WAN",
    "Broken",
    "NoCrash",
    "assertive",
    "die_at_five",
    "fail_from_three_on",
    "fail_in_two_ways",
    "fails_to_plan",
    "flood",
    "give_up_on_the_stubborn",
    "have_somebody_flood",
    "hide_a_rumor",
    "kill_at_two",
    "never_ends",
    "nothing",
    "plans_five",
    "spin",
    "three_nodes_run",
]


async def nothing(sim: Simulation) -> None:
    """Do nothing."""


async def fail_from_three_on(sim: Simulation) -> None:
    """Fail with seeds from 3 on; the others last longer."""
    sys.stdout.write("this is no result\n")
    assert sim.seed < 3, f"seed {sim.seed}"
    for _ in range(200):
        await trio.sleep(0.001)


async def fail_in_two_ways(sim: Simulation) -> None:
    """Fail at one place where something was dropped, and at another one where nothing was."""
    await trio.sleep(sim.duration_s)
    assert sim.trace is not None
    assert not sim.trace.select("drop"), f"something was dropped, at the end of {sim.duration_s} s"
    raise AssertionError("nothing was dropped")


def fails_to_plan(*_: object) -> None:
    raise ValueError("no plan")


def plans_five(*_: object) -> int:
    return 5


async def assertive(sim: Simulation) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1)
        await trio.sleep(0.5)
        raise AssertionError("as it happens")


async def never_ends(sim: Simulation) -> None:
    await trio.sleep_forever()


async def kill_at_two(sim: Simulation) -> None:
    if sim.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)


async def spin(sim: Simulation) -> None:
    """Compute without end, after a line on standard error."""
    sys.stderr.write("spinning\n")
    sys.stderr.flush()
    while True:
        pass


async def die_at_five(sim: Simulation) -> None:
    if sim.seed == 5:
        os._exit(7)


async def _fail_later(node: Node) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise ZeroDivisionError

    node._children.nursery.start_soon(fail)  # noqa: SLF001  as an error of its own


HERE = "no configuration"
LAN = NodeConfig(profile="lan")
LOCAL = NodeConfig(profile="local")
WAN = NodeConfig(profile="wan")
CRASHING = NodeConfig(on_start=_fail_later)


class NoCrash(Watch):
    """Nobody crashes."""

    def take(self, event: TraceEvent) -> None:
        if event.what == "crash":
            self.violated(f"{event.node} crashed", event.node)


class Broken(Watch):
    """Raises in a chosen method."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def _raise_at(self, where: str) -> None:
        if where == self._where:
            raise KeyError(where)

    def begin(self, sim: Simulation, trial: Trial) -> None:
        super().begin(sim, trial)
        self._raise_at("begin")

    def take(self, event: TraceEvent) -> None:
        self._raise_at("take")

    def is_settled(self) -> bool:
        self._raise_at("is_settled")
        return True

    async def check(self) -> list[Violation]:
        self._raise_at("check")
        return self.violations


class _Stubborn:
    @rpc
    async def work(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)


async def _open_stubborn(node: Node) -> None:
    await node.local.routes.put(_Stubborn(), "stubborn")


STUBBORN = NodeConfig(on_start=_open_stubborn)


async def give_up_on_the_stubborn(sim: Simulation) -> None:
    remote = Remote(node=sim.address(1), service="stubborn", method="work")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sim.nodes[0].local.comm.send, [], remote)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def three_nodes_run(sim: Simulation) -> None:
    await trio.sleep(0.1)
    assert len(sim.up) == 3, f"{len(sim.up)} nodes run"


class _Talkative:
    """Calls a node without end."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @rpc
    async def talk(self, to: str) -> None:
        while True:
            await self._node.local.comm.send(["nid"], Remote(node=NodeAddress.of(to), service="status", method="get"))


async def _open_talkative(node: Node) -> None:
    await node.local.routes.put(_Talkative(node), "talkative")


TALKATIVE = NodeConfig(on_start=_open_talkative)


async def flood(sim: Simulation) -> None:
    """Send messages without end."""
    while True:
        await sim.nodes[0].all.comm.send(["nid"], Remote(service="status", method="get"))


async def have_somebody_flood(sim: Simulation) -> None:
    """Have a handler send messages without end, and fail when it fails."""
    remote = Remote(node=sim.address(1), service="talkative", method="talk")
    await sim.nodes[0].local.comm.send([str(sim.address(0))], remote)


async def hide_a_rumor(sim: Simulation) -> None:
    """Send a rumor, and let it seem that it doesn't come to the second node."""
    sim.nodes[1].local.gossip.on_rumor = lambda _: None
    await sim.nodes[0].all.gossip.send(["nid"], Remote(service="status", method="get"))

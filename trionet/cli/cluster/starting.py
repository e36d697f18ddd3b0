"""Starts the nodes of a plan, all hosts at once, and reports what fails.

Invariants: a host that fails is reported, and the others start. One that neither starts nor fails is named; where
enough nodes have started, it is given up.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.cli.output import line_of
from trionet.cli.progress import Progress
from trionet.cli.up_running import Started
from trionet.errors import SpawnError, TrionetError

from .host_launchers import HostLauncher, Running, ssh_launcher

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.launchers import Launcher
    from trionet.node import Node

    from .plan import HostPlan, Plan

__all__ = ["start_all"]

_NAMED_S: Final = 15.0
"""After how many seconds without news those that still start are named."""

_GIVEN_UP_S: Final = 60.0
"""After how many more they are given up, where enough have started: ssh takes as long to notice a dead connection."""


async def start_all(node: Node, plan: Plan) -> list[Started]:
    """Start the nodes of a plan as children of `node`; return those that have started, in the order of the plan.

    Args:
        node: supervises them.
        plan: the plan.

    Raises:
        SpawnError: fewer have started than the plan asks for. Each failure has been reported.
    """
    start = _Start(node)
    with Progress("nodes", plan.total) as start.progress:
        start.progress.show(0)
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as nursery:
                watching.start_soon(start.watch, plan.least, nursery.cancel_scope)
                for number, each in enumerate(plan.hosts):
                    nursery.start_soon(start.host, number, each)
            watching.cancel_scope.cancel()
    start.running.have_all_started = True
    found = [started for _, started in sorted(start.started.items())]
    if len(found) < plan.least:
        hint = "" if plan.least < plan.total or not found else f"; --min {len(found)} would go on with those that have"
        raise SpawnError(f"{len(found)} of {plan.total} nodes have started, and {plan.least} are needed: stopped{hint}")
    return found


class _Start:
    """One start of a whole plan.

    Attributes:
        running: the nodes that run.
        started: those that have started, by their places.
    """

    progress: Progress

    def __init__(self, node: Node) -> None:
        self._node, self.running = node, Running()
        self._reported: set[tuple[str, str]] = set()
        self._starting: Counter[str] = Counter()
        self._news = trio.lowlevel.ParkingLot()
        self.started: dict[tuple[int, int], Started] = {}

    async def host(self, number: int, plan: HostPlan) -> None:
        """Start the nodes of a host."""
        host, name = plan.host, f"host-{number}"
        try:
            launcher: Launcher = ssh_launcher(host) if host.address else self._node.launcher("forkserver")
        except TrionetError as exc:
            self._report(host.name, exc)
            return
        self._node.register_launcher(name, HostLauncher(launcher, host.name, self.running))
        self._starting[host.name] = len(plan.configs)
        async with trio.open_nursery() as nursery:
            for place, config in enumerate(plan.configs):
                named = msgspec.structs.replace(config, launcher=name)
                nursery.start_soon(self._start_one, (number, place), host.name, named)

    async def watch(self, least: int, starts: trio.CancelScope) -> None:
        """Name what still starts when nothing has happened for some time; give it up if `least` have started."""
        while True:
            if await self._is_silent(_NAMED_S):
                self._say_of_starting("has not started yet", "have not started yet")
                if await self._is_silent(_GIVEN_UP_S) and len(self.started) >= least:
                    self._say_of_starting("has not started, and is given up", "have not started, and are given up")
                    starts.cancel()
                    return

    async def _is_silent(self, seconds: float) -> bool:
        """Wait for news; return whether there is none for so long."""
        with trio.move_on_after(seconds) as scope:
            await self._news.park()
        return scope.cancelled_caught

    def _say_of_starting(self, one: str, several: str) -> None:
        for host, count in self._starting.items():
            if count:
                text = f"1 node {one}" if count == 1 else f"{count} nodes {several}"
                print(f"trionet up: {host}: {text}", file=sys.stderr)

    async def _start_one(self, place: tuple[int, int], host: str, config: NodeConfig) -> None:
        try:
            address = await self._node.local.status.spawn(config)
        except TrionetError as exc:
            self._note(host)
            self._report(host, exc)
            return
        self._note(host)
        self.started[place] = Started(address, config.restart, host)
        self.progress.show(len(self.started))

    def _note(self, host: str) -> None:
        """Note that a node has started, or failed."""
        self._starting[host] -= 1
        self._news.unpark_all()

    def _report(self, host: str, exc: TrionetError) -> None:
        """Report a failure on standard error, once for all nodes of a host that fail alike."""
        if (host, exc.text) not in self._reported:
            self._reported.add((host, exc.text))
            print(f"trionet up: {host}: {line_of(exc.text)}", file=sys.stderr)

"""Starts the nodes of a plan, all hosts at once, and reports what fails.

Invariant: a host that fails is reported, and the others start.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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
        async with trio.open_nursery() as nursery:
            for number, each in enumerate(plan.hosts):
                nursery.start_soon(start.host, number, each)
    found = [started for _, started in sorted(start.started.items())]
    if len(found) < plan.least:
        hint = "" if plan.least < plan.total or not found else f"; --min {len(found)} would go on with those that have"
        raise SpawnError(f"{len(found)} of {plan.total} nodes have started, and {plan.least} are needed: stopped{hint}")
    return found


class _Start:
    """One start of a whole plan."""

    progress: Progress

    def __init__(self, node: Node) -> None:
        self._node, self._running = node, Running()
        self._reported: set[tuple[str, str]] = set()
        self.started: dict[tuple[int, int], Started] = {}

    async def host(self, number: int, plan: HostPlan) -> None:
        """Start the nodes of a host."""
        host, name = plan.host, f"host-{number}"
        launcher: Launcher = ssh_launcher(host) if host.address else self._node.launcher("forkserver")
        self._node.register_launcher(name, HostLauncher(launcher, host.name, self._running))
        async with trio.open_nursery() as nursery:
            for place, config in enumerate(plan.configs):
                named = msgspec.structs.replace(config, launcher=name)
                nursery.start_soon(self._start_one, (number, place), host.name, named)

    async def _start_one(self, place: tuple[int, int], host: str, config: NodeConfig) -> None:
        try:
            address = await self._node.local.status.spawn(config)
        except TrionetError as exc:
            self._report(host, exc)
            return
        self.started[place] = Started(address, config.restart, host)
        self.progress.show(len(self.started))

    def _report(self, host: str, exc: TrionetError) -> None:
        """Report a failure on standard error, once for all nodes of a host that fail alike."""
        if (host, exc.text) not in self._reported:
            self._reported.add((host, exc.text))
            print(f"trionet up: {host}: {line_of(exc.text)}", file=sys.stderr)

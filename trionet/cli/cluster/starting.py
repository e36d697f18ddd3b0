"""Starts the nodes of a plan: eight hosts at a time, and one node before all others, which join it.

Invariants: a node joins those that run when it starts, the first time and each time that it is started again; so the
machine that starts them needs no connection to them but ssh. A host that fails is reported, and the others start.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.cli.progress import Progress
from trionet.cli.up_running import Started
from trionet.errors import SpawnError, TrionetError
from trionet.launchers.ssh import SSHLauncher

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.launchers import Launcher
    from trionet.node import Node

    from .cluster_file import Host
    from .plan import HostPlan, Plan

__all__ = ["HostLauncher", "Running", "start_all"]

_HOSTS_AT_ONCE: Final = 8
"""How many hosts are logged in to at once."""

_MOST_SEEDS: Final = 8


class Running:
    """The nodes that run, by address, with their hosts."""

    def __init__(self) -> None:
        self._hosts: dict[NodeAddress, str] = {}
        self._is_first_starting = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def wait_turn(self) -> bool:
        """Wait until a node runs that another one can join; or, if none does, until this one may be the first.

        Returns:
            Whether it is the first: then the others wait until `put` or `give_up`.
        """
        while not self._hosts and self._is_first_starting:
            await self._waiting.park()
        self._is_first_starting = not self._hosts
        return self._is_first_starting

    def put(self, address: NodeAddress, host: str) -> None:
        """Add a node, which has booted."""
        self._hosts[address] = host
        self.give_up()

    def give_up(self) -> None:
        """Have another node be the first, unless this one runs."""
        self._is_first_starting = False
        self._waiting.unpark_all()

    def rem(self, address: NodeAddress) -> None:
        """Remove a node, which has ended."""
        self._hosts.pop(address, None)

    def seeds(self) -> list[str]:
        """Return the addresses of some, of as many hosts as there are."""
        of_host = {host: address for address, host in reversed(self._hosts.items())}
        first = dict.fromkeys(of_host.values())
        others = (each for each in self._hosts if each not in first)
        return [str(address) for address in [*first, *others]][:_MOST_SEEDS]


class HostLauncher:
    """Starts the nodes of one host by another launcher; they join the nodes that run."""

    def __init__(self, launcher: Launcher, host: str, running: Running) -> None:
        self._launcher, self._host, self._running = launcher, host, running

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        running, status = self._running, _Status(task_status, lambda address: running.put(address, self._host))
        connect = getattr(self._launcher, "connect", None)
        if connect is not None:  # before its turn, so that a host that can't be reached keeps no other waiting
            await connect()
        is_first = not config.join and await running.wait_turn()
        try:
            config = msgspec.structs.replace(config, join=[*(config.join or []), *running.seeds()])
            return await self._launcher.start(config, task_status=status)
        finally:
            if status.address is not None:
                running.rem(status.address)
            elif is_first:
                running.give_up()


class _Status(trio.TaskStatus["NodeAddress"]):
    """A task status that keeps the address, and calls a function with it."""

    def __init__(self, inner: trio.TaskStatus[NodeAddress], booted: Callable[[NodeAddress], None]) -> None:
        self._inner, self._booted = inner, booted
        self.address: NodeAddress | None = None

    def started(self, value: NodeAddress | None = None) -> None:
        assert value is not None
        self.address = value
        self._booted(value)
        self._inner.started(value)


def _ssh_launcher(host: Host) -> SSHLauncher:
    """Return the launcher of a host."""
    assert host.address is not None
    words = [f"{name}={value}" for name, value in host.environment.items()]
    where = [] if host.directory is None else ["-C", host.directory]
    prefix = ["env", *where, *words] if words or where else []
    return SSHLauncher(host.address, command=[*prefix, *host.command], options=host.options)


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
        self._limit = trio.CapacityLimiter(_HOSTS_AT_ONCE)
        self._reported: set[tuple[str, str]] = set()
        self.started: dict[tuple[int, int], Started] = {}

    async def host(self, number: int, plan: HostPlan) -> None:
        """Start the nodes of a host."""
        host, name = plan.host, f"host-{number}"
        launcher: Launcher = _ssh_launcher(host) if host.address else self._node.launcher("forkserver")
        self._node.register_launcher(name, HostLauncher(launcher, host.name, self._running))
        async with self._limit, trio.open_nursery() as nursery:
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
            print(f"trionet up: {host}: {exc.text}", file=sys.stderr)

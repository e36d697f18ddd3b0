"""How the nodes of a host start: by ssh or on this machine, as members of the cluster of those that run.

Invariant: a node joins those that run when it starts, the first time and each time that it is started again. If none
runs, one starts alone, and the others wait for it. So the machine that starts them needs no connection to them but ssh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.launchers.ssh import SSHLauncher

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.launchers import Launcher

    from .cluster_file import Host

__all__ = ["HostLauncher", "Running", "ssh_launcher"]

_LOGINS_AT_ONCE: Final = 8
"""How many hosts are logged in to at once."""

_MOST_SEEDS: Final = 8


def ssh_launcher(host: Host) -> SSHLauncher:
    """Return the launcher of a host that is logged in to."""
    assert host.address is not None
    where, variables = host.directory, host.environment
    return SSHLauncher(host.address, command=host.command, options=host.options, cwd=where, env=variables)


class Running:
    """The nodes that run, by address, with their hosts.

    Attributes:
        logins: the hosts that are logged in to now.
    """

    def __init__(self) -> None:
        self.logins: trio.CapacityLimiter = trio.CapacityLimiter(_LOGINS_AT_ONCE)
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
        self._starting = 0
        self._entry = trio.Lock()
        self._may_log_in = False

    async def start(
        self, config: NodeConfig, *, task_status: trio.TaskStatus[NodeAddress] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Start a node and stay until it has ended; see `Launcher.start`."""
        running, status = self._running, _Status(task_status, lambda address: running.put(address, self._host))
        if isinstance(self._launcher, SSHLauncher):
            # Before its turn, so that a host that can't be reached keeps no other waiting.
            await self._connect(self._launcher)
        is_first = not config.join and await running.wait_turn()
        try:
            config = msgspec.structs.replace(config, join=[*(config.join or []), *running.seeds()])
            return await self._launcher.start(config, task_status=status)
        finally:
            if status.address is not None:
                running.rem(status.address)
            elif is_first:
                running.give_up()

    async def _connect(self, launcher: SSHLauncher) -> None:
        """Log in, as one of few hosts at once. All nodes of a host share its place, and one login."""
        logins, self._starting = self._running.logins, self._starting + 1
        try:
            async with self._entry:
                if not self._may_log_in:
                    await logins.acquire_on_behalf_of(self)
                    self._may_log_in = True
            await launcher.connect()
        finally:
            self._starting -= 1
            if self._may_log_in and not self._starting:
                self._may_log_in = False
                logins.release_on_behalf_of(self)


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

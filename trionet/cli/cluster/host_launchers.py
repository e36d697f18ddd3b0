"""How the nodes of a host start: by ssh or on this machine, as members of the cluster of those that run.

Invariant: a node joins those that run when it starts, the first time and each time that it is started again. If none
runs, one starts alone, and the others wait for it. So the machine that starts them needs no connection to them but ssh.
One that takes long holds up nobody: one of another host begins alone, too, and whoever has not booted when the first
one has is started again, to join it. So they are one cluster.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trionet.errors import SpawnError
from trionet.launchers.ssh import SSHLauncher
from trionet.log_limits import about, limited_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.launchers import Launcher

    from .cluster_file import Host

__all__ = ["HostLauncher", "Running", "ssh_launcher"]

_log = limited_log(__name__)

_LOGINS_AT_ONCE: Final = 8
"""How many hosts are logged in to at once."""

_PATIENCE_S: Final = 10.0
"""How long a node may start alone, until one of another host begins alone, too."""

_FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 30.0
"""The pauses between attempts to reach a host again, which back off exponentially."""

_FIRST_SEEDS: Final = 3
_MOST_SEEDS: Final = 8
"""How many seeds a node gets: each costs it a connection, and sends it all members."""


def ssh_launcher(host: Host) -> SSHLauncher:
    """Return the launcher of a host that is logged in to."""
    assert host.address is not None
    where, variables = host.directory, host.environment
    return SSHLauncher(host.address, command=host.command, options=host.options, cwd=where, env=variables)


class Running:
    """The nodes that run, by address, with their hosts.

    Attributes:
        logins: the hosts that are logged in to now.
        have_all_started: whether those that start now are started again, when some of the others may be gone.
    """

    def __init__(self) -> None:
        self.have_all_started: bool = False
        self.logins: trio.CapacityLimiter = trio.CapacityLimiter(_LOGINS_AT_ONCE)
        self._hosts: dict[NodeAddress, str] = {}
        self._alone: dict[str, trio.CancelScope] = {}
        self._patient_until = -math.inf
        self._waiting = trio.lowlevel.ParkingLot()

    async def wait_turn(self, host: str) -> trio.CancelScope | None:
        """Wait until a node runs that one of `host` can join, or until that one may start alone.

        Returns:
            The scope for its start alone, which is cancelled when another one has booted, until `put` or `give_up`;
            None if it can join.
        """
        while not self._hosts:
            if host not in self._alone and (not self._alone or trio.current_time() >= self._patient_until):
                self._patient_until = trio.current_time() + _PATIENCE_S
                scope = self._alone[host] = trio.CancelScope()
                return scope
            with trio.CancelScope(deadline=math.inf if host in self._alone else self._patient_until):
                await self._waiting.park()
        return None

    def put(self, address: NodeAddress, host: str, scope: trio.CancelScope | None = None) -> None:
        """Add a node, which has booted, alone if it has a scope; others that start alone are to join it."""
        self._hosts[address] = host
        for other in self._alone.values():
            if other is not scope:
                other.cancel()
        self._alone.clear()
        self._waiting.unpark_all()

    def give_up(self, host: str, scope: trio.CancelScope) -> None:
        """Have another node start alone: this one, unless it runs, does so no more."""
        if self._alone.get(host) is scope:
            del self._alone[host]
            self._waiting.unpark_all()

    def rem(self, address: NodeAddress) -> None:
        """Remove a node, which has ended."""
        self._hosts.pop(address, None)

    def seeds(self) -> list[str]:
        """Return the addresses of some, of as many hosts as possible."""
        of_host = {host: address for address, host in reversed(self._hosts.items())}
        first = dict.fromkeys(of_host.values())
        others = (each for each in self._hosts if each not in first)
        return [str(address) for address in [*first, *others]][: _MOST_SEEDS if self.have_all_started else _FIRST_SEEDS]


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
        if isinstance(self._launcher, SSHLauncher):
            # Before its turn, so that a host that can't be reached keeps no other waiting.
            await self._reach(self._launcher)
        while not config.join and (scope := await self._running.wait_turn(self._host)) is not None:
            with scope:
                return await self._start(config, task_status, scope)
        config = msgspec.structs.replace(config, join=[*(config.join or []), *self._running.seeds()])
        return await self._start(config, task_status)

    async def _start(
        self, config: NodeConfig, task_status: trio.TaskStatus[NodeAddress], scope: trio.CancelScope | None = None
    ) -> int:
        """Start a node, alone if it has a scope."""
        status = _Status(task_status, lambda address: self._running.put(address, self._host, scope), scope)
        try:
            return await self._launcher.start(config, task_status=status)
        finally:
            if status.address is not None:
                self._running.rem(status.address)
            elif scope is not None:
                self._running.give_up(self._host, scope)

    async def _reach(self, launcher: SSHLauncher) -> None:
        """Log in; once all have started, again and again: that a host can't be reached is no failure of its nodes.

        Raises:
            SpawnError: it can't be reached at the first start.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._connect(launcher)
            except SpawnError as exc:
                if not self._running.have_all_started:
                    raise
                text = "%s can't be reached, and is tried again: %s"
                _log.warning(text, self._host, exc.text, extra=about(self._host, host=self._host))
            else:
                return
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

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
    """A task status that keeps the address, and calls a function with it; not of a start that has been cancelled."""

    def __init__(
        self,
        inner: trio.TaskStatus[NodeAddress],
        booted: Callable[[NodeAddress], None],
        scope: trio.CancelScope | None,
    ) -> None:
        self._inner, self._booted, self._scope = inner, booted, scope
        self.address: NodeAddress | None = None

    def started(self, value: NodeAddress | None = None) -> None:
        assert value is not None
        if self._scope is None or not self._scope.cancel_called:
            self.address = value
            self._booted(value)
            self._inner.started(value)

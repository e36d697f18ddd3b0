"""The state of a node's process, reported to systemd as a service of ``Type=notify``.

Invariants: outside of systemd nothing is sent and no task runs; no report waits or raises. The variables of the service
manager are removed, so that nodes and programs that this process starts don't report for it.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5); the datagrams are sent as these pages describe it.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from trionet.events import MemberEvent, MemberForgotten
from trionet.log_limits import about, limited_log

from .first_process import own_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, MutableMapping

    from trionet.node import Node

__all__ = ["ServiceManager"]

_log = limited_log(__name__)

_US_PER_S: Final = 1_000_000
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
"""As systemd writes a time, of 64 bits."""

_STATUS_INTERVAL_S: Final = 1.0
_PINGS_PER_TIMEOUT: Final = 3
"""sd_watchdog_enabled(3) recommends two; with three, one may be late."""


class ServiceManager:
    """Sends the notifications of one process.

    Attributes:
        watchdog_s: without a ping for so long, systemd kills the process; None if it does not watch.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """Report to the socket `address`, a path, or a name in the abstract namespace after ``@``; None: to nobody."""
        self.watchdog_s = watchdog_s
        self._address = None if address is None else "\0" + address[1:] if address[:1] == "@" else address

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Return the one that `environment` names, and remove its variables."""
        address = environment.pop("NOTIFY_SOCKET", "")
        timeout_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_watched = _NUMBER.fullmatch(timeout_us) and int(timeout_us) and pid in ("", *own_pids())
        if address[:1] not in ("/", "@"):
            return cls()
        return cls(address, int(timeout_us) / _US_PER_S if is_watched else None)

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._address is not None

    def notify(self, **fields: str | int) -> None:
        """Send fields of sd_notify(3), as ``READY=1``."""
        if self._address is None:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except (OSError, ValueError) as exc:
            text = "systemd could not be notified of %s: %s"
            _log.warning(text, " ".join(fields), exc, extra=about("systemd", str(exc)))

    @contextmanager
    def reloading(self) -> Generator[None]:
        """Report that files are read again, and then that this has ended, with or without success."""
        self.notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        try:
            yield
        finally:
            self.notify(READY=1)

    async def report(self, node: Node, describe: Callable[[Node], str]) -> None:
        """Report that `node` is ready, once it has joined, and that it stops; ``describe(node)`` is its state between.

        The state is reported again, at most once a second, when the members of the cluster have changed.
        """
        if not self:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping)
            async with trio.open_nursery() as until_stop:
                until_stop.start_soon(self._report_state, node, describe)
                await node.wait_stopping()
                until_stop.cancel_scope.cancel()
            self.notify(STOPPING=1, STATUS="stopping")

    async def _report_state(self, node: Node, describe: Callable[[Node], str]) -> None:
        events, membership = node.events(), node.local.membership
        if membership.is_joining_at_start:
            self.notify(STATUS="joining the cluster: no seed has answered so far")
            await membership.joined_at_start.wait()
        self.notify(READY=1, STATUS=describe(node))
        with suppress(StopAsyncIteration):  # the node has ended
            while True:
                while not isinstance(await anext(events), MemberEvent | MemberForgotten):
                    pass
                with trio.move_on_after(_STATUS_INTERVAL_S):
                    while True:
                        await anext(events)
                self.notify(STATUS=describe(node))

    async def _ping(self) -> None:
        """Ping, as long as the event loop turns."""
        if self.watchdog_s is None:
            return
        while True:
            self.notify(WATCHDOG=1)
            await trio.sleep(self.watchdog_s / _PINGS_PER_TIMEOUT)

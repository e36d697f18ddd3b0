"""Hosts for tests: each has its own network, processes, mounts and name, on one switch that can fail.

``with open_hosts(3) as hosts:`` makes them in a third of a second, as root, on Linux alone; see `require_hosts`. They
are gone after the block, and after any end of this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hosts.namespaces import SURROUNDINGS, Namespaces
from tests.hosts.network import Switch, addresses
from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

__all__ = ["Host", "Hosts", "open_hosts", "require_hosts", "why_no_hosts"]

_PROGRAMS: Final = ("unshare", "nsenter", "ip", "tc", "nft")


@cache
def why_no_hosts() -> str | None:
    """Return why there can be no hosts here; None if there can."""
    if sys.platform != "linux":
        return "hosts are network namespaces of Linux"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=SURROUNDINGS["PATH"]) is None]:
        return f"{missing[0]} is not installed: apt-get install iproute2 nftables util-linux"
    try:
        with open_hosts(1):
            return None
    except (OSError, AssertionError) as exc:
        return f"network namespaces are not permitted: {str(exc)[:200]}"


def require_hosts() -> None:
    """Skip this test where there can be no hosts."""
    if reason := why_no_hosts():
        pytest.skip(reason)


class Host:
    """A host.

    Attributes:
        number: its place, from 1.
        name: by which the hosts know it.
        ip: its address.
        ip6: its other address.
    """

    def __init__(self, number: int, switch: Switch, count: int, private: Sequence[str]) -> None:
        self.number = number
        self.name = f"host{number}"
        self.ip, self.ip6 = addresses(number)
        self.is_up = False
        self._switch = switch
        self._set_up = _set_up(self.name, count, private)
        self.start()

    def __repr__(self) -> str:
        return f"<{self.name} {self.ip}>"

    def start(self) -> None:
        """Start the host, again after `kill`: without any process, with the same addresses."""
        assert not self.is_up
        self._space = Namespaces(self._set_up, is_host=True)
        self._forgotten: set[int] = set()
        self.is_up = True
        self._switch.plug_in(self.number, self._space)

    def run(
        self, command: Sequence[str], *, cwd: str | None = None, environment: dict[str, str] | None = None, **files: Any
    ) -> subprocess.Popen[Any]:
        """Start a process on this host.

        Args:
            command: the program and its arguments.
            cwd: the working directory (default: the checkout).
            environment: variables, beside those of this process that are not settings of trionet.
            files: further arguments of `subprocess.Popen`: ``stdin``, ``stdout``, ``stderr``, ``text``.
        """
        assert self.is_up, f"{self.name} is down"
        whole = clean_environment() | (environment or {})
        return self._space.start(command, cwd=cwd or str(ROOT), environment=whole, files=files)

    def check(self, command: Sequence[str], **options: Any) -> str:
        """Run a command on this host to its end; return what it printed.

        Raises:
            AssertionError: it failed.
        """
        files = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
        with self.run(command, **(files | options)) as process:
            try:
                out, err = process.communicate(timeout=DEADLINE_S)
            finally:
                process.kill()
        assert process.returncode == 0, f"{self.name}: {' '.join(command)}: {err or out}"
        return str(out)

    @property
    def pids(self) -> list[int]:
        """The processes that run on this host, as this process numbers them."""
        return self._space.processes() if self.is_up else []

    def kill(self) -> None:
        """Let the host lose its power: nothing more of it arrives, and none of its processes is left."""
        if self.is_up:
            self.is_up = False
            self._switch.cut(self.number)
            self._space.end()

    def end(self) -> None:
        """End the host, and forget what its processes printed."""
        self.kill()
        self._space.close_pipes()

    def rate(self, bits_per_s: int | None) -> None:
        """Limit what leaves this host; None: no longer."""
        limit = ["tbf", "rate", f"{bits_per_s}bit", "burst", "16kb", "latency", "400ms"]
        change = ["del", "dev", "eth0", "root"] if bits_per_s is None else ["replace", "dev", "eth0", "root", *limit]
        self._space.network("tc", "qdisc", *change)

    def forget_route(self, other: Host) -> None:
        """Let each packet to `other` fail at once at this host, if it is up: a blackhole route."""
        if not self.is_up or other.number in self._forgotten:
            return
        self._forgotten.add(other.number)
        self._space.network("ip", "route", "replace", "blackhole", f"{other.ip}/32")
        self._space.network("ip", "-6", "route", "replace", "blackhole", f"{other.ip6}/128")

    def restore_route(self, other: Host) -> None:
        """Undo `forget_route`."""
        if not self.is_up or other.number not in self._forgotten:
            return
        self._forgotten.discard(other.number)
        self._space.network("ip", "route", "del", "blackhole", f"{other.ip}/32")
        self._space.network("ip", "-6", "route", "del", "blackhole", f"{other.ip6}/128")


class Hosts(list[Host]):
    """All hosts, and the faults between them. Each fault returns what undoes it; `heal` undoes all."""

    def __init__(self, count: int, private: Sequence[str]) -> None:
        super().__init__()
        self._switch = Switch()
        self._undo: list[Callable[[], None]] = []
        try:
            for number in range(1, count + 1):
                self.append(Host(number, self._switch, count, private))
        except BaseException:
            self.end()
            raise

    def block(self, a: Host, b: Host, *, one_way: bool = False) -> Callable[[], None]:
        """Drop what `a` sends to `b`, and unless `one_way` what `b` sends to `a`."""
        return self._drop([(a, b)] if one_way else [(a, b), (b, a)])

    def loss(self, share: float, host: Host | None = None) -> Callable[[], None]:
        """Lose that share of all packets between hosts, or of those from and to `host` alone."""
        if host is None:
            numbers = [each.number for each in self]
            return partial(self._switch.allow, self._switch.drop([(numbers, numbers)], share))
        others = [each for each in self if each is not host]
        return self._drop([pair for other in others for pair in ((host, other), (other, host))], share)

    def partition(self, *groups: Iterable[Host], by_route: bool = False) -> Callable[[], None]:
        """Let hosts of different groups lose each other; those in no group are one more.

        Args:
            groups: of hosts.
            by_route: whether the senders know at once: by routes into nothing, in place of silence.
        """
        named = [list(group) for group in groups]
        rest = [each for each in self if not any(each is one for group in named for one in group)]
        sides = [*named, rest] if rest else named
        pairs = [(a, b) for one in sides for other in sides if one is not other for a in one for b in other]
        return self._forget(pairs) if by_route else self._drop(pairs)

    def rate(self, bits_per_s: int, *hosts: Host) -> Callable[[], None]:
        """Limit what leaves each of `hosts`, or each host."""
        limited = list(hosts or self)

        def undo() -> None:
            for each in limited:
                if each.is_up:
                    each.rate(None)

        for each in limited:
            each.rate(bits_per_s)
        return self._once(undo)

    def delay(self, seconds: float, *hosts: Host) -> Callable[[], None]:
        """Deliver what leaves each of `hosts`, or each host, that much later; replaces a delay of before."""
        self._switch.slow({each.number: seconds for each in hosts or self})
        return partial(self._switch.slow, {})

    def heal(self) -> None:
        """Undo all faults; hosts that are down stay down."""
        self._switch.allow_all()
        self._switch.slow({})
        for undo in list(self._undo):
            undo()

    def end(self) -> None:
        """End all hosts and their network."""
        for each in self:
            each.end()
        self._switch.end()

    def _drop(self, pairs: Iterable[tuple[Host, Host]], share: float = 1.0) -> Callable[[], None]:
        targets: dict[int, list[int]] = {}
        for source, target in pairs:
            targets.setdefault(source.number, []).append(target.number)
        ways = [([source], found) for source, found in targets.items()]
        return partial(self._switch.allow, self._switch.drop(ways, share))

    def _forget(self, pairs: list[tuple[Host, Host]]) -> Callable[[], None]:
        def undo() -> None:
            for source, target in pairs:
                source.restore_route(target)

        for source, target in pairs:
            source.forget_route(target)
        return self._once(undo)

    def _once(self, undo: Callable[[], None]) -> Callable[[], None]:
        """Return `undo`, which `heal` calls unless somebody has."""

        def once() -> None:
            if once in self._undo:
                self._undo.remove(once)
                undo()

        self._undo.append(once)
        return once


@contextmanager
def open_hosts(count: int, *, private: Sequence[str] = ()) -> Generator[Hosts]:
    """Make `count` hosts that know each other as ``host1``, ``host2`` and so on.

    Args:
        count: how many, 1 to 250.
        private: directories that each host has for itself, empty at first, beside ``/run``. All other files are shared.

    Raises:
        OSError: they are not permitted, see `require_hosts`.
    """
    hosts = Hosts(count, private)
    try:
        yield hosts
    finally:
        hosts.end()


def _set_up(name: str, count: int, private: Sequence[str]) -> str:
    """Return the shell's commands that make a host of new namespaces."""
    lines = [f"mount -t tmpfs -o mode=755 trionet {path}" for path in ("/run", *private)]
    known = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    for number in range(1, count + 1):
        known += [f"{address} host{number}" for address in addresses(number)]
    lines += [f"echo '{line}' >> /run/hosts" for line in known]
    lines += ["mount --bind /run/hosts /etc/hosts", f"echo {name} > /proc/sys/kernel/hostname"]
    return "\n".join(lines) + "\n"

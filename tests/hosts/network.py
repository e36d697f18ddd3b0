"""A switch with a port for each host, and what fails in it: blocks, losses, rates, delays, routes into nothing.

Invariant: `heal` restores the network of before any fault. What is blocked at the switch is blocked for every protocol,
as by a cable that is cut; what is lost are IP packets, not the questions for a neighbour's address.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.hosts.namespaces import Namespaces

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping

__all__ = ["Switch", "addresses"]

_RELAY: Final = Path(__file__).with_name("slow_ports.py")
_SET_UP: Final = """
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 || true
ip link add switch type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip link set switch up
nft 'add table bridge faults; add chain bridge faults forward { type filter hook forward priority 0; policy accept; }'
nft 'add chain bridge faults arriving { type filter hook prerouting priority 0; policy accept; }'
"""
_MANY: Final = 10_000


def addresses(number: int) -> tuple[str, str]:
    """Return the addresses of the host of that number, from 1."""
    return f"10.77.0.{number}", f"fd00::{number:x}"


class Switch:
    """The network between hosts, which are known by their numbers, from 1."""

    def __init__(self) -> None:
        self._space = Namespaces(_SET_UP, is_host=False)
        self._rules: dict[int, str] = {}
        self._count = 0
        self._relay: subprocess.Popen[bytes] | None = None
        self._slow: dict[int, float] = {}
        self._plugged: set[int] = set()

    def plug_in(self, number: int, host: Namespaces) -> None:
        """Connect a host by a cable of its own, and give it its addresses."""
        ip, ip6 = addresses(number)
        port = f"port{number}"
        self._space.network(
            "ip",
            "-batch",
            "-",
            text=f"link add {port} type veth peer name eth0 address {_mac(number)} netns {host.pid}\n"
            f"link set {port} master switch up\n",
        )
        host.network(
            "ip",
            "-batch",
            "-",
            text=f"link set eth0 up\naddress add {ip}/24 dev eth0\naddress add {ip6}/64 dev eth0 nodad\n",
        )
        self._plugged.add(number)
        if number in self._slow:
            self.slow(self._slow)

    def cut(self, number: int) -> None:
        """Pull the cable of a host out, so that nothing that it sends in its last moments arrives."""
        self._plugged.discard(number)
        self._space.network("ip", "link", "del", f"port{number}")

    def end(self) -> None:
        """End the network."""
        self._end_relay()
        self._space.end()

    # ---- faults

    def drop(self, ways: Iterable[tuple[Iterable[int], Iterable[int]]], loss: float = 1.0) -> int:
        """Drop packets of all these ways, from sources to targets, from one moment on; return what `allow` takes."""
        self._count += 1
        self._rules[self._count] = "".join(_drop(sources, targets, loss) for sources, targets in ways)
        self._set_rules()
        return self._count

    def allow(self, rule: int) -> None:
        """Undo what `drop` has done."""
        if self._rules.pop(rule, None) is not None:
            self._set_rules()

    def allow_all(self) -> None:
        """Undo all that `drop` has done."""
        self._rules.clear()
        self._set_rules()

    def _set_rules(self) -> None:
        text = "flush chain bridge faults forward\nflush chain bridge faults arriving\n" + "".join(self._rules.values())
        if self._slow:
            text += f"add rule bridge faults arriving iifname {_ports(self._slow, 'port')} drop\n"
        self._space.network("nft", "-f", "-", text=text)

    def slow(self, delays: Mapping[int, float]) -> None:
        """Deliver what leaves these hosts that many seconds later, and what leaves the others at once."""
        wanted = dict(delays)
        self._end_relay()
        self._slow = wanted
        there = [number for number in wanted if number in self._plugged]
        if not there:
            return
        words = [f"port{number}={wanted[number]}" for number in there]
        self._relay = self._space.network_process(sys.executable, "-S", str(_RELAY), *words)
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline() == b"ready\n", "the relay did not start"
        taps = [
            f"link set slow{number} master switch\n"
            f"link set slow{number} type bridge_slave learning off flood off mcast_flood off bcast_flood off\n"
            f"link set slow{number} txqueuelen 1000 up\n"
            for number in there
        ]
        self._space.network("ip", "-batch", "-", text="".join(taps))
        ways = [f"fdb replace {_mac(number)} dev port{number} master static\n" for number in there]
        self._space.network("bridge", "-batch", "-", text="".join(ways))
        self._set_rules()

    def _end_relay(self) -> None:
        if self._relay is None:
            return
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.close()
        self._relay.wait(10)
        self._relay.stdout.close()
        self._relay = None
        self._slow = {}
        self._set_rules()


def _drop(sources: Iterable[int], targets: Iterable[int], loss: float) -> str:
    """Return the rules that drop packets from `sources` to `targets`."""
    ways = f"iifname {_ports(sources, 'port', 'slow')} oifname {_ports(targets, 'port')}"
    if loss >= 1:
        return f"add rule bridge faults forward {ways} drop\n"
    lost = f"numgen random mod {_MANY} < {round(loss * _MANY)} drop"
    rules = f"add rule bridge faults forward ether type ip {ways} {lost}\n"
    return rules + f"add rule bridge faults forward ether type ip6 {ways} meta l4proto != ipv6-icmp {lost}\n"


def _mac(number: int) -> str:
    return f"02:77:00:00:00:{number:02x}"


def _ports(numbers: Iterable[int], *kinds: str) -> str:
    return "{ " + ", ".join(f'"{kind}{number}"' for number in numbers for kind in kinds) + " }"

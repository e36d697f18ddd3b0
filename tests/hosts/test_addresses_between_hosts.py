"""Nodes of several hosts at addresses that are not plain IPv4 ones: mapped ports, and IPv6."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts.hosts import Host, open_hosts, require_hosts
from tests.keyed_nodes import new_file
from tests.waiting import DEADLINE_S
from trionet import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

PORT = 7946
_PAUSE_S = 0.3  # a command costs more than that

# Two networks behind the host, each with one machine; all that leaves them has the address of the host.
BEHIND = """
set -e
mkdir -p /run/netns
for n in 1 2; do
  ip netns add behind$n
  ip link add in$n type veth peer name eth0 netns behind$n
  ip address add 10.78.$n.1/24 dev in$n
  ip link set in$n up
  ip -n behind$n address add 10.78.$n.2/24 dev eth0
  ip -n behind$n link set lo up
  ip -n behind$n link set eth0 up
  ip -n behind$n route add default via 10.78.$n.1
done
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip nat {
  chain in {
    type nat hook prerouting priority dstnat;
    ip daddr %(ip)s meta l4proto { tcp, udp } th dport 9001 dnat to 10.78.1.2:%(port)s
    ip daddr %(ip)s meta l4proto { tcp, udp } th dport 9002 dnat to 10.78.2.2:%(port)s
  }
  chain out {
    type nat hook postrouting priority srcnat;
    oifname eth0 masquerade
  }
}
END
"""


_PUT = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), method="PUT")
sys.stdout.write(urllib.request.urlopen(request).read().decode())
"""


class Nodes:
    """Nodes of one cluster with a key, each a process on a host."""

    def __init__(self, folder: Path) -> None:
        self.key_file = str(new_file(folder))
        token = [sys.executable, "-m", "trionet", "keys", "token", "--key-file", self.key_file, "--scope", "admin"]
        file = folder / "token"
        file.write_bytes(subprocess.run(token, check=True, stdout=subprocess.PIPE).stdout)
        file.chmod(0o600)
        self.token = ["--token", str(file)]

    @contextmanager
    def start(self, host: Host, *before: str, **settings: Any) -> Generator[NodeAddress]:
        """Start a node by the words `before` its command line; return where it says that it is."""
        config = {"key_file": self.key_file, "profile": "local", **settings}
        command = [*before, sys.executable, "-m", "trionet.cli.node", "--json", "--config", json.dumps(config)]
        process = host.run(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield NodeAddress(ready["ip"], ready["port"])
        finally:
            process.kill()

    def ask(self, host: Host, *words: str, before: Sequence[str] = (), proof: Sequence[str] | None = None) -> Any:
        """Return what a command of trionet prints on a host, which proves itself by the key unless by `proof`."""
        if proof is None:
            proof = ["--key-file", self.key_file]
        return json.loads(host.check([*before, sys.executable, "-m", "trionet", *words, "--json", *proof]))

    def wait_for_failed(self, host: Host, asked: NodeAddress, failed: NodeAddress) -> None:
        """Return once a node has noticed that another one has failed."""
        self._wait_for(
            {"failed"},
            lambda: {
                each["status"] for each in self.ask(host, "members", str(asked)) if each["address"] == str(failed)
            },
        )

    def check_calls(self, host: Host, address: NodeAddress | str, members: Collection[NodeAddress], **how: Any) -> None:
        """Have a node call all members that it knows, until these are `members`; all answer."""

        def sids() -> set[str]:
            answer = self.ask(host, "call", str(address), "all/status/get", "sid", **how)
            assert answer["errors"] == {}
            return set(answer["value"])

        self._wait_for({member.sid for member in members}, sids)

    def _wait_for(self, wanted: set[str], ask: Callable[[], set[str]]) -> None:
        begun = time.monotonic()
        while (found := ask()) != wanted:
            assert time.monotonic() - begun < DEADLINE_S, found
            time.sleep(_PAUSE_S)


def test_nodes_behind_mapped_ports_and_one_outside_are_one_cluster_and_call_each_other(tmp_path: Path) -> None:
    require_hosts()
    nodes = Nodes(tmp_path)
    with open_hosts(2) as (router, outside):
        router.check(["sh", "-c", BEHIND % {"ip": router.ip, "port": PORT}])
        mapped = {"ip": "0.0.0.0", "port": PORT, "advertise_ip": router.ip}
        first, second = (["ip", "netns", "exec", f"behind{number}"] for number in (1, 2))
        with (
            nodes.start(outside, ip=outside.ip, port=PORT) as seed,
            nodes.start(router, *first, **mapped, advertise_port=9001, join=[str(seed)]) as one,
            nodes.start(router, *second, **mapped, advertise_port=9002, join=[str(one)]) as other,
        ):
            assert (str(one), str(other)) == (f"{router.ip}:9001", f"{router.ip}:9002")
            everyone = [seed, one, other]
            for address in everyone:
                nodes.check_calls(outside, address, everyone)
            # By HTTP a key permits calls of the own machine alone.
            nodes.check_calls(router, f"127.0.0.1:{PORT}", everyone, before=first, proof=nodes.token)
            pings = nodes.ask(outside, "ping", *map(str, everyone), "--count", "1", "--wait", "30")
            assert [each["datagrams"]["loss"] for each in pings] == [0, 0, 0]


def test_nodes_at_ipv6_addresses_are_a_cluster_that_calls_its_members_and_notices_a_killed_host(tmp_path: Path) -> None:
    require_hosts()
    nodes = Nodes(tmp_path)
    with open_hosts(3) as (first, second, third), ExitStack() as started:
        one = started.enter_context(nodes.start(first, ip=first.ip6, port=PORT))
        # In capitals; on all addresses, where the route tells its own, and a seed on its own machine does not.
        seed = f"[{first.ip6.upper()}]:{PORT}"
        other = started.enter_context(nodes.start(second, ip="::", port=PORT, join=[f"[::1]:{PORT - 1}", seed]))
        last = started.enter_context(
            nodes.start(third, ip="::", port=PORT, advertise_ip="eth0", join=[f"host2:{PORT}"])
        )
        everyone = [one, other, last]
        assert list(map(str, everyone)) == [f"[{host.ip6}]:{PORT}" for host in (first, second, third)]
        for address in everyone:
            nodes.check_calls(first, address, everyone)
        nodes.check_calls(second, f"[::1]:{PORT}", everyone, proof=nodes.token)
        pings = nodes.ask(first, "ping", *map(str, everyone), "--count", "1", "--wait", "30")
        assert [each["datagrams"]["loss"] for each in pings] == [0, 0, 0]
        third.kill()
        nodes.wait_for_failed(first, other, last)
        nodes.check_calls(first, other, [one, other])


def test_nodes_at_link_local_addresses_are_a_cluster_by_links_and_by_datagrams(tmp_path: Path) -> None:
    require_hosts()
    nodes = Nodes(tmp_path)
    with open_hosts(2) as hosts:
        ips = [f"{link_local(host)}%eth0" for host in hosts]
        first, second = hosts
        with (
            nodes.start(first, ip=ips[0], port=PORT) as one,
            nodes.start(second, ip="::", port=PORT, join=[str(one)]) as other,
        ):
            assert [one.ip, other.ip] == ips, "both name the interface"
            for address in (one, other):
                nodes.check_calls(first, address, [one, other])
            pings = nodes.ask(first, "ping", str(one), str(other), "--count", "1", "--wait", "30")
            assert [each["datagrams"]["loss"] for each in pings] == [0, 0]


def link_local(host: Host) -> str:
    """Return the link-local address of a host, once it may be used."""
    while True:
        shown = host.check(["ip", "-6", "-oneline", "address", "show", "dev", "eth0", "scope", "link"])
        if shown and "tentative" not in shown:
            return shown.split()[3].partition("/")[0]


def test_nodes_at_ipv6_addresses_call_each_other_by_http(tmp_path: Path) -> None:
    require_hosts()
    nodes = Nodes(tmp_path)
    plain = {"key_file": None, "insecure": True, "transport": "http", "datagrams": False, "port": PORT}
    with (
        open_hosts(2) as (first, second),
        nodes.start(first, ip=first.ip6, **plain) as one,
        nodes.start(second, ip=second.ip6, **plain, join=[str(one)]) as other,
    ):
        # The node that is called, by the command by its link, calls the other one by HTTP.
        nodes.check_calls(first, other, [one, other], proof=())
        # As any client of HTTP writes it.
        answer = second.check([sys.executable, "-c", _PUT, f"http://{one}/all/status/get", '["sid"]'])
        assert set(json.loads(answer)["values"]) == {one.sid, other.sid}

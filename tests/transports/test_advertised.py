"""The address that a node advertises: of an interface, of the route to its seeds, or as it is configured."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.ports import free_port
from tests.proxies import open_proxy
from tests.waiting import wait_until
from trionet import ConfigError, NodeAddress, NodeConfig, open_node
from trionet.transports import advertised
from trionet.transports.advertised import advertised_ip, ip_of_interface, ip_of_route
from trionet.transports.own_authorities import own_authorities

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "lo"
ANY, ANY_6 = "0.0.0.0", "::"

needs_interface = pytest.mark.skipif(
    LOOPBACK not in (name for _, name in socket.if_nameindex()), reason="the loopback interface has another name"
)

# As the kernel writes it: number, index, length of the prefix, scope, flags, name.
IPV6_ADDRESSES = """\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000009 04 40 00 01     eth0
fd000000000000000000000000000008 04 40 00 20     eth0
fd000000000000000000000000000002 04 40 00 80     eth0
fe8000000000000000fc00fffe000002 05 40 20 80     eth1
00000000000000000000000000000001 01 80 10 80       lo
"""


@needs_interface
@pytest.mark.parametrize(
    ("settings", "listening_on", "ip"),
    [
        ({}, "127.0.0.1", "127.0.0.1"),
        ({"ip": "localhost"}, "127.0.0.1", "localhost"),
        ({"advertise_ip": "192.0.2.9"}, "127.0.0.1", "192.0.2.9"),
        ({"advertise_ip": "node.example"}, "127.0.0.1", "node.example"),
        ({"advertise_ip": LOOPBACK}, "127.0.0.1", "127.0.0.1"),
        ({"advertise_ip": LOOPBACK}, ANY, "127.0.0.1"),
        ({"advertise_ip": LOOPBACK}, "::1", "::1"),
        ({"ip": ANY, "join": ["127.0.0.1:9"]}, ANY, "127.0.0.1"),
        ({"ip": ANY, "join": ["nowhere.invalid:9", "localhost:9"]}, ANY, "127.0.0.1"),
        ({"ip": ANY_6, "join": ["127.0.0.1:9", "[::1]:9"]}, ANY_6, "::1"),
        ({"ip": ANY, "advertise_ip": "192.0.2.9", "join": ["127.0.0.1:9"]}, ANY, "192.0.2.9"),
    ],
)
async def test_a_node_advertises(settings: dict[str, object], listening_on: str, ip: str) -> None:
    assert await advertised_ip(NodeConfig.from_mapping(settings), listening_on) == ip


async def test_a_node_on_all_addresses_joins_at_the_one_by_which_its_seed_is_reached() -> None:
    async with open_node(NodeConfig(join=[])) as seed:
        config = NodeConfig(ip=ANY, insecure=True, join=[str(seed.address)])
        async with open_node(config) as node:
            assert node.address.ip == "127.0.0.1"
            await wait_until(lambda: len(seed.members()) == len(node.members()) == 2)


@pytest.mark.parametrize("join", [["nowhere.invalid:9"], ["[::1]:9"]])
async def test_without_a_route_a_node_says_what_to_set(join: list[str]) -> None:
    with pytest.raises(ConfigError, match="no route to any seed"):
        async with open_node(NodeConfig(ip=ANY, insecure=True, join=join)):
            pass
    with pytest.raises(ConfigError, match="other nodes need advertise_ip"):
        NodeConfig(ip=ANY, insecure=True, join=[]).check_bind()


async def test_without_seeds_there_is_no_route() -> None:
    with pytest.raises(ConfigError, match="no route"):
        await ip_of_route([], is_ipv6=False)
    assert await ip_of_route([NodeAddress("127.0.0.1", 9)], is_ipv6=False) == "127.0.0.1"


@pytest.mark.parametrize(
    ("seeds", "ip"),
    [
        (["127.0.1.1:9", "192.0.2.1:9"], "192.0.2.9"),
        (["localhost:9", "192.0.2.2:9", "192.0.2.1:9"], "192.0.2.9"),  # without a route to the second
        (["127.0.1.1:9", "192.0.2.2:9", "127.0.0.2:9"], "127.0.1.1"),
        (["192.0.2.1:9", "127.0.1.1:9"], "192.0.2.9"),
    ],
)
async def test_a_seed_on_this_machine_says_nothing_of_the_address_while_others_have_a_route(
    monkeypatch: pytest.MonkeyPatch, seeds: list[str], ip: str
) -> None:
    routes = {"127.0.0.1": "127.0.0.1", "127.0.1.1": "127.0.1.1", "127.0.0.2": "127.0.0.1", "192.0.2.1": "192.0.2.9"}
    monkeypatch.setattr(advertised, "_ip_towards", lambda _, place: routes.get(place[0]))
    assert await ip_of_route(map(NodeAddress.of, seeds), is_ipv6=False) == ip


def test_an_interface_advertises_an_ipv6_address_that_lasts_and_that_others_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "if_inet6"
    monkeypatch.setattr(advertised, "_IPV6_ADDRESSES", path)
    with pytest.raises(ConfigError, match="the interface eth0 has no IPv6 address"):  # a system without IPv6
        ip_of_interface("eth0", is_ipv6=True)
    path.write_text(IPV6_ADDRESSES, encoding="ascii")
    assert ip_of_interface("eth0", is_ipv6=True) == "fd00::2"
    assert ip_of_interface("lo", is_ipv6=True) == "::1"
    with pytest.raises(ConfigError, match="the interface eth1 has no IPv6 address that others can connect to"):
        ip_of_interface("eth1", is_ipv6=True)
    with pytest.raises(ConfigError, match="the interface none0 has no IPv4 address"):
        ip_of_interface("none0", is_ipv6=False)


async def test_a_node_behind_a_mapped_port_is_the_node_at_the_port_outside() -> None:
    free = free_port()
    config = NodeConfig(port=free, advertise_ip="127.0.0.9", advertise_port=9000)
    async with open_node(config) as node:
        outside = NodeAddress("127.0.0.9", 9000)
        assert (node.address, node.nid) == (outside, outside.nid)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as sock, pytest.raises(OSError, match="in use"):
                sock.bind(("127.0.0.1", free))
        assert await node.local.status.get("port") == 9000


async def test_members_reach_a_node_at_its_mapped_port() -> None:
    inside = NodeAddress("127.0.0.1", free_port())
    # One that listens where the mapping leads, as the kernel has it, by a relay of connections.
    async with open_node(NodeConfig(join=[], datagrams=False)) as seed, open_proxy(inside) as outside:
        mapped = NodeConfig(port=inside.port, advertise_port=outside.address.port, datagrams=False)
        async with open_node(msgspec.structs.replace(mapped, join=[str(seed.address)])) as node:
            assert node.address == outside.address
            await wait_until(lambda: len(seed.members()) == len(node.members()) == 2)
            for one in (seed, node):
                assert set((await one.all.status.get("sid")).values) == {seed.sid, node.sid}


def test_an_advertised_port_belongs_to_one_that_is_known() -> None:
    with pytest.raises(ConfigError, match=r"^set port \(--port\), too: advertise_port is mapped to one"):
        NodeConfig(advertise_port=9000).check_bind()
    NodeConfig(port=7946, advertise_port=9000).check_bind()
    with pytest.raises(
        ConfigError, match=r"^advertise_port is the port that others connect to, 1 to 65535, not 0: leave"
    ):
        NodeConfig(advertise_port=0)


def test_requests_name_a_node_by_the_port_that_they_were_sent_to() -> None:
    outside = NodeAddress("192.0.2.1", 9000)
    assert own_authorities(outside, 7946, {"10.0.0.5"}) == {"192.0.2.1:9000", "10.0.0.5:7946"}
    assert own_authorities(NodeAddress("10.0.0.5", 7946), 7946, {"10.0.0.5"}) == {"10.0.0.5:7946"}
    assert own_authorities(outside, 7946, {"::"}) == {
        "192.0.2.1:9000",
        "[::]:7946",
        "127.0.0.1:7946",
        "[::1]:7946",
        "localhost:7946",
    }

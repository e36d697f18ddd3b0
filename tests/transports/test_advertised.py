"""The address that a node advertises: of an interface, of the route to its seeds, or as it is configured."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until
from trionet import ConfigError, NodeAddress, NodeConfig, open_node
from trionet.transports import advertised
from trionet.transports.advertised import advertised_ip, ip_of_interface, ip_of_route

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

"""The address that a node advertises: the one at which others connect to it.

It is configured, as an IP address, a host name or the name of a network interface; or it is that of the route to the
seeds; or the one that the node listens on.

Source: netdevice(7), SIOCGIFADDR; the fields of ``/proc/net/if_inet6`` are those of the Linux kernel's
``net/ipv6/addrconf.c``. A UDP socket that connects sends nothing, and has the address of its route: udp(7).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import ConfigError
from trionet.identity import NodeAddress, is_loopback, is_unspecified

from .sockaddrs import ip_of, lookup_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.config import NodeConfig

__all__ = ["advertised_ip", "ip_of_interface", "ip_of_route"]

_SIOCGIFADDR: Final = 0x8915
_IFREQ: Final = struct.Struct("16sH2x4s232x")
_IPV6_ADDRESSES: Final = Path("/proc/net/if_inet6")
_USABLE_SCOPES: Final = ("00", "10")
"""Global, and of the host, as ``::1``; a link-local address needs the name of the interface on the other machine."""
_LEFT_OUT_FLAGS: Final = 0x01 | 0x08 | 0x20 | 0x40
"""Temporary, duplicate, deprecated, tentative."""


async def advertised_ip(config: NodeConfig, listening_on: str) -> str:
    """Return the IP address or host name that a node advertises which listens on the address `listening_on`.

    Raises:
        ConfigError: an interface has no address, or no route to a seed is known.
    """
    name = config.advertise_ip
    if name is not None:
        return ip_of_interface(name, is_ipv6=":" in listening_on) if _is_interface(name) else name
    if not is_unspecified(listening_on):
        return config.ip
    return await ip_of_route(map(NodeAddress.of, config.join or ()), is_ipv6=":" in listening_on)


def _is_interface(name: str) -> bool:
    return name in (interface for _, interface in socket.if_nameindex())


def ip_of_interface(name: str, *, is_ipv6: bool) -> str:
    """Return the IP address of the network interface `name`.

    Raises:
        ConfigError: it has none of that version, or the system does not tell.
    """
    ip = _ipv6_of(name) if is_ipv6 else _ipv4_of(name)
    if ip is None:
        version = 6 if is_ipv6 else 4
        raise ConfigError(f"advertise_ip: the interface {name} has no IPv{version} address that others can connect to")
    return ip


def _ipv4_of(name: str) -> str | None:
    import fcntl  # not on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            found = fcntl.ioctl(sock, _SIOCGIFADDR, _IFREQ.pack(name.encode(), socket.AF_INET, bytes(4)))
        except OSError:
            return None
    return socket.inet_ntoa(found[20:24])


def _ipv6_of(name: str) -> str | None:
    try:
        lines = _IPV6_ADDRESSES.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        number, _, _, scope, flags, interface = line.split()
        if interface == name and scope in _USABLE_SCOPES and not int(flags, 16) & _LEFT_OUT_FLAGS:
            return str(ipaddress.IPv6Address(int(number, 16)))
    return None


async def ip_of_route(seeds: Iterable[NodeAddress], *, is_ipv6: bool) -> str:
    """Return this machine's address on the route to the first of `seeds` to which there is one.

    Seeds on this machine itself, to which the route is a loopback one, count only if there are no others.

    Raises:
        ConfigError: there is none.
    """
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    nearest = None
    for seed in seeds:
        try:
            found = await trio.socket.getaddrinfo(
                lookup_host(seed.ip), seed.port, family=family, type=socket.SOCK_DGRAM
            )
        except (OSError, UnicodeError):
            continue
        for *_, place in found:
            ip = _ip_towards(family, place)
            if ip is not None and not is_loopback(ip):
                return ip
            nearest = nearest or ip
    if nearest is not None:
        return nearest
    raise ConfigError(
        "there is no route to any seed, which would tell this node's address: set advertise_ip (--advertise-ip) to the "
        "address at which others reach this node, or to the name of its network interface"
    )


def _ip_towards(family: int, place: Any) -> str | None:
    """Return this machine's address on the route to a place, None if there is no route."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(place)
        except OSError:
            return None
        return ip_of(sock.getsockname())

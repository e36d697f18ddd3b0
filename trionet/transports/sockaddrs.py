"""Addresses of sockets as texts.

Invariant: a link-local IPv6 address is one of a network interface, and has no meaning without: its text names it.

Source: RFC 4007, section 11; the fourth part of a socket's IPv6 address is the number of its interface: ipv6(7).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

__all__ = ["ip_of", "lookup_host"]

_IPV6_PARTS: Final = 4


def ip_of(sockaddr: Any) -> str:
    """Return the IP address in a socket's address, as "127.0.0.1", "::1" or "fe80::1%eth0"."""
    ip = str(sockaddr[0])
    if len(sockaddr) == _IPV6_PARTS and (interface := sockaddr[-1]) and "%" not in ip:
        with suppress(OSError):  # it has gone meanwhile
            return f"{ip}%{socket.if_indextoname(interface)}"
    return ip


def lookup_host(host: str) -> str | bytes:
    """Return a host as `socket.getaddrinfo` takes it without the codec of international names.

    To import that codec takes 0.15 MB, and numbers and names in ASCII don't need it.
    """
    return host.encode("ascii") if host.isascii() else host

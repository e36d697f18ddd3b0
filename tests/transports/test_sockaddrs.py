"""The text of a socket's address."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from trionet.transports.sockaddrs import ip_of, lookup_host

LOOPBACK = next(iter(socket.if_nameindex()))


@pytest.mark.parametrize(
    ("sockaddr", "ip"),
    [
        (("127.0.0.1", 80), "127.0.0.1"),
        (("::1", 80, 0, 0), "::1"),
        (("fd00::1", 80, 0, 0), "fd00::1"),
        (("fe80::1", 80, 0, LOOPBACK[0]), f"fe80::1%{LOOPBACK[1]}"),
        (("fe80::1%eth0", 80, 0, LOOPBACK[0]), "fe80::1%eth0"),
        (("fe80::1", 80, 0, 1_000_000), "fe80::1"),
    ],
)
def test_a_link_local_address_has_the_name_of_its_interface(sockaddr: Any, ip: str) -> None:
    assert ip_of(sockaddr) == ip


@pytest.mark.parametrize(
    ("host", "given"),
    [
        ("127.0.0.1", b"127.0.0.1"),
        ("fe80::1%eth0", b"fe80::1%eth0"),
        ("a.example", b"a.example"),
        ("ä.example", "ä.example"),
    ],
)
def test_a_host_is_looked_up_without_the_codec_of_international_names_unless_it_has_such_a_name(
    host: str, given: str | bytes
) -> None:
    assert lookup_host(host) == given

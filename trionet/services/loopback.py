"""Loopback addresses in a cluster: all its members advertise one, or none does.

A loopback address means another machine on each machine: two nodes on two hosts that advertise 127.0.0.1:9000 would be
one member, and a node that dials that address dials itself or a stranger. Invariant: only the two advertised addresses
count, not those that were dialed or bound: a tunnel ends at 127.0.0.1.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from trionet.identity import is_loopback

from .protocol_driver import address_of

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["are_apart", "separates", "why_apart"]

_LOCAL_DOMAIN = ".localhost"
"""RFC 6761, section 6.3: these names are loopback addresses."""


@functools.lru_cache(maxsize=16_384)
def _is_local(ip: str) -> bool:
    return is_loopback(ip) or ip.endswith(_LOCAL_DOMAIN)


def are_apart(one: NodeAddress, other: NodeAddress) -> bool:
    """Return whether exactly one of two nodes advertises a loopback address."""
    return _is_local(one.ip) != _is_local(other.ip)


def separates(own: NodeAddress, name: str) -> bool:
    """Return whether the node of this name in the protocols can't be in one cluster with `own`."""
    node = address_of(name)
    return node is not None and are_apart(own, node)


def why_apart(one: NodeAddress, other: NodeAddress) -> str:
    """Return the reason why two nodes can't be in one cluster, and what to set."""
    local, remote = (one, other) if _is_local(one.ip) else (other, one)
    return (
        f"{one} and {other} can't be in one cluster: {local} is a loopback address, which other machines can't reach. "
        f"Set advertise_ip (--advertise-ip) of {local} to an address that all members reach; or, if all of them run on "
        f"this machine, use loopback addresses for all, {remote} included"
    )

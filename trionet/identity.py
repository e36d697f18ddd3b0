"""Who a node is: its address, and the two identifiers computed from it.

Invariant: NID and SID are functions of the address alone, so that every node computes the same ones.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import MalformedRequest, SIDCollision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NID", "SID", "NodeAddress", "check_gid", "check_name", "is_loopback", "members_by_sid", "sid_of"]

NID = str
"""SHA-256, 64 hex digits, of the canonical JSON of ``{"ip", "port"}``."""

SID = str
"""The first 10 hex digits of the NID; keys every per-node map."""

_SID_DIGITS = 10
_MAX_PORT = 65_535
_MAX_NAME_CHARS = 253  # of a domain name (RFC 1035)
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}\Z")


class NodeAddress(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a node listens.

    Attributes:
        ip: an IP address, or a name that resolves to one.
        port: 1 to 65535; 0 only in a configuration, where it asks for a free one.
    """

    ip: str
    port: int

    def __post_init__(self) -> None:
        if not isinstance(self.ip, str) or not self.ip or len(self.ip) > _MAX_NAME_CHARS:
            raise MalformedRequest(f"an address needs an ip, not {self.ip!r}")
        if type(self.port) is not int or not 0 <= self.port <= _MAX_PORT:
            raise MalformedRequest(f"a port is a number from 0 to {_MAX_PORT}, not {self.port!r}")

    @property
    def nid(self) -> NID:
        """The node's identifier."""
        return _nid(self.ip, self.port)

    @property
    def sid(self) -> SID:
        """The node's short identifier."""
        return self.nid[:_SID_DIGITS]

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @classmethod
    def of(cls, value: Any) -> NodeAddress:
        """Return the address that `value` means.

        Args:
            value: a `NodeAddress`, a mapping with ``ip`` and ``port``, an object with those attributes
                (a node, a configuration), or a text ``"ip:port"`` (``"[::1]:8080"``).

        Raises:
            MalformedRequest: it means none.
        """
        match value:
            case NodeAddress():
                return value
            case {"ip": ip, "port": port}:
                return cls(ip, port)
            case str():
                ip, colon, port = value.rpartition(":")
                if colon and re.fullmatch("[0-9]{1,5}", port):
                    return cls(ip.removeprefix("[").removesuffix("]"), int(port))
            case _:
                address = getattr(value, "address", value)
                if hasattr(address, "ip") and hasattr(address, "port"):
                    return cls(address.ip, address.port)
        raise MalformedRequest(f"not a node address: {value!r:.100}")


@lru_cache(maxsize=65_536)
def _nid(ip: str, port: int) -> NID:
    canonical = msgspec.json.encode({"ip": ip, "port": port})
    return hashlib.sha256(canonical).hexdigest()


def members_by_sid(nodes: Iterable[Any] | Mapping[Any, Any]) -> dict[SID, NodeAddress]:
    """Return `nodes` keyed by SID, in SID order.

    Args:
        nodes: addresses in any form that `NodeAddress.of` takes; of a mapping the values count, its keys do not.

    Raises:
        MalformedRequest: one of them is no address.
        SIDCollision: two different addresses have one SID.
    """
    values = nodes.values() if hasattr(nodes, "values") else nodes
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise MalformedRequest(f"nodes are an iterable of addresses or a mapping, not {nodes!r:.100}")
    members: dict[SID, NodeAddress] = {}
    for address in map(NodeAddress.of, values):
        other = members.setdefault(address.sid, address)
        if other != address:
            raise SIDCollision(f"{other} and {address} have one SID, {address.sid}: leave one of them out")
    return dict(sorted(members.items()))


def sid_of(value: Any) -> SID:
    """Return the SID that `value` is, or the one of the node whose address it means.

    Raises:
        MalformedRequest: it is neither.
    """
    if isinstance(value, str) and ":" not in value:
        return value
    try:
        return NodeAddress.of(value).sid
    except MalformedRequest:
        raise MalformedRequest(f"a node is named by its SID or its address, not by {value!r:.80}") from None


def check_gid(gid: object) -> str:
    """Return `gid` if it is well formed, as `check_name` says; else raise `MalformedRequest`."""
    return check_name(gid, "gid")


def check_name(name: object, what: str) -> str:
    """Return `name` if it is 1 to 128 of ASCII letters, digits, ``_``, ``-``, ``.``; else raise `MalformedRequest`."""
    if not (isinstance(name, str) and _is_name(name)):
        raise MalformedRequest(f"a {what} is 1 to 128 of letters, digits, '_', '-' and '.', not {name!r:.100}")
    return name


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    return _NAME.match(text) is not None


def is_loopback(ip: str) -> bool:
    """Whether `ip` can be reached from this machine alone."""
    if ip == "localhost":
        return True
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return False

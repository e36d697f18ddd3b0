"""A node's address, and the two identifiers computed from it.

Invariant: NID and SID are functions of the address alone, so every node computes the same ones.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import ConfigError, MalformedRequest, SIDCollision
from .user_code import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "NID",
    "SID",
    "NodeAddress",
    "check_cluster",
    "check_gid",
    "check_name",
    "checked_destination",
    "checked_host",
    "is_loopback",
    "is_unspecified",
    "lacks_interface",
    "members_by_sid",
    "sid_of",
]

NID = str
"""SHA-256, 64 hex digits, of the canonical JSON of ``{"ip", "port"}``."""

SID = str
"""The first 10 hex digits of the NID; keys every per-node map."""

_SID_DIGITS = 10
_MAX_PORT = 65_535
_MAX_NAME_CHARS = 253  # of a domain name (RFC 1035)
# "." and ".." are no names: in a path, clients and proxies resolve them (RFC 3986, 5.2.4).
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.\-]{1,128}\Z")
_CLUSTER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}\Z")
_SID = re.compile(r"[0-9a-f]{10}\Z")
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})\Z")
_WITH_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]*)\Z")


class NodeAddress(msgspec.Struct, frozen=True, order=True, gc=False):
    """The address on which a node listens.

    Attributes:
        ip: an IP address, or a name that resolves to one.
        port: 1 to 65535; 0 only in a configuration, where it requests a free one.
    """

    ip: str
    port: int

    def __post_init__(self) -> None:
        if not isinstance(self.ip, str) or not self.ip or len(self.ip) > _MAX_NAME_CHARS:
            raise MalformedRequest(f"an address needs an ip, not {shown(self.ip)}")
        if type(self.port) is not int or not 0 <= self.port <= _MAX_PORT:
            raise MalformedRequest(f"a port is a number from 0 to {_MAX_PORT}, not {shown(self.port)}")

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
        """Return the address that `value` denotes.

        Args:
            value: a `NodeAddress`, a mapping with ``ip`` and ``port``, an object with those attributes
                (a node, a configuration), or a text ``"ip:port"``, with an IPv6 address in brackets
                (``"[::1]:8080"``) and in any of its forms.

        Raises:
            MalformedRequest: it denotes none.
        """
        match value:
            case NodeAddress():
                return value
            case {"ip": ip, "port": port}:
                return cls(ip, port)
            case str():
                if (found := _ADDRESS.match(value)) is not None:
                    ip = found["host"] if found["ipv6"] is None else _canonical_ipv6(found["ipv6"])
                    if ip is not None:
                        return cls(ip, int(found["port"]))
            case _:
                address = getattr(value, "address", value)
                if hasattr(address, "ip") and hasattr(address, "port"):
                    return cls(address.ip, address.port)
        raise MalformedRequest(f"not a node address: {shown(value)}{_address_hint(value)}")


def _address_hint(value: Any) -> str:
    """Return what to do about a value that is no address."""
    if issubclass(type(value), str):
        if "://" in value:
            return ": leave the scheme and the path out, as in '127.0.0.1:8080'"
        if _SID.match(value):
            return ", it is a SID: use node.all.members()[sid]"
        if value.count(":") > 1 or "[" in value:
            return ": an IPv6 address stands in brackets, and the port after them, as in '[::1]:8080'"
    if type(value) is tuple:
        return ": use trionet.NodeAddress(ip, port)"
    return ": use 'ip:port', as in '127.0.0.1:8080', a NodeAddress, or a node"


@lru_cache(maxsize=65_536)
def _nid(ip: str, port: int) -> NID:
    canonical = msgspec.json.encode({"ip": ip, "port": port})
    return hashlib.sha256(canonical).hexdigest()


def members_by_sid(nodes: Iterable[Any] | Mapping[Any, Any]) -> dict[SID, NodeAddress]:
    """Return `nodes` keyed by SID, in SID order.

    Args:
        nodes: addresses in any form that `NodeAddress.of` accepts; of a mapping, its values.

    Raises:
        MalformedRequest: one of them is no address.
        SIDCollision: two different addresses have one SID.
    """
    values = nodes.values() if hasattr(nodes, "values") else nodes
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise MalformedRequest(f"nodes are an iterable of addresses or a mapping, not {shown(nodes)}")
    members: dict[SID, NodeAddress] = {}
    for address in map(NodeAddress.of, values):
        other = members.setdefault(address.sid, address)
        if other != address:
            raise SIDCollision(f"{other} and {address} have one SID, {address.sid}: leave one of them out")
    return dict(sorted(members.items()))


def sid_of(value: Any) -> SID:
    """Return the SID that `value` is, or that of the node whose address it denotes.

    Raises:
        MalformedRequest: it is neither.
    """
    if isinstance(value, str) and ":" not in value:
        return value
    try:
        return NodeAddress.of(value).sid
    except MalformedRequest:
        raise MalformedRequest(f"a node is named by its SID or its address, not by {shown(value, 80)}") from None


def check_gid(gid: object) -> str:
    """Return `gid` if `check_name` accepts it; else raise `MalformedRequest`."""
    return check_name(gid, "gid")


def check_name(name: object, what: str) -> str:
    """Return `name` if it can be a segment of a path; else raise `MalformedRequest`.

    It has 1 to 128 ASCII letters, digits, ``_``, ``-`` and ``.``, and is neither ``.`` nor ``..``.
    """
    if not (isinstance(name, str) and _is_name(name)):
        rest = ", and neither '.' nor '..'" if name in (".", "..") else f", not {shown(name)}"
        raise MalformedRequest(f"a {what} is 1 to 128 of letters, digits, '_', '-' and '.'{rest}")
    return name


def check_cluster(name: object) -> str:
    """Return `name` if a cluster may have it: any that a SPIFFE ID can name, up to 63 characters.

    Raises:
        ConfigError: it may not. The error does not quote it: somebody may have put a key there.

    Source: SPIFFE ID, section 2.1 (trust domain).
    """
    if isinstance(name, str) and _CLUSTER.match(name):
        return name
    kind = "" if isinstance(name, str) else f", not a {type(name).__name__:.100}"
    raise ConfigError(
        f"cluster is a name of 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit first and last{kind}"
    )


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    return _NAME.match(text) is not None


def checked_host(host: object, setting: str) -> str:
    """Return the IP address or host name that `host` denotes, in the canonical form from which NIDs are computed.

    That drops the brackets of an IPv6 address, and the final dot and the capitals of a name, and turns an IPv4-mapped
    IPv6 address into the IPv4 address. A link-local address names its interface.

    Args:
        host: the value of a setting.
        setting: its name, for the text of the error.

    Raises:
        ConfigError: it is neither; the text names the reason.
    """
    if not isinstance(host, str) or not host or len(host) > _MAX_NAME_CHARS:
        raise ConfigError(f"{setting} is an IP address or a host name, not {host!r:.100}")
    if (with_port := _WITH_PORT.match(host)) is not None:
        bare, port = with_port.groups()
        raise ConfigError(
            f"{setting} is {host!r:.100}, and the port is a separate setting: use {bare!r}, port {port or 0}"
        )
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        text = _in_ascii(text)
        address = ipaddress.ip_address(text)
    except ValueError:  # UnicodeError is one
        return _checked_name(host, setting)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if text != host and host.startswith("[") and address.version == 4:  # noqa: PLR2004  IPv4
        raise ConfigError(f"{setting} is {host!r}, and brackets are for IPv6 addresses: use {text!r}")
    if lacks_interface(text):
        raise ConfigError(
            f"{setting} is {host!r:.100}, a link-local address, which is one of an interface: name that, as "
            f"'{address}%eth0', by the name that it has on all machines of the cluster"
        )
    return str(mapped or address)


def lacks_interface(ip: str) -> bool:
    """Return whether `ip` is a link-local IPv6 address of which no interface is named: nobody can connect to that."""
    address = _parsed(ip)
    return isinstance(address, ipaddress.IPv6Address) and address.is_link_local and address.scope_id is None


def _checked_name(host: str, setting: str) -> str:
    try:
        name = _in_ascii(host).removesuffix(".").lower()
    except UnicodeError:
        name = ""
    *_, last = labels = name.split(".")
    if ":" in host and "/" not in host:
        raise ConfigError(f"{setting} is {host!r:.100}, which is no IPv6 address")
    if re.fullmatch("[0-9]+|0x[0-9a-f]*", last):
        # The system would read it as an address: "127.1" as 127.0.0.1, "0" as 0.0.0.0.
        raise ConfigError(f"{setting} is {host!r:.100}, which is no IPv4 address: it has four numbers of 0 to 255")
    if len(name) > _MAX_NAME_CHARS or not all(map(_LABEL.match, labels)):
        raise ConfigError(f"{setting} is an IP address or a host name, not {host!r:.100}")
    return name


def _in_ascii(host: str) -> str:
    """Return a host's name in ASCII; the codec of other names is imported for those alone.

    Raises:
        UnicodeError: it has no such name; or no descriptor is free to import the codec.
    """
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except OSError as exc:
        raise UnicodeError(f"names beyond ASCII can't be read now: {exc.strerror}") from exc


def checked_destination(host: object, setting: str) -> str:
    """Return `host` as `checked_host` does, if it can be a destination of connections.

    Raises:
        ConfigError: it can't, or it is no host.
    """
    text = checked_host(host, setting)
    address = _parsed(text)
    if address is None:
        return text
    if address.is_unspecified:
        raise ConfigError(
            f"{setting} is the address that others connect to, and {text} means any address: use one of this machine"
        )
    if address.is_multicast or text == "255.255.255.255":
        raise ConfigError(f"{setting} is the address that others connect to, and {text} is no address of one machine")
    return text


def is_loopback(ip: str) -> bool:
    """Return whether `ip` is reachable only from this machine."""
    address = _parsed(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return ip == "localhost" or (address is not None and (mapped or address).is_loopback)


def is_unspecified(ip: str) -> bool:
    """Return whether `ip` stands for all addresses of a machine."""
    address = _parsed(ip)
    return address is not None and address.is_unspecified


def _canonical_ipv6(text: str) -> str | None:
    """Return an IPv6 address in the form from which NIDs are computed, see `checked_host`; None if it is none."""
    address = _parsed(text)
    return str(address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else None


def _parsed(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(ip)
    except ValueError:
        return None

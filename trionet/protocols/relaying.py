"""The tree of a relayed call: how its members are divided, and what travels.

The caller divides the other members, in the order in which it names them, into runs of equal length. It sends the call
to the first member of each run, with the addresses of the rest: that member calls these, or divides them again. Members
are named by their places in the list that a node was given; so answers need no names, and no node needs to know the
tree.

Invariants: each place is in one run, as its first member or in its rest, and a rest is shorter than what was divided:
so each member is called once, and the tree ends. What a peer sends is checked before it is used.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import MalformedRequest
from trionet.identity import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LEAST_ARITY",
    "MOST_MEMBERS",
    "MOST_RELAYS",
    "RelayedCall",
    "arity_of",
    "packed_members",
    "runs_of",
    "unpacked_members",
]

MOST_MEMBERS: Final = 1_000_000
"""The most members of one tree."""

MOST_RELAYS: Final = 8
"""The longest way: how many members forward a call at most."""

LEAST_ARITY: Final = 2
"""The least arity: a run of a run is at most half as long, so a tree has at most 20 levels."""

_ARITY: Final = 8
_V4: Final = 0
_V6: Final = 1
_NAME: Final = 2
_BYTES: Final = {_V4: 4, _V6: 16}
_PORT_BYTES: Final = 2
_SIZE_BYTES: Final = 2


class RelayedCall(msgspec.Struct, frozen=True, array_like=True):
    """The call that is relayed, as it travels: its arguments are encoded once, at its caller.

    Attributes:
        gid, service, method: the names of the method.
        args, kwargs, blobs: its arguments; see `Request`.
        id: that of the call, the same for all members.
        caller: the address of the calling node.
        parent, trace: see `Request`.
        is_json: whether its arguments and answers are JSON, or else MessagePack.
    """

    gid: str
    service: str
    method: str
    args: bytes
    kwargs: bytes | None
    blobs: list[bytes]
    id: str
    caller: str
    parent: str = ""
    trace: bytes = b""
    is_json: bool = False

    def plain(self) -> list[Any]:
        """Return it as plain data."""
        return list(msgspec.structs.astuple(self))

    @classmethod
    def of(cls, plain: object) -> RelayedCall:
        """Return the call that `plain` has made plain data of, at another node.

        Raises:
            MalformedRequest: it is none.
        """
        try:
            return msgspec.convert(plain, type=cls)
        except msgspec.ValidationError as exc:
            raise MalformedRequest(f"this is no relayed call: {exc}") from exc


def arity_of(members: int) -> int:
    """Return into how many runs a caller divides this many members.

    With the square root, a tree has two levels, and its caller and the first members of the runs have equal work.
    """
    return max(_ARITY, math.isqrt(members - 1) + 1 if members else 0)


def runs_of(members: int, arity: int) -> list[tuple[int, int]]:
    """Return the begin and the end of each run; if there are no more members than `arity`, each is one."""
    count = min(arity, members)
    bounds = [index * members // count for index in range(count + 1)] if count else []
    return list(itertools.pairwise(bounds))


def packed_members(members: Sequence[NodeAddress]) -> bytes:
    """Return addresses as bytes: 7 for each with an IPv4 address."""
    return b"".join(map(_packed, members))


@functools.lru_cache(65_536)
def _packed(address: NodeAddress) -> bytes:
    ip, port = address.ip, address.port.to_bytes(_PORT_BYTES)
    try:
        parsed = ipaddress.ip_address(ip)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != ip or "%" in ip:  # it has another form, which has another SID, or a zone
        name = ip.encode()
        return bytes((_NAME,)) + len(name).to_bytes(_SIZE_BYTES) + name + port
    return bytes((_V4 if parsed.version == 4 else _V6,)) + parsed.packed + port  # noqa: PLR2004  it is IPv4


def unpacked_members(data: object) -> list[NodeAddress]:
    """Return the addresses in bytes.

    Raises:
        MalformedRequest: there are none in it, or too many.
    """
    if not isinstance(data, bytes):
        raise MalformedRequest(f"the members of a relayed call are bytes, not {type(data).__name__}")
    found: list[NodeAddress] = []
    place = 0
    while place < len(data):
        kind = data[place]
        start = place + (1 if kind in _BYTES else 1 + _SIZE_BYTES)
        size = _BYTES.get(kind)
        if size is None:
            size = int.from_bytes(data[place + 1 : start]) if kind == _NAME else len(data)
        place = start + size + _PORT_BYTES
        if place > len(data) or len(found) == MOST_MEMBERS:
            raise MalformedRequest("the members of a relayed call are cut off, or too many")
        found.append(NodeAddress(_unpacked(kind, data[start : start + size]), int.from_bytes(data[place - 2 : place])))
    return found


def _unpacked(kind: int, ip: bytes) -> str:
    if kind == _V4:
        return "{}.{}.{}.{}".format(*ip)
    if kind == _V6:
        return str(ipaddress.IPv6Address(ip))
    try:
        return ip.decode()
    except UnicodeDecodeError:
        raise MalformedRequest("a member of a relayed call has no name") from None

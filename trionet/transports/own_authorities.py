"""Where the requests to a node are sent to: its address for others, and what it listens on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.identity import NodeAddress
from trionet.security.signature_base import normalized_authority

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["own_authorities"]

_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  looked for, not used
_LOOPBACK: Final = ("127.0.0.1", "::1")


def own_authorities(address: NodeAddress, port: int, names: Collection[str]) -> frozenset[str]:
    """Return where requests to a node are sent to, as the header ``Host`` has it.

    Args:
        address: its address for other nodes.
        port: the port number on which it listens.
        names: the addresses and names on which it listens.
    """
    if address.port == port:
        return _authorities(port, {address.ip, *names})
    return _authorities(address.port, {address.ip}) | _authorities(port, {*names})


def _authorities(port: int, names: set[str]) -> frozenset[str]:
    if names & _ANY_ADDRESS:
        names |= {*_LOOPBACK}
    if names & {*_LOOPBACK}:
        names.add("localhost")
    return frozenset(normalized_authority(str(NodeAddress(name, port))) for name in names)

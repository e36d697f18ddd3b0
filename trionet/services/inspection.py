"""What a node shows about itself to the command, ``trionet``: each answer is plain data, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .base import rpc

if TYPE_CHECKING:
    from .member import Member

__all__ = ["Inspected", "Inspection"]


class Inspected(Protocol):
    """The node of an `Inspection`."""

    def members(self) -> list[Member]:
        """Return the present members of its cluster."""

    def statistics(self) -> msgspec.Struct:
        """Return its figures; see `NodeStatistics`."""


class Inspection:
    """The local service ``inspection``."""

    def __init__(self, node: Inspected) -> None:
        self._node = node

    @rpc(read=True)
    def members(self) -> list[dict[str, Any]]:
        """Return the present members of the node's cluster, itself included, in SID order."""
        return [
            {
                "sid": member.sid,
                "address": str(member.node),
                "status": member.status,
                "incarnation": member.incarnation,
                "tags": member.tags,
            }
            for member in self._node.members()
        ]

    @rpc(read=True)
    def statistics(self) -> dict[str, int]:
        """Return the node's figures; see `NodeStatistics`."""
        return msgspec.structs.asdict(self._node.statistics())

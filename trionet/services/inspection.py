"""What a node shows about itself to the command, ``trionet``: each answer is plain data, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .base import rpc

if TYPE_CHECKING:
    from trionet.call_tree import CallTree, CancelledCalls

    from .member import Member

__all__ = ["Inspected", "InspectedCalls", "Inspection"]


class Inspected(Protocol):
    """The node of an `Inspection`."""

    def members(self) -> list[Member]:
        """Return the present members of its cluster."""

    def statistics(self) -> msgspec.Struct:
        """Return its figures; see `NodeStatistics`."""

    @property
    def calls(self) -> InspectedCalls:
        """Its running calls."""


class InspectedCalls(Protocol):
    """The running calls of a node; see `trionet.RunningCalls`."""

    async def tree(self, *, within_s: float = ...) -> CallTree:
        """Return the running calls of its cluster."""

    async def cancel(self, call_id: str, *, within_s: float = ...) -> CancelledCalls:
        """Cancel a running call of its cluster."""

    def encoded_report(self) -> bytes:
        """Return the report of its own calls."""

    async def cancel_own(self, call_id: str) -> int:
        """Cancel its own running calls with an id; return how many."""


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

    @rpc(read=True)
    async def calls(self, *, within_s: float = 2.0) -> dict[str, Any]:
        """Return the running calls of the cluster, as plain data; see `RunningCalls.tree`."""
        return (await self._node.calls.tree(within_s=within_s)).plain()

    @rpc
    async def cancel_call(self, call_id: str, *, within_s: float = 2.0) -> dict[str, Any]:
        """Cancel a running call of the cluster, with all below it; see `RunningCalls.cancel`."""
        return (await self._node.calls.cancel(call_id, within_s=within_s)).plain()

    @rpc(read=True)
    def report_calls(self) -> bytes:
        """Return the report of the node's running calls, for `calls` of another node."""
        return self._node.calls.encoded_report()

    @rpc
    async def cancel_own_calls(self, call_id: str) -> int:
        """Cancel the node's own running calls with an id, and wait for their end; return how many."""
        return await self._node.calls.cancel_own(call_id)

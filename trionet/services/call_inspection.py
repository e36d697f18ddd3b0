"""The part of ``inspection`` about running calls: their tree, and their cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.protocols.call_reports import MOST_CALLS

from .base import rpc

if TYPE_CHECKING:
    from typing import Protocol

    from trionet.call_tree import CallTree, CancelledCalls

    class InspectedCalls(Protocol):
        """The running calls of a node; see `trionet.RunningCalls`."""

        async def tree(self, *, within_s: float = ...) -> CallTree:
            """Return the running calls of its cluster."""

        async def cancel(self, call_id: str, *, within_s: float = ...) -> CancelledCalls:
            """Cancel a running call of its cluster."""

        def encoded_report(self, most: int = ..., *, with_ends: bool = ...) -> bytes:
            """Return the report of its own calls."""

        async def cancel_own(self, call_id: str) -> int:
            """Cancel its own running calls with an id; return how many."""

    class _HasCalls(Protocol):
        @property
        def calls(self) -> InspectedCalls: ...


__all__ = ["CallInspection"]


class CallInspection:
    """The methods of ``inspection`` about running calls."""

    _node: _HasCalls

    @rpc(read=True)
    async def calls(self, *, within_s: float = 2.0) -> dict[str, Any]:
        """Return the running calls of the cluster, as plain data; see `RunningCalls.tree`."""
        return (await self._node.calls.tree(within_s=within_s)).plain()

    @rpc
    async def cancel_call(self, call_id: str, *, within_s: float = 2.0) -> dict[str, Any]:
        """Cancel a running call of the cluster, with all below it; see `RunningCalls.cancel`."""
        return (await self._node.calls.cancel(call_id, within_s=within_s)).plain()

    @rpc(read=True)
    def report_calls(self, most: int = MOST_CALLS, with_ends: bool = False) -> bytes:
        """Return the report of the node's running calls, for another node.

        Args:
            most: the most calls of each kind.
            with_ends: whether to say how many calls of each method have ended, and how.
        """
        return self._node.calls.encoded_report(most, with_ends=with_ends)

    @rpc
    async def cancel_own_calls(self, call_id: str) -> int:
        """Cancel the node's own running calls with an id, and wait for their end; return how many."""
        return await self._node.calls.cancel_own(call_id)

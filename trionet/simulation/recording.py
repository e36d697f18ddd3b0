"""Records nodes in a trace: their events, the rumors they receive, and the handlers they run.

Plain functions, which end at once, are left out, and so are a node's calls to itself, which run in the task of their
caller. Invariant: recording changes neither the actions of a node nor their times.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import msgspec

from trionet import MemberEvent, NodeAddress, OrphanedCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    import trio

    from trionet import Event
    from trionet.message import Call
    from trionet.prepared_call import PreparedCall
    from trionet.protocols.gossip_messages import Delivered
    from trionet.router import Method
    from trionet.transports.base import Handler
    from trionet.transports.memory import MemoryFabric

    from .trace import Trace

__all__ = ["record_nodes"]


def record_nodes(fabric: MemoryFabric, trace: Trace) -> None:
    """Record all nodes that are opened on a fabric from now on."""
    fabric.on_open = lambda node: _record_node(trace, node)
    fabric.watched = lambda address, handler: _RecordedHandler(trace, address, handler)


def _record_node(trace: Trace, node: Any) -> None:
    name = trace.name(node.address)
    trace.add("state", name, what="NodeOpened")

    def record_event(event: Event) -> None:
        peer, detail = "", ""
        if isinstance(event, MemberEvent):
            peer, detail = trace.name(event.node), str(event.incarnation)
        elif isinstance(event, OrphanedCall):
            peer, detail = trace.name(event.node), f"{event.gid}/{event.service}/{event.method} {event.id}"
        else:
            detail = msgspec.json.encode(event).decode()
        trace.add("state", name, peer, type(event).__name__, detail)

    def record_rumor(rumor: Delivered) -> None:
        trace.add("rumor", name, trace.name(NodeAddress.of(rumor.origin)), rumor.gid, rumor.id.hex())

    node.listen(record_event)
    node.local.gossip.on_rumor = record_rumor


class _RecordedHandler:
    def __init__(self, trace: Trace, node: NodeAddress, handler: Handler) -> None:
        self._trace = trace
        self._node = node
        self._prepare = handler.prepare
        self.call = handler.call
        self.find = handler.find

    def prepare(self, call: Call) -> PreparedCall:
        prepared = self._prepare(call)
        if prepared.method.is_sync:
            return prepared
        return cast("PreparedCall", _RecordedCall(self._trace, self._node, call, prepared))


class _RecordedCall:
    """A `PreparedCall` that records its begin and end."""

    __slots__ = ("_call", "_node", "_prepared", "_trace", "abandon", "begin", "cut_short", "method", "started_at")

    def __init__(self, trace: Trace, node: NodeAddress, call: Call, prepared: PreparedCall) -> None:
        self.method: Method = prepared.method
        self.begin = prepared.begin
        self.cut_short = prepared.cut_short
        self.abandon = prepared.abandon
        self._trace = trace
        self._node = node
        self._call = call
        self._prepared = prepared
        self.started_at: float

    async def run(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        self._trace.handled("begin", self._node, self._call)
        self._prepared.started_at = self.started_at
        try:
            return await self._prepared.run(scope, awaitable)
        finally:
            self._trace.handled("end", self._node, self._call)

    @asynccontextmanager
    async def stream(self, scope: trio.CancelScope) -> AsyncGenerator[AsyncGenerator[Any]]:
        self._trace.handled("begin", self._node, self._call)
        try:
            async with self._prepared.stream(scope) as items:
                yield items
        finally:
            self._trace.handled("end", self._node, self._call)

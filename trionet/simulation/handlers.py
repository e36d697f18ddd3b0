"""Has a trace told when the handlers of other nodes' calls begin and end.

Plain functions, which end where they begin, are left out, and so are a node's calls to itself, which run in the task of
their caller. Invariant: the watching changes nothing of what a handler does, or when.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import trio

    from trionet.identity import NodeAddress
    from trionet.message import Call
    from trionet.router import Method, PreparedCall
    from trionet.transports.base import Handler

    from .trace import Trace

__all__ = ["watching"]


def watching(trace: Trace) -> Callable[[NodeAddress, Handler], Handler]:
    """Return what puts a watch before a node's handler, for `MemoryFabric.watched`."""
    return lambda node, handler: _WatchedHandler(trace, node, handler)


class _WatchedHandler:
    def __init__(self, trace: Trace, node: NodeAddress, handler: Handler) -> None:
        self._trace = trace
        self._node = node
        self._prepare = handler.prepare
        self.call = handler.call

    def prepare(self, call: Call) -> PreparedCall:
        prepared = self._prepare(call)
        if prepared.method.is_sync:
            return prepared
        return cast("PreparedCall", _WatchedCall(self._trace, self._node, call, prepared))


class _WatchedCall:
    """A `PreparedCall` that tells when it runs."""

    __slots__ = ("_call", "_node", "_prepared", "_trace", "method")

    def __init__(self, trace: Trace, node: NodeAddress, call: Call, prepared: PreparedCall) -> None:
        self.method: Method = prepared.method
        self._trace = trace
        self._node = node
        self._call = call
        self._prepared = prepared

    def _note(self, kind: Any) -> None:
        call, trace = self._call, self._trace
        caller = "" if call.caller is None else trace.name(call.caller)
        trace.add(kind, trace.name(self._node), caller, f"{call.gid}/{call.service}/{call.method}", call.id)

    def begin(self) -> Any:
        return self._prepared.begin()

    async def finish(self, scope: trio.CancelScope, awaitable: Awaitable[Any] | None = None) -> Any:
        self._note("begin")
        try:
            return await self._prepared.finish(scope, awaitable)
        finally:
            self._note("end")

    @asynccontextmanager
    async def stream(self, scope: trio.CancelScope) -> AsyncGenerator[AsyncGenerator[Any]]:
        self._note("begin")
        try:
            async with self._prepared.stream(scope) as items:
                yield items
        finally:
            self._note("end")

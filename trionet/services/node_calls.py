"""Calls from this node to another one, by method: ``node.call(address, Counter.add, 5)``."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, TypeVar, overload

from trionet.async_blocks import async_block
from trionet.errors import EncodeError, NodeUnreachable
from trionet.histograms import SKIP, UNTIMED, begin_timed
from trionet.identity import NodeAddress, check_gid, check_name
from trionet.message import LOCAL

from .groups import ALL
from .orphans import check_orphans
from .references import REFERENCE
from .typed import check_kind, lowered_request, reference_of, typed_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.identity import SID
    from trionet.transports.base import Request

    from . import LocalServices
    from .orphans import Orphans
    from .references import Reference

__all__ = ["NodeCalls"]

P = ParamSpec("P")
R = TypeVar("R")


class NodeCalls:
    """Calls to one node at a time, typed by the method; the base of `Node`, and the result of its `options`.

    Attributes:
        local: the services of the calling node.
    """

    local: LocalServices
    _is_plain: bool = True
    _service: str | None = None
    _gid: str = LOCAL
    _orphans: Orphans = "report"

    @overload
    async def call(
        self,
        node: NodeAddress | SID | Any,
        method: Callable[Concatenate[Any, P], AsyncIterator[Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Never: ...
    @overload
    async def call(
        self,
        node: NodeAddress | SID | Any,
        method: Callable[Concatenate[Any, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    async def call(
        self,
        node: NodeAddress | SID | Any,
        method: Callable[Concatenate[Any, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    async def call(self, node: Any, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a service of another node, or of this one, and return its value.

        ::

            total = await node.call(address, Counter.add, 5)

        The service has the name of the class, or that of `options`. Deadlines and cancellation are Trio's. An answer is
        converted to the annotated return type.

        Args:
            node: an address, in any form that `NodeAddress.of` accepts, or the SID of a known node.
            method: a method marked with ``trionet.rpc``, as an attribute of its class.
            *args: its positional arguments.
            **kwargs: those by name.

        Raises:
            MalformedRequest: it is no such method, or a stream; or the arguments don't fit. Nothing was sent.
            EncodeError: an argument can't travel; nothing was sent.
            DefiniteError: the call did not run.
            RemoteError: the handler raised; of its own class, if that is marked with ``trionet.error``.
            UnexpectedAnswer: the call has run, and its answer is not of the annotated type.
            IndefiniteError: the call may have run.
        """
        # Most calls are of a method whose reference knows these types, and pay for no other function than `prepare`.
        reference = method.__dict__.get(REFERENCE) if type(method) is FunctionType else None
        if reference is None:
            reference = reference_of(method)
        if kwargs or tuple(map(type, args)) not in reference.fitting:
            reference.check(args, kwargs)
        if reference.is_stream:
            check_kind(reference, is_stream=False)
        address = node if type(node) is NodeAddress else self._address_of(node)
        comm = self.local.comm
        remote = reference.remote if self._is_plain else reference.remote_at(self._service, self._gid)
        assert remote is not None  # the reference has been checked
        try:
            request = comm.prepare([*args], kwargs, remote)
        except EncodeError:
            request = lowered_request(comm, reference, args, kwargs, remote)
        spans = comm.spans
        if self._orphans != "report" or (spans is not None and spans.provider() is not None):
            return await self._call_apart(address, reference, request)
        ok = comm.ok if remote is comm.counted else comm.histogram_of(remote)
        if ok is not None and ok[SKIP]:  # it is not timed
            ok[SKIP] -= 1
            begun_ns = 0
        else:
            begun_ns = begin_timed(ok, comm.now_ns())
        try:  # the same as `Comm.call`, without its coroutine
            value = await (comm.call_self(request) if address == comm.own else comm.transport.call(address, request))
        except BaseException as exc:
            comm.note_failure(address, request, exc, begun_ns, ok)
            raise
        if begun_ns:
            comm.note_success(remote, ok, begun_ns)
        else:
            ok[UNTIMED] += 1  # type: ignore[index]  # it is set where calls are not timed
        return value if type(value) is reference.exact else reference.answer_of(address, value)

    async def _call_apart(self, address: NodeAddress, reference: Reference, request: Request) -> Any:
        """Make a call that has a span, or raises its orphans."""
        comm = self.local.comm
        with comm.raising_orphans(self._orphans, request):
            return reference.answer_of(address, await comm.call(address, request))

    def stream(
        self,
        node: NodeAddress | SID | Any,
        method: Callable[Concatenate[Any, P], AsyncIterator[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        """Run a method that is an async generator on another node; iterate over its items.

        ::

            async with node.stream(address, Counter.watch) as items:
                async for total in items:
                    ...

        The generator is ahead by some buffers at most, and ends with the block. Arguments and errors are those of
        `call`; errors are raised at the block's begin, by the iteration, or at the block's end.
        """
        return self._stream(node, method, args, kwargs)

    @async_block("async with node.stream(...) as items:")
    async def _stream(
        self, node: Any, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[AsyncIterator[Any]]:
        reference = reference_of(method)
        check_kind(reference, is_stream=True)
        address, comm = self._address_of(node), self.local.comm
        request = typed_request(comm, reference, args, kwargs, self._service, self._gid)
        convert = None if reference.method.answer is None else reference.answer
        with comm.raising_orphans(self._orphans, request):
            async with comm.open_items(address, request, convert) as items:
                yield items

    def options(
        self, *, service: str | None = None, gid: str | None = None, orphans: Orphans | None = None
    ) -> NodeCalls:
        """Return the same calls with other options; those left out stay.

        Args:
            service: the name of the service, in place of that of the method's class.
            gid: ``"local"``, or a group, whose service on that node is called: an instance of a template.
            orphans: as for ``comm.send``.

        Raises:
            MalformedRequest: one is malformed.
        """
        return _Calls(
            self.local,
            self._service if service is None else check_name(service, "service name"),
            self._gid if gid is None else check_gid(gid),
            self._orphans if orphans is None else check_orphans(orphans),
        )

    def _address_of(self, node: Any) -> NodeAddress:
        """Return the address of a node that is given by it, or by its SID.

        Raises:
            NodeUnreachable: no known node has that SID.
            MalformedRequest: it is neither.
        """
        if not isinstance(node, str) or ":" in node:
            return NodeAddress.of(node)
        known = self.local.groups.members(ALL)
        if node not in known:
            raise NodeUnreachable(f"this node knows none with the SID {node!r:.40}: give its address, 'ip:port'")
        return known[node]


class _Calls(NodeCalls):
    """The result of `NodeCalls.options`."""

    def __init__(self, local: LocalServices, service: str | None, gid: str, orphans: Orphans) -> None:
        self.local = local
        self._service, self._gid, self._orphans = service, gid, orphans
        self._is_plain = service is None and gid == LOCAL

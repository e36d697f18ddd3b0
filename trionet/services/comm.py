"""Calls from this node to one other, or to itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from trionet.errors import MalformedRequest, OrphanedCalls, RemoteError, TrionetError, error_from_wire, error_to_wire
from trionet.message import Remote, check_args, check_kwargs
from trionet.nesting import holding, position
from trionet.transports.base import Request

from .base import rpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from random import Random

    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.router import Router
    from trionet.transports.base import Transport

__all__ = ["Comm", "Orphans", "raised_orphans"]


_NOTHING: Final[Mapping[str, Any]] = {}
_position = position.get
_PREFIX_BITS: Final = 64

Orphans = Literal["report", "raise"]
"""What to do about cancelled calls that are not confirmed to have finished."""


class Comm:
    """The local service ``comm``."""

    def __init__(self, router: Router, transport: Transport, random: Random) -> None:
        self._router = router
        self._transport = transport
        self._encode = transport.codec.encode
        self._own: NodeAddress | None = None
        self._prefix = f"{random.getrandbits(_PREFIX_BITS):016x}"
        self._numbers = itertools.count(1)
        self._checked: object = object()  # no remote is this one

    def begin(self, address: NodeAddress) -> None:
        """Take the node's own address, once it is known."""
        self._own = address

    @property
    def own(self) -> NodeAddress:
        """The node's own address."""
        assert self._own is not None
        return self._own

    @rpc
    async def send(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        orphans: Orphans = "report",
    ) -> Any:
        """Call a method of another node, or of this one, and return its value.

        Deadlines and cancellation are Trio's: put ``trio.fail_after`` around it.

        Args:
            args: the positional arguments, a list or tuple.
            remote: where the call goes, or a dict of that; with ``gid`` the name of a group, that node makes a
                group-wide call.
            kwargs: the keyword arguments.
            orphans: what to do when this call is cancelled and the node doesn't confirm in time that the handler has
                finished: ``"report"`` it (an event, and the log), or ``"raise"`` `OrphanedCalls` as well.

        Raises:
            MalformedRequest: the arguments are no list, or the remote lacks node, service or method; nothing was sent.
            EncodeError: an argument can't travel; nothing was sent.
            DefiniteError: the call did not run.
            RemoteError: the handler raised.
            IndefiniteError: the call may have run.
        """
        if type(args) is not list:
            args = check_args(args)
        if remote is not self._checked:  # it is frozen, and mostly used again
            remote = Remote.of(remote)
            remote.check(with_node=True)
            self._checked = remote
        node = remote.node
        assert node is not None
        given = _NOTHING if kwargs is None else check_kwargs(kwargs)
        if orphans != "report":
            with raised_orphans(orphans) as found:
                return await self.call(node, self.prepare(args, given, remote, found))
        # What `call` does, without a coroutine of its own: this is the way of most calls.
        request = self.prepare(args, given, remote)
        try:
            return await (self._call_self(request) if node == self._own else self._transport.call(node, request))
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise

    @asynccontextmanager
    async def stream(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        orphans: Orphans = "report",
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Run a method of another node that is an async generator; iterate over its items as they come.

        ::

            async with node.local.comm.stream([], remote) as items:
                async for item in items:
                    ...

        The far side goes no further ahead than some buffers hold, and leaving the block ends it there. Arguments and
        errors are those of `send`; the latter come from the block's begin, from the iteration, or from the block's end.
        """
        checked, given, remote = check_args(args), check_kwargs(kwargs), Remote.of(remote)
        remote.check(with_node=True)
        assert remote.node is not None
        with raised_orphans(orphans) as found:
            async with self.open_items(remote.node, self.prepare(checked, given, remote, found)) as items:
                yield items

    def prepare(
        self,
        args: list[Any],
        kwargs: Mapping[str, Any],
        remote: Remote,
        orphans: list[OrphanedCall] | None = None,
        *,
        depth: int | None = None,
    ) -> Request:
        """Return the call, its arguments encoded once for however many nodes it goes to.

        Its depth is that of the running code, where no other is given.

        Raises:
            EncodeError: an argument can't travel.
        """
        assert self._own is not None
        if depth is None:
            around = _position()
            depth = 0 if around is None else around.inner_depth
        return Request(
            remote.gid,
            remote.service,
            remote.method,
            self._encode(args),
            self._encode(dict(kwargs)) if kwargs else None,
            f"{self._prefix}-{next(self._numbers):x}",
            self._own,
            depth,
            orphans,
        )

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send a prepared call to `node`; return its value or raise its error, which then names the node."""
        try:
            return await (self._call_self(request) if node == self._own else self._transport.call(node, request))
        except TrionetError as exc:
            exc.node = exc.node or str(node)
            raise

    @asynccontextmanager
    async def open_items(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a prepared stream at `node`; gives an async iterator over its items."""
        stream = self._stream_self(request) if node == self._own else self._transport.stream(node, request)
        async with AsyncExitStack() as stack:
            with _naming(node):
                items = await stack.enter_async_context(stream)
            if node != self._own:
                stack.enter_context(holding(request.depth))
            yield await stack.enter_async_context(aclosing(_named(items, node)))

    @asynccontextmanager
    async def _stream_self(self, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        codec = self._transport.codec

        async def travelled(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
            async for item in items:
                try:
                    encoded = codec.encode(item)
                except TrionetError as exc:
                    raise RemoteError.from_exception(exc) from exc
                yield codec.decode(encoded)

        prepared = self._router.prepare(request.received(codec, None))
        if not prepared.method.is_stream:
            raise MalformedRequest(f"{request.service}/{request.method} is no stream: use comm.send")
        with self._router.own_scope() as scope:
            async with prepared.stream(scope) as items, aclosing(travelled(items)) as copies:
                yield copies

    async def _call_self(self, request: Request) -> Any:
        """Straight to the router, through the same bytes."""
        codec = self._transport.codec
        try:
            value = await self._router.call(request.received(codec, None))
        except TrionetError as exc:
            raise error_from_wire(codec.decode(codec.encode(error_to_wire(exc)))) from exc
        try:
            return codec.decode(codec.encode(value))
        except TrionetError as exc:
            raise RemoteError.from_exception(exc) from exc


@contextmanager
def raised_orphans(orphans: Orphans) -> Generator[list[OrphanedCall] | None]:
    """Gather the orphans of the calls made inside, and raise them in the end, if that is what the caller wants.

    Raises:
        OrphanedCalls: there are some.
    """
    if orphans == "report":
        yield None
        return
    if orphans != "raise":
        raise MalformedRequest(f"orphans is 'report' or 'raise', not {orphans!r}")
    found: list[OrphanedCall] = []
    try:
        yield found
    finally:
        if found:
            nodes = {str(orphan.node): orphan.id for orphan in found}
            raise OrphanedCalls(f"cancelled calls may still be running on {', '.join(nodes)}", calls=nodes)


@contextmanager
def _naming(node: NodeAddress) -> Generator[None]:
    """Have errors say which node they are from."""
    try:
        yield
    except TrionetError as exc:
        exc.node = exc.node or str(node)
        raise


async def _named(items: AsyncGenerator[Any], node: NodeAddress) -> AsyncGenerator[Any]:
    with _naming(node):
        async for item in items:
            yield item

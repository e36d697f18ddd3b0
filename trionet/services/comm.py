"""Calls from this node to one other, or to itself."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from trionet.async_blocks import async_block
from trionet.call_counts import CallCounts
from trionet.current_call import answered_call
from trionet.errors import MalformedRequest, OrphanedCalls, TrionetError
from trionet.events import OrphanedCall
from trionet.histograms import AT, SKIP, UNTIMED, begin_timed, count_timed
from trionet.message import Remote, check_args, check_kwargs
from trionet.nesting import current_lineage, holding, position
from trionet.tracing.spans import Spans
from trionet.transports.base import Request
from trionet.under_trio import check_under_trio
from trionet.user_code import is_a

from .base import rpc
from .departures import Departures
from .named_errors import leave_to_scope, named, naming
from .orphans import Orphans, check_orphans
from .recoding import recoded, recoded_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from random import Random

    from trionet.codec import Codec
    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.principal import Principal
    from trionet.router import Router
    from trionet.transports.base import Transport
    from trionet.transports.sent import ConnectSoon, SendAtOnce


__all__ = ["Comm"]


_NOTHING: Final[Mapping[str, Any]] = {}
_PREFIX_BITS: Final = 64


class Comm:
    """The local service ``comm``.

    Attributes:
        own: the node's own address.
        codec: the wire format of its calls.
        counts: counts of the calls that it has made, and their durations.
        spans: makes the spans of its calls; None where OpenTelemetry isn't installed.
        transport: makes its calls to other nodes.
        send_at_once: sends those for which nothing has to be waited; None where these can't be told. See `SendAtOnce`.
        connect_soon: has connections made for others of them; None where that takes a task. See `ConnectSoon`.
        router: runs its calls to this node.
        life: begins the ids of its calls; it differs from that of an earlier node at the same address.
        departures: the members whose failure or leave calls handle.
        now_ns: the clock of the durations, in nanoseconds.
        began_ns: when the node began, by that clock.
        counted, ok: a remote, and what counts its calls that have returned a value; see `histogram_of`.
    """

    def __init__(self, own: NodeAddress, transport: Transport, router: Router, random: Random) -> None:
        self.own = own
        self.codec: Codec = transport.codec
        self.counts: CallCounts = CallCounts(router.counts.now_ns)
        self.spans: Spans | None = Spans.of(own)
        if self.spans is not None:
            self.spans.serve(router)
        self.transport: Transport = transport
        self.send_at_once: SendAtOnce | None = getattr(transport, "send_at_once", None)
        self.connect_soon: ConnectSoon | None = getattr(transport, "connect_soon", None)
        self.router: Router = router
        self._access = router.access
        self._own_principal = None if router.access is None else router.access.own
        self.life: str = f"{random.getrandbits(_PREFIX_BITS):016x}"
        self._numbers = itertools.count(1)
        self.departures: Departures = Departures()
        self.now_ns: Callable[[], int] = router.counts.now_ns
        self.began_ns: int = self.now_ns()
        self._checked: object = object()  # no remote is this one
        self.counted: object = self._checked
        self.ok: list[int] | None = None
        self._orphans: dict[str, dict[str, str]] = {}  # by the ids of calls with orphans="raise"

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
            remote: the destination, or a dict of its fields; with the ``gid`` of a group, that node makes a group-wide
                call.
            kwargs: the keyword arguments.
            orphans: ``"report"`` the call by an event and the log, when it is cancelled and the node does not confirm
                the handler's end in time; or ``"raise"`` `OrphanedCalls`, too.

        Raises:
            MalformedRequest: the arguments are no list, or the remote lacks node, service or method; nothing was sent.
            EncodeError: an argument can't travel; nothing was sent.
            DefiniteError: the call did not run.
            RemoteError: the handler raised.
            IndefiniteError: the call may have run.
        """
        if type(args) is not list:
            args = check_args(args)
        if remote is not self._checked:  # remotes are frozen, and mostly reused
            remote = self._checked = Remote.of(remote, with_node=True)
        node = remote.node
        assert node is not None
        given = _NOTHING if kwargs is None else check_kwargs(kwargs)
        request = self.prepare(args, given, remote)
        if orphans != "report":
            with self.raising_orphans(orphans, request):
                return await self.call(node, request)
        spans = self.spans
        if spans is not None and spans.provider() is not None:
            return await self.call(node, request)
        ok = self.ok if remote is self.counted else self.histogram_of(remote)
        if ok is not None and ok[SKIP]:  # it is not timed
            ok[SKIP] -= 1
            begun_ns = 0
        else:
            begun_ns = begin_timed(ok, self.now_ns())
        try:  # the same as `call`, without its coroutine: most calls come here
            value = await (self.call_self(request) if node == self.own else self.transport.call(node, request))
        except BaseException as exc:
            self.note_failure(node, request, exc, begun_ns, ok)
            await leave_to_scope(exc)
            raise
        if begun_ns:
            self.note_success(remote, ok, begun_ns)
        else:
            ok[UNTIMED] += 1  # type: ignore[index]  # it is set where calls are not timed
        return value

    def histogram_of(self, remote: Remote) -> list[int] | None:
        """Return what counts the calls of a method that have returned a value; None before the first of them.

        It is kept for the next call with the same remote.
        """
        self.counted, self.ok = remote, self.counts.histogram(remote.service, remote.method)
        return self.ok

    def note_success(self, remote: Remote | Request, ok: list[int] | None, begun_ns: int) -> None:
        """Count a call that is timed, and has returned a value."""
        if ok is None:
            ok = self.counts.of(remote.service, remote.method).ok
            if remote is self.counted:
                self.ok = ok
        count_timed(ok, begun_ns, self.now_ns())

    @async_block("async with node.local.comm.stream(...) as items:")
    async def stream(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        orphans: Orphans = "report",
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Run a method of another node that is an async generator; iterate over its items.

        ::

            async with node.local.comm.stream([], remote) as items:
                async for item in items:
                    ...

        The generator is ahead by some buffers at most, and ends with the block. Arguments and errors are those of
        `send`; errors are raised at the block's begin, by the iteration, or at the block's end.
        """
        remote = Remote.of(remote, with_node=True)
        assert remote.node is not None
        request = self.prepare(check_args(args), check_kwargs(kwargs), remote)
        with self.raising_orphans(orphans, request):
            async with self.open_items(remote.node, request) as items:
                yield items

    @rpc(name="stream")
    async def items(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Any]:
        """Yield the items of `stream`, for those who call over HTTP."""
        async with self.stream(args, remote, kwargs=kwargs) as items:
            async for item in items:
                yield item

    def prepare(
        self,
        args: list[Any],
        kwargs: Mapping[str, Any],
        remote: Remote,
        *,
        depth: int | None = None,
        is_own: bool = False,
    ) -> Request:
        """Return a call whose arguments are encoded once, for any number of nodes.

        Its depth is, by default, that of the running code; with another one it has no parent. It is in the name of the
        principal for whom the running code forwards, unless `is_own`: for calls of the protocols.

        Raises:
            EncodeError: an argument can't travel.
        """
        parent, trace, place = "", b"", position.get()
        if depth is None:
            if place is None:
                depth = 0
            else:
                depth, (parent, trace) = place.inner_depth, place.lineage(self.router)
        blobs: list[bytes] = []
        return Request(
            remote.gid,
            remote.service,
            remote.method,
            self.codec.encode(args, blobs),
            self.codec.encode(dict(kwargs), blobs) if kwargs else None,
            f"{self.life}-{next(self._numbers):x}",
            self.own,
            depth,
            None if is_own or place is None else self.forwarded(),
            parent,
            trace,
            blobs,
        )

    def trace(self) -> bytes:
        """Return the trace context of the running code, in the form of a frame; empty outside of a trace."""
        spans = self.active_spans
        return current_lineage(self.router)[1] if spans is None else spans.current()

    def forwarded(self) -> Principal | None:
        """Return the principal for whom the running code forwards; None for this node itself."""
        access = self._access
        if access is None or not access.is_active:
            return None
        answered = answered_call()
        principal = None if answered is None else answered.forwards_for(self.router)
        return None if principal is access.own else principal

    @property
    def active_spans(self) -> Spans | None:
        """The spans of its calls; None while no tracer provider is set."""
        spans = self.spans
        return None if spans is None or spans.provider() is None else spans

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send a prepared call to `node`; return its value, or raise its error with the node in it."""
        spans = self.active_spans
        if spans is not None:
            with spans.call(node, request) as traced:
                return await self.call_unrecorded(node, traced)
        ok = self.counts.histogram(request.service, request.method)
        if ok is not None and ok[SKIP]:  # it is not timed
            ok[SKIP] -= 1
            begun_ns = 0
        else:
            begun_ns = begin_timed(ok, self.now_ns())
        try:
            value = await (self.call_self(request) if node == self.own else self.transport.call(node, request))
        except BaseException as exc:
            self.note_failure(node, request, exc, begun_ns, ok)
            await leave_to_scope(exc)
            raise
        if begun_ns:
            self.note_success(request, ok, begun_ns)
        else:
            ok[UNTIMED] += 1  # type: ignore[index]
        return value

    async def call_unrecorded(self, node: NodeAddress, request: Request) -> Any:
        """Send a prepared call, without a span: one of the protocols, or one whose span is open."""
        begun_ns = self.counts.now_ns()
        try:
            value = await (self.call_self(request) if node == self.own else self.transport.call(node, request))
        except BaseException as exc:
            self.note_failure(node, request, exc, begun_ns)
            await leave_to_scope(exc)
            raise
        self.counts.note_success(request.service, request.method, begun_ns)
        return value

    def note_failure(
        self, node: NodeAddress, request: Request, exc: BaseException, begun_ns: int, ok: list[int] | None = None
    ) -> None:
        """Count a call that ended with `exc`, and set the node of a library error.

        One that was not timed began with the last one of `ok` that was.

        Raises:
            RuntimeError: Trio does not run the caller.
        """
        if is_a(exc, RuntimeError):
            check_under_trio("a call")
        if is_a(exc, TrionetError):
            exc.node = exc.node or str(node)
        if not begun_ns and ok is not None:
            begun_ns = ok[AT]
        self.counts.note_failure(request.service, request.method, exc, begun_ns)

    @contextmanager
    def raising_orphans(self, orphans: Orphans, request: Request) -> Generator[None]:
        """Raise the orphans of a prepared call at the end of the block, if `orphans` is ``"raise"``.

        Raises:
            OrphanedCalls: there are some.
            MalformedRequest: `orphans` is neither ``"report"`` nor ``"raise"``.
        """
        if check_orphans(orphans) == "report":
            yield
            return
        found = self._orphans[request.id] = {}
        try:
            yield
        finally:
            self._orphans.pop(request.id, None)  # two calls have one id where a peer has chosen it
            if found:
                raise OrphanedCalls(f"cancelled calls may still be running on {', '.join(found)}", calls=found)

    def handle_event(self, event: Event) -> None:
        """Record the orphans of calls with ``orphans="raise"``."""
        if isinstance(event, OrphanedCall) and event.id in self._orphans:
            self._orphans[event.id][str(event.node)] = event.id

    @asynccontextmanager
    async def open_items(
        self, node: NodeAddress, request: Request, convert: Callable[[Any], Any] | None = None
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a prepared stream at `node`; yield an async iterator over its items, converted by `convert`."""
        spans = self.active_spans
        with nullcontext(request) if spans is None else spans.stream(node, request) as traced:
            async with self.open_items_unrecorded(node, traced, convert) as items:
                yield items

    @asynccontextmanager
    async def open_items_unrecorded(
        self, node: NodeAddress, request: Request, convert: Callable[[Any], Any] | None = None
    ) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a prepared stream without a span of its own; see `open_items`."""
        stream = self._stream_self(request) if node == self.own else self.transport.stream(node, request)
        begun_ns = self.counts.now_ns()
        try:
            async with AsyncExitStack() as stack:
                with naming(node):
                    items = await stack.enter_async_context(stream)
                if node != self.own:
                    stack.enter_context(holding(request.depth))
                yield await stack.enter_async_context(aclosing(named(items, node, convert)))
        except BaseException as exc:
            self.counts.note_failure(request.service, request.method, exc, begun_ns)
            await leave_to_scope(exc)
            raise
        self.counts.note_success(request.service, request.method, begun_ns)

    @asynccontextmanager
    async def _stream_self(self, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        prepared = self.router.prepare(request.received(self.codec, None, self._own_principal))
        if not prepared.method.is_stream:
            raise MalformedRequest(f"{request.service}/{request.method} is no stream: use comm.send")
        with self.router.own_scope() as scope:
            async with prepared.stream(scope) as items, aclosing(self._recoded_items(items)) as copies:
                yield copies

    async def _recoded_items(self, items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        try:
            async for item in items:
                yield recoded(item, self.codec)
        except TrionetError as exc:
            raise recoded_error(exc, self.codec) from exc

    async def call_self(self, request: Request) -> Any:
        """Pass a call to the router, encoded and decoded as on the wire."""
        check_under_trio("a call")
        try:
            value = await self.router.call(request.received(self.codec, None, self._own_principal))
        except TrionetError as exc:
            raise recoded_error(exc, self.codec) from exc
        return recoded(value, self.codec)
